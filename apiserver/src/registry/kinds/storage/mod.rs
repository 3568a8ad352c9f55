//! Storage classes, and what drivers of the Container Storage Interface tell about themselves
//! (`pkg/apis/storage/validation`).

pub mod attachment;
pub mod attributes_class;
pub mod capacity;
pub mod class;
pub mod driver;
pub mod node;

use std::collections::BTreeMap;

use reeve_api::validation::{ErrorList, Path, format};

/// Most parameters of a class.
const PARAMETERS_MAX: usize = 512;
/// Most bytes of all parameters together.
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;
/// Most bytes of a driver's name.
const DRIVER_NAME_MAX: usize = 63;

fn provisioner(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
    } else {
        errors.invalid_each(path, name, format::qualified_name(&name.to_lowercase()));
    }
}

fn parameters(parameters: Option<&BTreeMap<String, String>>, path: &Path<'_>, errors: &mut ErrorList) {
    let count = parameters.map_or(0, BTreeMap::len);
    if count > PARAMETERS_MAX {
        errors.too_long(path, PARAMETERS_MAX);
        return;
    }
    let mut size = 0;
    for (key, value) in parameters.into_iter().flatten() {
        if key.is_empty() {
            errors.invalid(path, key, "field can not be empty.");
        }
        size += key.len() + value.len();
    }
    if size > PARAMETERS_SIZE_MAX {
        errors.too_long(path, PARAMETERS_SIZE_MAX);
    }
}

/// Checks the name of a driver.
pub(super) fn driver_name(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
    }
    if name.len() > DRIVER_NAME_MAX {
        errors.too_long(path, DRIVER_NAME_MAX);
    }
    errors.invalid_each(path, name, format::dns1123_subdomain(&name.to_lowercase()));
}
