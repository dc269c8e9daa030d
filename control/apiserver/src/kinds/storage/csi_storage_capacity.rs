//! CSIStorageCapacity: how much room a driver has, and where.

use euston_api::field::{ErrorList, NOT_NEGATIVE, Path};
use euston_api::quantity::Quantity;
use euston_api::{names, selector};
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use serde_json::Value;

use crate::kinds::cells;
use crate::registry::strategy::{Column, NAME, Strategy};

/// The rules of CSIStorageCapacities.
pub struct CsiStorageCapacityStrategy;

impl Strategy for CsiStorageCapacityStrategy {
    type Object = CSIStorageCapacity;

    fn validate(&self, room: &CSIStorageCapacity) -> ErrorList {
        let mut errors = ErrorList::new();
        let class = &room.storage_class_name;
        let path = Path::new("storageClassName");
        errors.invalid_each(&path, class, names::dns1123_subdomain(class));
        let amounts = [
            ("capacity", &room.capacity),
            ("maximumVolumeSize", &room.maximum_volume_size),
        ];
        for (field, amount) in amounts {
            let Some(amount) = amount else { continue };
            let path = Path::new(field);
            match Quantity::from_api(amount) {
                Err(error) => errors.invalid(path, amount, error.to_string()),
                Ok(parsed) if parsed.is_negative() => errors.invalid(path, amount, NOT_NEGATIVE),
                Ok(_) => {}
            }
        }
        if let Some(topology) = &room.node_topology {
            selector::validate(topology, &Path::new("nodeTopology"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &CSIStorageCapacity, old: &CSIStorageCapacity) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("nodeTopology");
        errors.immutable(path, &new.node_topology, &old.node_topology);
        let path = Path::new("storageClassName");
        errors.immutable(path, &new.storage_class_name, &old.storage_class_name);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("StorageClassName", "The class that there is room for."),
            Column::string("Capacity", "How much room there is."),
        ];
        COLUMNS
    }

    fn row(&self, room: &CSIStorageCapacity, _now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&room.metadata),
            room.storage_class_name.as_str().into(),
            cells::or_none(room.capacity.as_ref().map(|q| q.0.as_str())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    #[test]
    fn room_is_not_negative_and_stays_where_it_is() {
        let check = |value: Value, expected: &[&str]| {
            check_create(&CsiStorageCapacityStrategy, &value, expected)
        };
        check(json!({"storageClassName": "fast", "capacity": "1Gi"}), &[]);
        check(
            json!({"storageClassName": "", "capacity": "-1", "maximumVolumeSize": "x", "nodeTopology": {"matchLabels": {"a b": "c"}}}),
            &[
                "storageClassName: Invalid value: \"\": a lowercase",
                "capacity: Invalid value: \"-1\": must be greater than or equal to 0",
                "maximumVolumeSize: Invalid value: \"x\": ",
                "nodeTopology.matchLabels: Invalid value: \"a b\"",
            ],
        );
        check_update(
            &CsiStorageCapacityStrategy,
            &json!({"storageClassName": "a"}),
            &json!({"storageClassName": "b", "nodeTopology": {}}),
            &[
                "nodeTopology: Invalid value: {}: field is immutable",
                "storageClassName: Invalid value: \"b\": field is immutable",
            ],
        );
        let value = json!({"metadata": {"name": "c"}, "storageClassName": "a", "capacity": "1Gi"});
        check_row(
            &CsiStorageCapacityStrategy,
            &value,
            0,
            &[("StorageClassName", "a"), ("Capacity", "1Gi")],
        );
    }
}
