//! ConfigMap: data for pods, possibly immutable.

use k8s_openapi::api::core::v1::ConfigMap;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::strategy::Strategy;

/// Most bytes of all values together.
const SIZE_MAX: usize = 1024 * 1024;

/// The strategy.
pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    type Object = ConfigMap;

    fn validate(&self, object: &ConfigMap) -> ErrorList {
        let mut errors = ErrorList::new();
        let (data_path, binary_path) = (Path::new("data"), Path::new("binaryData"));
        let mut size = 0;
        for (key, value) in object.data.iter().flatten() {
            errors.invalid_each(&data_path.key(key), key, format::config_map_key(key));
            if object.binary_data.as_ref().is_some_and(|data| data.contains_key(key)) {
                errors.invalid(&data_path.key(key), key, "duplicate of key present in binaryData");
            }
            size += value.len();
        }
        for (key, value) in object.binary_data.iter().flatten() {
            errors.invalid_each(&binary_path.key(key), key, format::config_map_key(key));
            size += value.0.len();
        }
        if size > SIZE_MAX {
            // Upstream names no field here, and its words for none are these.
            errors.too_long(&Path::new("[]"), SIZE_MAX);
        }
        errors
    }

    fn validate_update(&self, object: &ConfigMap, old: &ConfigMap) -> ErrorList {
        let mut errors = ErrorList::new();
        if old.immutable == Some(true) {
            let frozen = "field is immutable when `immutable` is set";
            if object.immutable != Some(true) {
                errors.forbidden(&Path::new("immutable"), frozen);
            }
            if object.data.as_ref().filter(|data| !data.is_empty()) != old.data.as_ref().filter(|data| !data.is_empty())
            {
                errors.forbidden(&Path::new("data"), frozen);
            }
            let binary = |map: &ConfigMap| BadValue::json(&map.binary_data.clone().unwrap_or_default());
            if binary(object) != binary(old) {
                errors.forbidden(&Path::new("binaryData"), frozen);
            }
        }
        errors.extend(self.validate(object));
        errors
    }
}
