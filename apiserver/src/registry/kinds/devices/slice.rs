//! ResourceSlice: devices that a driver offers.

use std::collections::BTreeSet;

use k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::{driver, label, rules};
use crate::registry::kinds::generation;
use crate::registry::strategy::{RequestContext, Strategy};

const DEVICES_MAX: usize = 128;
const POOL_NAME_MAX: usize = 253;
const TAINTS_MAX: usize = 16;

/// The strategy.
pub struct ResourceSlices;

/// A taint without a time begins now.
fn time_taints(context: &RequestContext, slice: &mut ResourceSlice) {
    let taints = slice.spec.devices.iter_mut().flatten().flat_map(|device| device.taints.iter_mut().flatten());
    for taint in taints {
        taint.time_added.get_or_insert(Time(context.now));
    }
}

impl Strategy for ResourceSlices {
    type Object = ResourceSlice;

    fn prepare_for_create(&self, context: &RequestContext, slice: &mut ResourceSlice) {
        generation::start(&mut slice.metadata);
        time_taints(context, slice);
    }

    fn prepare_for_update(&self, context: &RequestContext, slice: &mut ResourceSlice, old: &ResourceSlice) {
        time_taints(context, slice);
        let changed = slice.spec != old.spec;
        generation::follow(&mut slice.metadata, &old.metadata, changed);
    }

    fn validate(&self, slice: &ResourceSlice) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = &slice.spec;
        let places = [
            ("nodeName", spec.node_name.as_ref().is_some_and(|name| !name.is_empty())),
            ("nodeSelector", spec.node_selector.is_some()),
            ("allNodes", spec.all_nodes == Some(true)),
            ("perDeviceNodeSelection", spec.per_device_node_selection == Some(true)),
        ];
        let set: Vec<String> = places.iter().filter(|(_, set)| *set).map(|(name, _)| format!("`{name}`")).collect();
        let rule = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        match set.len() {
            0 => errors.required(&path, rule),
            1 => {}
            _ => {
                let value = format!("{{{}}}", set.join(", "));
                errors.invalid(&path, value, format!("{rule}, but multiple fields are set"));
            }
        }
        driver(&spec.driver, &path.child("driver"), &mut errors);
        let path_pool = path.child("pool");
        let path_name = path_pool.child("name");
        if spec.pool.name.is_empty() {
            errors.required(&path_name, "");
        } else if spec.pool.name.len() > POOL_NAME_MAX {
            errors.too_long(&path_name, POOL_NAME_MAX);
        } else {
            for part in spec.pool.name.split('/') {
                errors.invalid_each(&path_name, part, format::dns1123_subdomain(part));
            }
        }
        if spec.pool.resource_slice_count <= 0 {
            let count = spec.pool.resource_slice_count;
            errors.invalid(&path_pool.child("resourceSliceCount"), count, "must be greater than zero");
        }
        if spec.pool.generation < 0 {
            let number = spec.pool.generation;
            errors.invalid(&path_pool.child("generation"), number, "must be greater than or equal to zero");
        }
        let devices = spec.devices.as_deref().unwrap_or_default();
        let path = path.child("devices");
        if devices.len() > DEVICES_MAX {
            errors.too_many(&path, devices.len(), DEVICES_MAX);
            return errors;
        }
        let mut names = BTreeSet::new();
        for (index, device) in devices.iter().enumerate() {
            let path = path.index(index);
            validate_device(device, &path, &mut errors);
            if !names.insert(&device.name) {
                errors.duplicate(&path.child("name"), &device.name);
            }
        }
        errors
    }

    fn validate_update(&self, slice: &ResourceSlice, old: &ResourceSlice) -> ErrorList {
        let mut errors = self.validate(slice);
        let path = Path::new("spec");
        rules::immutable(&slice.spec.driver, &old.spec.driver, &path.child("driver"), &mut errors);
        rules::immutable(&slice.spec.pool.name, &old.spec.pool.name, &path.child("pool").child("name"), &mut errors);
        rules::immutable(&slice.spec.node_name, &old.spec.node_name, &path.child("nodeName"), &mut errors);
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }

    fn fields(&self, slice: &ResourceSlice) -> Vec<(&'static str, String)> {
        vec![
            ("spec.nodeName", slice.spec.node_name.clone().unwrap_or_default()),
            ("spec.driver", slice.spec.driver.clone()),
        ]
    }
}

fn validate_device(device: &Device, path: &Path<'_>, errors: &mut ErrorList) {
    label(&device.name, &path.child("name"), errors);
    for (name, attribute) in device.attributes.iter().flatten() {
        let path = path.child("attributes");
        let path = path.key(name);
        let set = [
            attribute.bool.is_some() || attribute.bools.is_some(),
            attribute.int.is_some() || attribute.ints.is_some(),
            attribute.string.is_some() || attribute.strings.is_some(),
            attribute.version.is_some() || attribute.versions.is_some(),
        ];
        match set.into_iter().filter(|set| *set).count() {
            0 => errors.required(&path, "exactly one value must be specified"),
            1 => {}
            _ => errors.invalid(&path, BadValue::json(attribute), "exactly one value must be specified"),
        }
    }
    let taints = device.taints.as_deref().unwrap_or_default();
    let path = path.child("taints");
    if taints.len() > TAINTS_MAX {
        errors.too_many(&path, taints.len(), TAINTS_MAX);
    }
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        errors.invalid_each(&path.child("key"), &taint.key, format::qualified_name(&taint.key));
        match taint.effect.as_str() {
            "NoSchedule" | "NoExecute" | "None" => {}
            "" => errors.required(&path.child("effect"), ""),
            other => errors.not_supported(&path.child("effect"), other, &["NoExecute", "NoSchedule", "None"]),
        }
    }
}
