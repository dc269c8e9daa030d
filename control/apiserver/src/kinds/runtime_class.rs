//! RuntimeClass: how the nodes of some pods run containers.

use euston_api::field::{ErrorList, Path};
use euston_api::{metadata, names};
use jiff::Timestamp;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::Value;

use super::{cells, pod_spec};
use crate::registry::kind::Kind;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![Kind::new(RuntimeClassStrategy, "runtimeclass", false)]
}

/// The rules of RuntimeClasses.
pub struct RuntimeClassStrategy;

impl Strategy for RuntimeClassStrategy {
    type Object = RuntimeClass;

    fn default(&self, class: &mut RuntimeClass) {
        let overhead = class.overhead.as_mut();
        pod_spec::canonical_amounts(overhead.and_then(|o| o.pod_fixed.as_mut()));
    }

    fn validate(&self, class: &RuntimeClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let problems = names::dns1123_label(&class.handler);
        errors.invalid_each(&Path::new("handler"), &class.handler, problems);
        let overhead = class
            .overhead
            .iter()
            .flat_map(|o| o.pod_fixed.iter().flatten());
        let path = Path::new("overhead").child("podFixed");
        for (name, amount) in overhead {
            errors.invalid_each(&path, name, names::qualified_name(name));
            pod_spec::validate_amount(name, amount, &path.key(name), &mut errors);
        }
        if let Some(scheduling) = &class.scheduling {
            let path = Path::new("scheduling");
            let labels = scheduling.node_selector.as_ref();
            metadata::validate_labels(labels, &path.child("nodeSelector"), &mut errors);
            let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
            let path = path.child("tolerations");
            pod_spec::validate_tolerations(tolerations, &path, &mut errors);
            for (index, toleration) in tolerations.iter().enumerate() {
                if tolerations[..index].contains(toleration) {
                    errors.duplicate(path.index(index), toleration);
                }
            }
        }
        errors
    }

    fn validate_update(&self, new: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(Path::new("handler"), &new.handler, &old.handler);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Handler", "What the node's runtime calls it."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, class: &RuntimeClass, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&class.metadata),
            class.handler.as_str().into(),
            cells::age(&class.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_handler_is_named_and_stays() {
        let check =
            |class: Value, expected: &[&str]| check_create(&RuntimeClassStrategy, &class, expected);
        check(json!({"handler": "wasmtime"}), &[]);
        check(
            json!({"handler": ""}),
            &["handler: Invalid value: \"\": a lowercase RFC 1123 label"],
        );
        check(
            json!({"handler": "a.b"}),
            &["handler: Invalid value: \"a.b\": must not contain dots"],
        );
        check(
            json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1", "a b": "1"}}}),
            &[
                "overhead.podFixed: Invalid value: \"a b\": name part",
                "overhead.podFixed[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        );
        check(
            json!({"handler": "a", "scheduling": {
                "nodeSelector": {"a": "b c"},
                "tolerations": [{"operator": "Exists"}, {"operator": "Exists"}, {"key": "a b", "operator": "Exists"}],
            }}),
            &[
                "scheduling.nodeSelector: Invalid value: \"b c\": a valid label",
                "scheduling.tolerations[2].key: Invalid value: \"a b\": name part",
                "scheduling.tolerations[1]: Duplicate value: {\"operator\":\"Exists\"}",
            ],
        );
        check_update(
            &RuntimeClassStrategy,
            &json!({"handler": "a"}),
            &json!({"handler": "b"}),
            &["handler: Invalid value: \"b\": field is immutable"],
        );
        let value = json!({"metadata": {"name": "fast"}, "handler": "a"});
        check_row(
            &RuntimeClassStrategy,
            &value,
            0,
            &[("Name", "fast"), ("Handler", "a")],
        );
    }
}
