//! CSINode: the drivers that a node has.

use std::collections::BTreeSet;

use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};
use reeve_api::validation::{ErrorList, Path, format};

use super::driver_name;
use crate::registry::kinds::rules;
use crate::registry::strategy::Strategy;

const NODE_ID_MAX: usize = 192;

/// The strategy.
pub struct CsiNodes;

impl Strategy for CsiNodes {
    type Object = CSINode;

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, node: &CSINode) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let path = path.child("drivers");
        let mut names = BTreeSet::new();
        for (index, driver) in node.spec.drivers.iter().enumerate() {
            let path = path.index(index);
            validate_driver(driver, &path, &mut errors);
            if !names.insert(&driver.name) {
                errors.duplicate(&path.child("name"), &driver.name);
            }
        }
        errors
    }

    fn validate_update(&self, node: &CSINode, old: &CSINode) -> ErrorList {
        let mut errors = self.validate(node);
        // A driver comes and goes; while it is there, only what it can take changes.
        for before in &old.spec.drivers {
            if let Some(driver) = node.spec.drivers.iter().find(|driver| driver.name == before.name) {
                let fixed = CSINodeDriver { allocatable: before.allocatable.clone(), ..driver.clone() };
                rules::immutable(&fixed, before, &Path::new("CSINodeDrivers"), &mut errors);
            }
        }
        errors
    }
}

fn validate_driver(driver: &CSINodeDriver, path: &Path<'_>, errors: &mut ErrorList) {
    driver_name(&driver.name, &path.child("name"), errors);
    let path_id = path.child("nodeID");
    if driver.node_id.is_empty() {
        errors.required(&path_id, "");
    }
    if driver.node_id.len() > NODE_ID_MAX {
        errors.invalid(&path_id, &driver.node_id, format!("must be {NODE_ID_MAX} characters or less"));
    }
    if let Some(count) = driver.allocatable.as_ref().and_then(|resources| resources.count)
        && count < 0
    {
        errors.invalid(&path.child("allocatable").child("count"), count, rules::NOT_NEGATIVE);
    }
    let mut keys = BTreeSet::new();
    let path = path.child("topologyKeys");
    for key in driver.topology_keys.iter().flatten() {
        if key.is_empty() {
            errors.required(&path, key.as_str());
        }
        if !keys.insert(key) {
            errors.duplicate(&path, key);
        }
        errors.invalid_each(&path, key, format::qualified_name(key));
    }
}
