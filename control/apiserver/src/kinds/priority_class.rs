//! PriorityClass: which pods go first, by name.

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

use super::cells;
use super::pod_spec::none_or_one_of;
use crate::registry::kind::Kind;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The highest value of a class that is not the system's own.
const USER_MAX: i32 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
/// What a pod of a class that does not say otherwise may do.
pub const PREEMPT: &str = "PreemptLowerPriority";
const POLICIES: [&str; 2] = [PREEMPT, "Never"];

/// A class that every cluster has.
pub struct SystemClass {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: i32,
    /// What it is for.
    pub description: &'static str,
}

/// The classes that every cluster has, and nobody may change or delete.
pub const SYSTEM: [SystemClass; 2] = [
    SystemClass {
        name: "system-node-critical",
        value: 2 * USER_MAX + 1000,
        description: "Used for system critical pods that must not be moved from their current node.",
    },
    SystemClass {
        name: "system-cluster-critical",
        value: 2 * USER_MAX,
        description: "Used for system critical pods that must run in the cluster, but can be moved \
                      to another node if necessary.",
    },
];

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![Kind::new(PriorityClassStrategy, "priorityclass", false).short(&["pc"])]
}

/// The rules of PriorityClasses.
pub struct PriorityClassStrategy;

impl Strategy for PriorityClassStrategy {
    type Object = PriorityClass;

    fn default(&self, class: &mut PriorityClass) {
        class.value.get_or_insert(0);
        class
            .preemption_policy
            .get_or_insert_with(|| PREEMPT.to_owned());
    }

    fn validate(&self, class: &PriorityClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let value = class.value.unwrap_or_default();
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(why) = not_of_the_system(name, value, class.global_default == Some(true)) {
                errors.forbidden(
                    Path::new("metadata").child("name"),
                    format!(
                        "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for \
                         system use only. error: {why}"
                    ),
                );
            }
        } else if value > USER_MAX {
            errors.forbidden(
                Path::new("value"),
                format!("maximum allowed value of a user defined priority is {USER_MAX}"),
            );
        }
        let policy = class.preemption_policy.as_deref();
        none_or_one_of(
            policy,
            &POLICIES,
            Path::new("preemptionPolicy"),
            &mut errors,
        );
        errors
    }

    fn validate_update(&self, new: &PriorityClass, old: &PriorityClass) -> ErrorList {
        let mut errors = ErrorList::new();
        if new.value.unwrap_or_default() != old.value.unwrap_or_default() {
            errors.forbidden(Path::new("value"), "may not be changed in an update.");
        }
        errors.immutable(
            Path::new("preemptionPolicy"),
            &new.preemption_policy,
            &old.preemption_policy,
        );
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::integer("Value", "The priority of pods of this class."),
            Column {
                kind: "boolean",
                ..Column::string(
                    "Global-Default",
                    "True for the class of pods that name none.",
                )
            },
            AGE,
            Column::string("PreemptionPolicy", "Whether these pods displace others."),
        ];
        COLUMNS
    }

    fn row(&self, class: &PriorityClass, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&class.metadata),
            class.value.unwrap_or_default().into(),
            class.global_default.unwrap_or_default().into(),
            cells::age(&class.metadata, now),
            class
                .preemption_policy
                .as_deref()
                .unwrap_or_default()
                .into(),
        ]
    }
}

/// Why a class is not one of the system's own, if it is not.
fn not_of_the_system(name: &str, value: i32, is_default: bool) -> Option<String> {
    let Some(known) = SYSTEM.iter().find(|known| known.name == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != known.value {
        return Some(format!(
            "value of {name} PriorityClass must be {}",
            known.value
        ));
    }
    is_default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update, created};
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_a_bound_and_names_are_reserved() {
        let check = |name: &str, class: Value, expected: &[&str]| {
            let class = super::super::testing::merged(&class, &json!({"metadata": {"name": name}}));
            check_create(&PriorityClassStrategy, &class, expected);
        };
        check("high", json!({"value": 1_000_000_000}), &[]);
        check("low", json!({"value": -2_000_000_000}), &[]);
        check("none", json!({}), &[]);
        check("system-node-critical", json!({"value": 2_000_001_000}), &[]);
        check(
            "system-cluster-critical",
            json!({"value": 2_000_000_000}),
            &[],
        );
        check(
            "high",
            json!({"value": 1_000_000_001}),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: ";
        check(
            "system-mine",
            json!({"value": 1}),
            &[&format!(
                "{reserved}system-mine is not a known system priority class"
            )],
        );
        check(
            "system-node-critical",
            json!({"value": 1}),
            &[&format!(
                "{reserved}value of system-node-critical PriorityClass must be 2000001000"
            )],
        );
        check(
            "system-node-critical",
            json!({"value": 2_000_001_000, "globalDefault": true}),
            &[&format!(
                "{reserved}globalDefault of system-node-critical PriorityClass must be false"
            )],
        );
        check(
            "a",
            json!({"preemptionPolicy": "Always"}),
            &[
                "preemptionPolicy: Unsupported value: \"Always\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ],
        );
        let made = created(&PriorityClassStrategy, &json!({}));
        assert_eq!(made.preemption_policy.as_deref(), Some(PREEMPT));
    }

    #[test]
    fn what_pods_rely_on_stays() {
        let check = |new: Value, expected: &[&str]| {
            check_update(&PriorityClassStrategy, &json!({"value": 1}), &new, expected);
        };
        check(
            json!({"value": 1, "description": "x", "globalDefault": true}),
            &[],
        );
        check(
            json!({"value": 2}),
            &["value: Forbidden: may not be changed in an update."],
        );
        check(
            json!({"value": 1, "preemptionPolicy": "Never"}),
            &["preemptionPolicy: Invalid value: \"Never\": field is immutable"],
        );
        let value = json!({"metadata": {"name": "a"}, "value": 7, "preemptionPolicy": "Never"});
        let row = [
            ("Name", "a"),
            ("Value", "7"),
            ("Global-Default", "false"),
            ("PreemptionPolicy", "Never"),
        ];
        check_row(&PriorityClassStrategy, &value, 0, &row);
    }
}
