//! ResourceSlice: devices that a driver offers.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{Device, ResourceSlice, ResourceSliceSpec};
use serde_json::Value;

use super::devices::{validate_driver, validate_taint};
use crate::kinds::cells;
use crate::kinds::pod_spec::{required_name, text, validate_node_selector};
use crate::registry::strategy::{AGE, Column, Fields, NAME, Strategy, counts_spec_changes};

/// Devices of a slice; fewer if they carry more.
const DEVICES_MAX: usize = 128;
/// Attributes and capacities of a device together.
const ATTRIBUTES_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const POOL_NAME_BYTES_MAX: usize = 253;

/// The rules of ResourceSlices.
pub struct ResourceSliceStrategy;

impl Strategy for ResourceSliceStrategy {
    type Object = ResourceSlice;

    fn validate(&self, slice: &ResourceSlice) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&slice.spec, Path::new("spec"));
        validate_driver(&spec.driver, &path.child("driver"), &mut errors);
        validate_pool(spec, &path.child("pool"), &mut errors);
        validate_place(spec, &path, &mut errors);
        let devices = spec.devices.as_deref().unwrap_or_default();
        let here = path.child("devices");
        if devices.len() > DEVICES_MAX {
            errors.too_many(here.clone(), devices.len(), DEVICES_MAX);
        }
        let mut seen = BTreeSet::new();
        for (index, device) in devices.iter().enumerate() {
            let path = here.index(index);
            validate_device(device, &path, &mut errors);
            if !device.name.is_empty() && !seen.insert(&device.name) {
                errors.duplicate(path.child("name"), &device.name);
            }
        }
        errors
    }

    fn validate_update(&self, new: &ResourceSlice, old: &ResourceSlice) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let (new, old) = (&new.spec, &old.spec);
        errors.immutable(path.child("driver"), &new.driver, &old.driver);
        let here = path.child("pool").child("name");
        errors.immutable(here, &new.pool.name, &old.pool.name);
        errors.immutable(path.child("nodeName"), &new.node_name, &old.node_name);
        errors
    }

    counts_spec_changes!();

    fn fields(&self, slice: &ResourceSlice) -> Fields {
        let node = slice.spec.node_name.clone();
        vec![
            ("spec.nodeName", node.unwrap_or_default()),
            ("spec.driver", slice.spec.driver.clone()),
        ]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Node", "The node that has the devices."),
            Column::string("Driver", "The driver that offers them."),
            Column::string("Pool", "The pool that they belong to."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, slice: &ResourceSlice, now: Timestamp) -> Vec<Value> {
        let spec = &slice.spec;
        vec![
            cells::name(&slice.metadata),
            text(&spec.node_name).unwrap_or("<unset>").into(),
            spec.driver.as_str().into(),
            spec.pool.name.as_str().into(),
            cells::age(&slice.metadata, now),
        ]
    }
}

fn validate_pool(spec: &ResourceSliceSpec, path: &Path, errors: &mut ErrorList) {
    let pool = &spec.pool;
    let here = path.child("name");
    if pool.name.len() > POOL_NAME_BYTES_MAX {
        errors.too_long(here.clone(), POOL_NAME_BYTES_MAX);
    }
    if pool.name.is_empty() {
        errors.required(here, "");
    } else {
        for part in pool.name.split('/') {
            errors.invalid_each(&here, part, names::dns1123_subdomain(part));
        }
    }
    if pool.resource_slice_count <= 0 {
        let path = path.child("resourceSliceCount");
        errors.invalid(path, pool.resource_slice_count, "must be greater than zero");
    }
    errors.non_negative(path.child("generation"), pool.generation);
}

/// Where the devices are: exactly one of the ways to say it.
fn validate_place(spec: &ResourceSliceSpec, path: &Path, errors: &mut ErrorList) {
    let node = text(&spec.node_name);
    let ways = [
        ("nodeName", node.is_some()),
        ("nodeSelector", spec.node_selector.is_some()),
        ("allNodes", spec.all_nodes == Some(true)),
        (
            "perDeviceNodeSelection",
            spec.per_device_node_selection == Some(true),
        ),
    ];
    let set: Vec<&str> = ways
        .iter()
        .filter(|(_, set)| *set)
        .map(|(w, _)| *w)
        .collect();
    let rule = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.as_slice() {
        [_] => {}
        [] => errors.required(path.clone(), rule),
        many => {
            let rule = format!("{rule}, but multiple fields are set");
            errors.invalid(path.clone(), format!("{{{}}}", many.join(", ")), rule);
        }
    }
    if let Some(node) = node {
        let path = path.child("nodeName");
        errors.invalid_each(&path, node, names::dns1123_subdomain(node));
    }
    if let Some(nodes) = &spec.node_selector {
        validate_node_selector(nodes, &path.child("nodeSelector"), errors);
    }
}

