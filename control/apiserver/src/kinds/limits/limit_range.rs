//! LimitRange: how much a container, a pod or a claim may ask for, and what it gets unasked.

use std::collections::{BTreeMap, BTreeSet};

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use euston_api::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde_json::Value;

use super::validate_resource_name;
use crate::kinds::{cells, pod_spec};
use crate::registry::strategy::{Column, NAME, Strategy};

/// Limits of each container.
pub const CONTAINER: &str = "Container";
/// Limits of all containers of a pod together.
pub const POD: &str = "Pod";
/// Limits of claims on storage.
pub const PERSISTENT_VOLUME_CLAIM: &str = "PersistentVolumeClaim";

const TYPES: [&str; 3] = [POD, CONTAINER, PERSISTENT_VOLUME_CLAIM];
const STORAGE: &str = "storage";

type Amounts = BTreeMap<String, ApiQuantity>;

/// The rules of LimitRanges.
pub struct LimitRangeStrategy;

impl Strategy for LimitRangeStrategy {
    type Object = LimitRange;

    fn default(&self, range: &mut LimitRange) {
        for item in range.spec.iter_mut().flat_map(|s| &mut s.limits) {
            for amounts in [
                &mut item.default,
                &mut item.default_request,
                &mut item.max,
                &mut item.max_limit_request_ratio,
                &mut item.min,
            ] {
                pod_spec::canonical_amounts(amounts.as_mut());
            }
            if item.type_ == CONTAINER {
                default_container(item);
            }
        }
    }

    fn validate(&self, range: &LimitRange) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("limits");
        let mut seen = BTreeSet::new();
        for (index, item) in range.spec.iter().flat_map(|s| &s.limits).enumerate() {
            let path = path.index(index);
            validate_type(&item.type_, &path.child("type"), &mut errors);
            if !seen.insert(&item.type_) {
                errors.duplicate(path.child("type"), &item.type_);
            }
            validate_item(item, &path, &mut errors);
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column {
                format: "date-time",
                ..Column::string("Created At", "When it was made.")
            },
        ];
        COLUMNS
    }

    fn row(&self, range: &LimitRange, _now: Timestamp) -> Vec<Value> {
        let created = range.metadata.creation_timestamp.as_ref();
        vec![
            cells::name(&range.metadata),
            created
                .map(|time| time.0.to_string())
                .unwrap_or_default()
                .into(),
        ]
    }
}

