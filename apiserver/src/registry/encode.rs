//! Canonical bytes of an object: compact JSON with the fields that upstream always writes.
//!
//! Upstream's types hold some fields by value and write them also when nothing is in them (`null` for a
//! time, `{}` for a struct, `0`, `""`). The types here hold them as options and leave them out. Which
//! fields these are is a table by type; the serializer below adds what a value left out. Empty lists and maps are
//! left out, since upstream's store does not keep them.

mod always;
mod emptiness;
mod serializer;

use serde::Serialize;

/// The canonical bytes of an object or a part of one.
///
/// # Errors
/// When a value has no JSON form; the kinds of `k8s-openapi` all have one.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(512);
    value.serialize(serializer::Complete(&mut serde_json::Serializer::new(&mut bytes)))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::apps::v1::ControllerRevision;
    use k8s_openapi::api::core::v1::{ContainerStatus, Event, PodCondition, PodSecurityContext, PodSpec, PodStatus};
    use k8s_openapi::apimachinery::pkg::runtime::RawExtension;

    use super::*;

    fn text<T: Serialize>(value: &T) -> String {
        String::from_utf8(canonical(value).expect("encodes")).expect("text")
    }

    #[test]
    fn what_upstream_always_writes_is_written() {
        let status = PodStatus {
            conditions: Some(vec![PodCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() }]),
            container_statuses: Some(vec![ContainerStatus { name: "c".into(), ..Default::default() }]),
            ..PodStatus::default()
        };
        assert_eq!(
            text(&status),
            r#"{"conditions":[{"lastProbeTime":null,"lastTransitionTime":null,"status":"True","type":"Ready"}],"#
                .to_owned()
                + r#""containerStatuses":[{"image":"","imageID":"","lastState":{},"name":"c","ready":false,"restartCount":0,"state":{}}]}"#
        );
    }

    #[test]
    fn empty_lists_and_maps_are_none() {
        let spec = PodSpec {
            node_selector: Some(BTreeMap::new()),
            security_context: Some(PodSecurityContext::default()),
            tolerations: Some(Vec::new()),
            ..PodSpec::default()
        };
        assert_eq!(text(&spec), r#"{"containers":null,"securityContext":{}}"#);
        let revision = ControllerRevision { data: Some(RawExtension(serde_json::json!({}))), ..Default::default() };
        assert!(text(&revision).contains(r#""data":{}"#), "free-form values stay as they are");
    }

    #[test]
    fn what_is_there_stays_and_reads_back() {
        let event = Event { reporting_component: Some("x".into()), ..Event::default() };
        let text = text(&event);
        assert!(text.contains(r#""reportingComponent":"x""#) && text.contains(r#""eventTime":null"#), "{text}");
        assert_eq!(text.matches("reportingComponent").count(), 1);
        let back: Event = serde_json::from_str(&text).expect("reads");
        assert_eq!(super::canonical(&back).expect("encodes"), text.as_bytes());
    }
}