fn validate_device(device: &Device, path: &Path, errors: &mut ErrorList) {
    required_name(
        &device.name,
        names::dns1123_label,
        path.child("name"),
        errors,
    );
    let attributes = device.attributes.as_ref().map_or(0, |a| a.len());
    let capacity = device.capacity.as_ref().map_or(0, |c| c.len());
    if attributes + capacity > ATTRIBUTES_MAX {
        let rule = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        );
        errors.invalid(path.clone(), attributes + capacity, rule);
    }
    for (name, attribute) in device.attributes.iter().flatten() {
        let path = path.child("attributes").key(name);
        let set = [
            attribute.bool.is_some(),
            attribute.int.is_some(),
            attribute.string.is_some(),
            attribute.version.is_some(),
            attribute.bools.is_some(),
            attribute.ints.is_some(),
            attribute.strings.is_some(),
            attribute.versions.is_some(),
        ];
        match set.iter().filter(|set| **set).count() {
            1 => {}
            0 => errors.required(path, "exactly one value must be specified"),
            _ => errors.invalid(path, attribute, "exactly one value must be specified"),
        }
    }
    let taints = device.taints.as_deref().unwrap_or_default();
    let here = path.child("taints");
    if taints.len() > TAINTS_MAX {
        errors.too_many(here.clone(), taints.len(), TAINTS_MAX);
    }
    for (index, taint) in taints.iter().enumerate() {
        validate_taint(taint, &here.index(index), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, merged, object};
    use serde_json::json;

    fn slice(spec: Value) -> Value {
        let base = json!({"driver": "gpu.example.com", "nodeName": "n", "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1}});
        json!({"metadata": {"name": "s"}, "spec": merged(&base, &spec)})
    }

    #[test]
    fn devices_are_somewhere_and_told_apart() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&ResourceSliceStrategy, &slice(spec), expected);
        };
        check(
            json!({"devices": [{"name": "a", "attributes": {"model": {"string": "x"}}}]}),
            &[],
        );
        check(
            json!({"driver": "", "nodeName": null, "pool": {"name": "", "resourceSliceCount": 0, "generation": -1}}),
            &[
                "spec.driver: Required value",
                "spec.pool.name: Required value",
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1",
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            ],
        );
        check(
            json!({"allNodes": true}),
            &["spec: Invalid value: \"{nodeName, allNodes}\": exactly one of `nodeName`"],
        );
        check(
            json!({"devices": [{"name": "a"}, {"name": "a", "attributes": {"x": {}}, "taints": [{"key": "", "effect": "x"}]}]}),
            &[
                "spec.devices[1].attributes[x]: Required value: exactly one value must be specified",
                "spec.devices[1].taints[0].key: Required value",
                "spec.devices[1].taints[0].effect: Unsupported value: \"x\"",
                "spec.devices[1].name: Duplicate value: \"a\"",
            ],
        );
        check_update(
            &ResourceSliceStrategy,
            &slice(json!({})),
            &slice(json!({"driver": "x", "nodeName": "m", "pool": {"name": "m"}})),
            &[
                "spec.driver: Invalid value: \"x\": field is immutable",
                "spec.pool.name: Invalid value: \"m\": field is immutable",
                "spec.nodeName: Invalid value: \"m\": field is immutable",
            ],
        );
        let fields = ResourceSliceStrategy.fields(&object(&slice(json!({}))));
        let expected = [("spec.nodeName", "n"), ("spec.driver", "gpu.example.com")];
        assert_eq!(
            fields,
            expected.map(|(label, value)| (label, value.to_owned()))
        );
        let row = [("Node", "n"), ("Driver", "gpu.example.com"), ("Pool", "n")];
        check_row(&ResourceSliceStrategy, &slice(json!({})), 0, &row);
    }
}
