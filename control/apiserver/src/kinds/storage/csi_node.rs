//! CSINode: the storage drivers of one node.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};
use serde_json::Value;

use super::validate_driver_name;
use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

const NODE_ID_BYTES_MAX: usize = 192;

/// The rules of CSINodes.
pub struct CsiNodeStrategy;

impl Strategy for CsiNodeStrategy {
    type Object = CSINode;

    fn prepare_for_create(&self, node: &mut CSINode) {
        node.status = None;
    }

    fn validate(&self, node: &CSINode) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut seen = BTreeSet::new();
        let path = Path::new("spec").child("drivers");
        for (index, driver) in node.spec.drivers.iter().enumerate() {
            let path = path.index(index);
            validate_driver(driver, &path, &mut errors);
            if !seen.insert(&driver.name) {
                errors.duplicate(path.child("name"), &driver.name);
            }
        }
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &CSINode, old: &CSINode) -> ErrorList {
        let mut errors = ErrorList::new();
        for driver in &new.spec.drivers {
            let was = old.spec.drivers.iter().find(|d| d.name == driver.name);
            // How many volumes fit may be found out later.
            let same = |was: &CSINodeDriver| {
                was.node_id == driver.node_id && was.topology_keys == driver.topology_keys
            };
            if was.is_some_and(|was| !same(was)) {
                errors.invalid(Path::new("driver"), driver, euston_api::field::IMMUTABLE);
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::integer("Drivers", "How many drivers the node has."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, node: &CSINode, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&node.metadata),
            node.spec.drivers.len().into(),
            cells::age(&node.metadata, now),
        ]
    }
}

fn validate_driver(driver: &CSINodeDriver, path: &Path, errors: &mut ErrorList) {
    validate_driver_name(&driver.name, &path.child("name"), errors);
    let here = path.child("nodeID");
    let id = &driver.node_id;
    if id.is_empty() {
        errors.required(here, "");
    } else if id.len() > NODE_ID_BYTES_MAX {
        let rule = format!("must be {NODE_ID_BYTES_MAX} characters or less");
        errors.invalid(here, id, rule);
    }
    if let Some(count) = driver.allocatable.as_ref().and_then(|a| a.count) {
        errors.non_negative(path.child("allocatable").child("count"), count.into());
    }
    let mut seen = BTreeSet::new();
    let here = path.child("topologyKeys");
    for key in driver.topology_keys.iter().flatten() {
        if key.is_empty() {
            errors.required(here.clone(), "");
        }
        if !seen.insert(key) {
            errors.duplicate(here.clone(), key);
        }
        errors.invalid_each(&here, key, names::qualified_name(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    fn node(drivers: Value) -> Value {
        json!({"metadata": {"name": "n"}, "spec": {"drivers": drivers}})
    }

    #[test]
    fn drivers_are_unique_and_stay_as_they_are() {
        let check = |drivers: Value, expected: &[&str]| {
            check_create(&CsiNodeStrategy, &node(drivers), expected);
        };
        check(json!([]), &[]);
        check(
            json!([{"name": "a.b", "nodeID": "1", "topologyKeys": ["zone"]}]),
            &[],
        );
        check(
            json!([{"name": "", "nodeID": ""}]),
            &[
                "spec.drivers[0].name: Required value",
                "spec.drivers[0].name: Invalid value: \"\": a lowercase",
                "spec.drivers[0].nodeID: Required value",
            ],
        );
        check(
            json!([{"name": "a", "nodeID": "x".repeat(193), "allocatable": {"count": -1}, "topologyKeys": ["z", "z", "a b"]}, {"name": "a", "nodeID": "1"}]),
            &[
                &format!(
                    "spec.drivers[0].nodeID: Invalid value: \"{}\": must be 192 characters or less",
                    "x".repeat(193)
                ),
                "spec.drivers[0].allocatable.count: Invalid value: -1",
                "spec.drivers[0].topologyKeys: Duplicate value: \"z\"",
                "spec.drivers[0].topologyKeys: Invalid value: \"a b\"",
                "spec.drivers[1].name: Duplicate value: \"a\"",
            ],
        );
        let old = node(json!([{"name": "a", "nodeID": "1"}]));
        let update = |drivers: Value, expected: &[&str]| {
            check_update(&CsiNodeStrategy, &old, &node(drivers), expected);
        };
        update(
            json!([{"name": "a", "nodeID": "1", "allocatable": {"count": 2}}, {"name": "b", "nodeID": "2"}]),
            &[],
        );
        update(json!([]), &[]);
        update(
            json!([{"name": "a", "nodeID": "2"}]),
            &["driver: Invalid value: {\"name\":\"a\",\"nodeID\":\"2\"}: field is immutable"],
        );
        check_row(
            &CsiNodeStrategy,
            &old,
            0,
            &[("Name", "n"), ("Drivers", "1")],
        );
    }
}
