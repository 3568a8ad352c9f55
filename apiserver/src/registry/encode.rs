//! Canonical bytes of an object: compact JSON with the fields that upstream always writes.
//!
//! Upstream's types hold some fields by value and write them also when nothing is in them (`null` for a
//! time, `{}` for a struct, `0`, `""`). The types here hold them as options and leave them out. Which
//! fields these are is a table by type; the serializer below adds what a value left out.

mod always;
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
    use k8s_openapi::api::core::v1::{ContainerStatus, Event, PodCondition, PodStatus};

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
    fn what_is_there_stays_and_reads_back() {
        let event = Event { reporting_component: Some("x".into()), ..Event::default() };
        let text = text(&event);
        assert!(text.contains(r#""reportingComponent":"x""#) && text.contains(r#""eventTime":null"#), "{text}");
        assert_eq!(text.matches("reportingComponent").count(), 1);
        let back: Event = serde_json::from_str(&text).expect("reads");
        assert_eq!(super::canonical(&back).expect("encodes"), text.as_bytes());
    }
}