/// What is not said follows from what is: the limit from the maximum, the request from the
/// limit, or from the minimum.
fn default_container(item: &mut LimitRangeItem) {
    let add = |to: &mut Option<Amounts>, from: Option<&Amounts>| {
        for (name, amount) in from.into_iter().flatten() {
            let to = to.get_or_insert_default();
            to.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    };
    add(&mut item.default, item.max.as_ref());
    add(&mut item.default_request, item.default.as_ref());
    add(&mut item.default_request, item.min.as_ref());
}

fn validate_type(kind: &str, path: &Path, errors: &mut ErrorList) {
    let problems = names::qualified_name(kind);
    if !problems.is_empty() {
        errors.invalid_each(path, kind, problems);
    } else if !kind.contains('/') && !TYPES.contains(&kind) {
        let rule = "must be a standard limit type or fully qualified";
        errors.invalid(path.clone(), kind, rule);
    }
}

fn validate_item(item: &LimitRangeItem, path: &Path, errors: &mut ErrorList) {
    let fields = [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
        ("maxLimitRequestRatio", &item.max_limit_request_ratio),
    ];
    let mut names = BTreeSet::new();
    for (field, amounts) in fields {
        let here = path.child(field);
        let Some(amounts) = amounts.as_ref().filter(|a| !a.is_empty()) else {
            continue;
        };
        if item.type_ == POD && field.starts_with("default") {
            errors.forbidden(here, "may not be specified when `type` is 'Pod'");
            continue;
        }
        for (name, amount) in amounts {
            let here = here.key(name);
            validate_name(&item.type_, name, &here, errors);
            if let Err(error) = Quantity::from_api(amount) {
                errors.invalid(here, amount, error.to_string());
            }
            names.insert(name.as_str());
        }
    }
    let bounds = |amounts: &Option<Amounts>| {
        let amounts = amounts.as_ref();
        amounts.is_some_and(|a| a.contains_key(STORAGE))
    };
    if item.type_ == PERSISTENT_VOLUME_CLAIM && !bounds(&item.min) && !bounds(&item.max) {
        errors.required(
            path.child("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    for name in names {
        validate_order(item, name, path, errors);
    }
}

fn validate_name(kind: &str, name: &str, path: &Path, errors: &mut ErrorList) {
    let of_a_container = |name: &str| {
        ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-")
    };
    if kind == POD || kind == CONTAINER {
        let rule = "must be a standard resource for containers";
        validate_resource_name(name, of_a_container, rule, path, errors);
    } else {
        let known = |name: &str| of_a_container(name) || name == STORAGE;
        let rule = "must be a standard resource type or fully qualified";
        validate_resource_name(name, known, rule, path, errors);
    }
}

/// min <= default request <= default <= max, for one resource.
fn validate_order(item: &LimitRangeItem, name: &str, path: &Path, errors: &mut ErrorList) {
    let of = |amounts: &Option<Amounts>| {
        let amount = amounts.as_ref()?.get(name)?;
        Quantity::from_api(amount).ok()
    };
    let (min, max) = (of(&item.min), of(&item.max));
    let (default, request) = (of(&item.default), of(&item.default_request));
    let at = |field: &str| path.child(field).key(name);
    // The lower, the higher, where the error stands, and whether it shows the higher.
    let mut ordered = |low: (Option<Quantity>, &str),
                       high: (Option<Quantity>, &str),
                       field: &str,
                       shown: Option<Quantity>| {
        if let (Some(a), Some(b)) = (low.0, high.0)
            && a > b
        {
            let rule = format!("{} value {a} is greater than {} value {b}", low.1, high.1);
            errors.invalid(at(field), shown.map(|q| q.to_string()), rule);
        }
    };
    ordered((min, "min"), (max, "max"), "min", min);
    ordered(
        (min, "min"),
        (request, "default request"),
        "defaultRequest",
        request,
    );
    ordered(
        (request, "default request"),
        (max, "max"),
        "defaultRequest",
        request,
    );
    ordered(
        (request, "default request"),
        (default, "default limit"),
        "defaultRequest",
        request,
    );
    ordered((min, "min"), (default, "default"), "default", min);
    ordered((default, "default"), (max, "max"), "default", max);

    if let Some(ratio) = of(&item.max_limit_request_ratio) {
        let here = at("maxLimitRequestRatio");
        let shown = ratio.to_string();
        if ratio < Quantity::from_value(1, euston_api::quantity::Format::DecimalSi) {
            errors.invalid(
                here.clone(),
                &shown,
                format!("ratio {ratio} is less than 1"),
            );
        }
        if let (Some(min), Some(max)) = (min, max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                let rule = format!("ratio {ratio} is greater than max/min = {most:.6}");
                errors.invalid(here, shown, rule);
            }
        }
    }
    // What comes in pieces is not lent twice.
    if (name.contains('/') || name.starts_with("hugepages-"))
        && let (Some(default), Some(request)) = (default, request)
        && default != request
    {
        let rule = format!(
            "default value {default} must equal to defaultRequest value {request} in {name}"
        );
        errors.invalid(at("defaultRequest"), request.to_string(), rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, created};
    use serde_json::json;

    fn range(item: Value) -> Value {
        json!({"metadata": {"name": "r"}, "spec": {"limits": [item]}})
    }

    #[test]
    fn what_is_not_said_follows_from_what_is() {
        let check = |item: Value, expected: Value| {
            let made = created(&LimitRangeStrategy, &range(item));
            let made = serde_json::to_value(made).unwrap();
            let item = &made["spec"]["limits"][0];
            let found = json!([item["default"], item["defaultRequest"]]);
            assert_eq!(found, expected, "{item}");
        };
        check(json!({"type": "Container"}), json!([null, null]));
        check(
            json!({"type": "Container", "max": {"cpu": "1000m"}}),
            json!([{"cpu": "1"}, {"cpu": "1"}]),
        );
        check(
            json!({"type": "Container", "min": {"cpu": "1"}}),
            json!([null, {"cpu": "1"}]),
        );
        check(
            json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "4"}, "default": {"cpu": "2"}}),
            json!([{"cpu": "2"}, {"cpu": "2"}]),
        );
        check(
            json!({"type": "Container", "defaultRequest": {"cpu": "1"}, "default": {"memory": "1Gi"}}),
            json!([{"memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}]),
        );
        check(
            json!({"type": "Pod", "max": {"cpu": "1"}}),
            json!([null, null]),
        );
    }

    #[test]
    fn bounds_are_in_order() {
        let check = |item: Value, expected: &[&str]| {
            let expected: Vec<String> = expected
                .iter()
                .map(|e| format!("spec.limits[0].{e}"))
                .collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check_create(&LimitRangeStrategy, &range(item), &expected);
        };
        check_create(&LimitRangeStrategy, &json!({}), &[]);
        check(
            json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}),
            &[],
        );
        check(
            json!({"type": "example.com/thing", "max": {"example.com/a": "1"}}),
            &[],
        );
        check(
            json!({"type": ""}),
            &[
                "type: Invalid value: \"\": name part must be non-empty",
                "type: Invalid value",
            ],
        );
        check(
            json!({"type": "Thing"}),
            &["type: Invalid value: \"Thing\": must be a standard limit type or fully qualified"],
        );
        check(
            json!({"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}),
            &[
                "default: Forbidden: may not be specified when `type` is 'Pod'",
                "defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
            ],
        );
        check(
            json!({"type": "PersistentVolumeClaim"}),
            &[
                "limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ],
        );
        check(
            json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}),
            &[],
        );
        check(
            json!({"type": "Container", "max": {"storage": "1"}}),
            &[
                "max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
                "default[storage]: Invalid value",
                "defaultRequest[storage]: Invalid value",
            ],
        );
        check(
            json!({"type": "PersistentVolumeClaim", "max": {"storage": "1", "beds": "1"}}),
            &[
                "max[beds]: Invalid value: \"beds\": must be a standard resource type or fully qualified",
            ],
        );
        check(
            json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
            &["min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
        );
        check(
            json!({"type": "Container", "min": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}),
            &[
                "defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
            ],
        );
        check(
            json!({"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}}),
            &[
                "defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than max value 1",
                "default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1",
            ],
        );
        check(
            json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}),
            &[
                "defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default limit value 1",
            ],
        );
        check(
            json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}),
            &[
                "maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
            ],
        );
        check(
            json!({"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}}),
            &["maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1"],
        );
        check(
            json!({"type": "Container", "default": {"a.io/x": "2"}, "defaultRequest": {"a.io/x": "1"}}),
            &[
                "defaultRequest[a.io/x]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in a.io/x",
            ],
        );
        let twice = json!({"spec": {"limits": [{"type": "Pod"}, {"type": "Pod"}]}});
        check_create(
            &LimitRangeStrategy,
            &twice,
            &["spec.limits[1].type: Duplicate value: \"Pod\""],
        );
        let value = json!({"metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        check_row(
            &LimitRangeStrategy,
            &value,
            0,
            &[("Name", "r"), ("Created At", "2026-01-01T00:00:00Z")],
        );
    }
}
