//! Conditions of a status, as the newer groups have them (`metav1.Condition`). Follows
//! `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use std::collections::BTreeSet;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::pod_spec::one_of;

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// Adds an error for everything wrong with `status.conditions`.
pub(super) fn validate(conditions: Option<&[Condition]>, errors: &mut ErrorList) {
    validate_at(conditions, &Path::new("status").child("conditions"), errors);
}

/// [`validate`] for conditions that stand elsewhere.
pub(super) fn validate_at(conditions: Option<&[Condition]>, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        let kind = &condition.type_;
        errors.invalid_each(&path.child("type"), kind, names::qualified_name(kind));
        if !seen.insert(kind) {
            errors.duplicate(path.child("type"), kind);
        }
        one_of(
            Some(&condition.status),
            &STATUSES,
            path.child("status"),
            errors,
        );
        if let Some(generation) = condition.observed_generation {
            errors.non_negative(path.child("observedGeneration"), generation);
        }
        let reason = &condition.reason;
        let here = path.child("reason");
        if reason.is_empty() {
            errors.required(here, "");
        } else {
            if !is_reason(reason) {
                errors.invalid(
                    here.clone(),
                    reason,
                    "a condition reason must start with alphabetic character, optionally followed \
                     by a string of alphanumeric characters or '_,:', and must end with an \
                     alphanumeric character or '_' (e.g. 'my_name', 'MY_NAME',  or 'MyName',  or \
                     'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
                     '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
                );
            }
            if reason.len() > REASON_BYTES_MAX {
                errors.too_long(here, REASON_BYTES_MAX);
            }
        }
        if condition.message.len() > MESSAGE_BYTES_MAX {
            errors.too_long(path.child("message"), MESSAGE_BYTES_MAX);
        }
    }
}

fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    let end = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let inner = |b: &u8| end(b) || *b == b',' || *b == b':';
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(end)
        && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compare, object};
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn conditions_are_complete_and_unique() {
        let check = |value: Value, expected: &[&str]| {
            let conditions: Vec<Condition> = object(&value);
            let mut errors = ErrorList::new();
            validate(Some(&conditions), &mut errors);
            compare(&value, &errors, expected);
        };
        let good = json!({
            "type": "Ready", "status": "True", "reason": "AllGood", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let with = |patch: Value| super::super::testing::merged(&good, &patch);
        check(json!([good]), &[]);
        check(
            json!([good, good]),
            &["status.conditions[1].type: Duplicate value: \"Ready\""],
        );
        check(
            json!([with(json!({"status": "Maybe", "reason": ""}))]),
            &[
                "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                "status.conditions[0].reason: Required value",
            ],
        );
        for reason in ["1a", "a b", "a,", "é"] {
            let expected = format!(
                "status.conditions[0].reason: Invalid value: {reason:?}: a condition reason must start"
            );
            check(json!([with(json!({"reason": reason}))]), &[&expected]);
        }
        check(
            json!([with(json!({"type": "a b", "observedGeneration": -1}))]),
            &[
                "status.conditions[0].type: Invalid value: \"a b\": name part",
                "status.conditions[0].observedGeneration: Invalid value: -1",
            ],
        );
        check(
            json!([with(
                json!({"message": "x".repeat(MESSAGE_BYTES_MAX + 1), "reason": "x".repeat(REASON_BYTES_MAX + 1)})
            )]),
            &[
                "status.conditions[0].reason: Too long: may not be more than 1024 bytes",
                "status.conditions[0].message: Too long: may not be more than 32768 bytes",
            ],
        );
    }
}
