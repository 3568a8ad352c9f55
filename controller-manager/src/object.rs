//! Small facts about objects that several controllers need.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::GroupVersionResource;
use reeve_api::meta::{self, MetaExt as _};
use reeve_api::selector::LabelSelector;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

use crate::view::Meta;

/// The resource of a kind.
pub fn resource<K: Resource>() -> GroupVersionResource {
    GroupVersionResource::of::<K>()
}

/// What events about an object refer to.
pub fn reference<K: Resource>(meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        name: Some(meta.name().to_owned()),
        namespace: Some(meta.namespace().to_owned()).filter(|namespace| !namespace.is_empty()),
        uid: Some(meta.uid().to_owned()),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// As [`reference`], from a view.
pub fn reference_of<K: Resource>(meta: &Meta) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        name: Some(meta.name.to_string()),
        namespace: Some(meta.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
        uid: Some(meta.uid.to_string()),
        resource_version: None,
        field_path: None,
    }
}

/// What an object's selector selects; one that cannot be read, which the server does not let in, selects nothing.
pub fn selector_of(selector: &meta::LabelSelector) -> LabelSelector {
    LabelSelector::from_object(Some(selector)).unwrap_or_else(|_| LabelSelector::nothing())
}

/// A number or a percentage of a total. Texts that are neither count as 0, as the server accepts none of them.
pub fn scaled(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let Some(percent) = text.trim_end_matches('%').parse::<i64>().ok() else { return 0 };
            let product = percent * i64::from(total);
            let rounded = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

/// The JSON form. The kinds of this program contain nothing that cannot be written as JSON.
pub fn to_json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// `time` moved by whole seconds.
pub fn plus_seconds(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

/// How long until a time; `None` when it has come.
pub fn until(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}

/// The time as the API stores it: whole seconds.
pub fn stored(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_told() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!((scaled(&quarter, 10, true), scaled(&quarter, 10, false)), (3, 2));
        assert_eq!((scaled(&quarter, 0, true), scaled(&quarter, 4, true)), (0, 1));
        assert_eq!(scaled(&IntOrString::Int(7), 3, false), 7);
    }
}
