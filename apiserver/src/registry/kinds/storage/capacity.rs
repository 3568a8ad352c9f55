//! CSIStorageCapacity: how much storage a driver has for a class in a part of the cluster.

use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use reeve_api::quantity::Quantity;
use reeve_api::validation::{ErrorList, Path, format};

use crate::registry::kinds::{rules, workload};
use crate::registry::strategy::Strategy;

/// The strategy.
pub struct CsiStorageCapacities;

impl Strategy for CsiStorageCapacities {
    type Object = CSIStorageCapacity;

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, capacity: &mut CSIStorageCapacity) {
        for amount in [&mut capacity.capacity, &mut capacity.maximum_volume_size].into_iter().flatten() {
            amount.0 = Quantity::canonical(&amount.0);
        }
    }

    fn validate(&self, capacity: &CSIStorageCapacity) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(topology) = &capacity.node_topology {
            workload::object_selector(topology, &Path::new("nodeTopology"), &mut errors);
        }
        let class = &capacity.storage_class_name;
        errors.invalid_each(&Path::new("storageClassName"), class, format::dns1123_subdomain(class));
        for (field, amount) in [("capacity", &capacity.capacity), ("maximumVolumeSize", &capacity.maximum_volume_size)]
        {
            if let Some(amount) = amount {
                rules::not_negative_amount(amount, &Path::new(field), &mut errors);
            }
        }
        errors
    }

    fn validate_update(&self, capacity: &CSIStorageCapacity, old: &CSIStorageCapacity) -> ErrorList {
        let mut errors = self.validate(capacity);
        rules::immutable(&capacity.node_topology, &old.node_topology, &Path::new("nodeTopology"), &mut errors);
        let path = Path::new("storageClassName");
        rules::immutable(&capacity.storage_class_name, &old.storage_class_name, &path, &mut errors);
        errors
    }
}
