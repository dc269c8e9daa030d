//! Whether a write fits into the quotas of its namespace, and what they are after it. Pure.

use std::collections::BTreeMap;

use euston_api::quantity::Quantity;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::super::pod_totals::{Amounts, parsed};
use super::measure::Measured;

/// A step from one object to another: `None` before its creation, and after its end.
pub(super) struct Step {
    pub(super) old: Option<Measured>,
    pub(super) new: Option<Measured>,
    /// False if this write may not be refused: it reports what is the case already.
    pub(super) may_be_refused: bool,
}

/// What the step adds to what the quota counts, by resource; below zero for what it gives back.
fn difference(step: &Step, quota: &ResourceQuota) -> Amounts {
    let default = Default::default();
    let spec = quota.spec.as_ref().unwrap_or(&default);
    let counted = |measured: &Option<Measured>| match measured {
        Some(measured) if measured.is_within(spec) => measured.usage.clone(),
        _ => Amounts::new(),
    };
    let (old, mut new) = (counted(&step.old), counted(&step.new));
    for (name, amount) in old {
        let rest = new.remove(&name).unwrap_or(Quantity::ZERO).minus(amount);
        new.insert(name, rest);
    }
    let bounded = quota.status.as_ref().and_then(|s| s.hard.as_ref());
    new.retain(|name, amount| {
        !amount.is_zero() && bounded.is_some_and(|hard| hard.contains_key(name))
    });
    new
}

/// The usage of each quota that changes, by its place in `quotas`.
///
/// # Errors
/// Why the step does not fit, in Kubernetes' words.
pub(super) fn charge<'a>(
    step: &Step,
    quotas: impl Iterator<Item = &'a ResourceQuota>,
) -> Result<BTreeMap<usize, BTreeMap<String, ApiQuantity>>, String> {
    let mut changed = BTreeMap::new();
    for (place, quota) in quotas.enumerate() {
        if let Some(used) = charge_one(step, quota)? {
            changed.insert(place, used);
        }
    }
    Ok(changed)
}

fn charge_one(
    step: &Step,
    quota: &ResourceQuota,
) -> Result<Option<BTreeMap<String, ApiQuantity>>, String> {
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    let default = Default::default();
    let status = quota.status.as_ref().unwrap_or(&default);
    let hard = parsed(status.hard.as_ref());
    let used = parsed(status.used.as_ref());
    if let (None, Some(new), true) = (&step.old, &step.new, step.may_be_refused) {
        let spec = quota.spec.as_ref();
        let about = spec.is_some_and(|spec| new.is_within(spec));
        if about && let Some(missing) = new.missing(hard.keys()) {
            return Err(format!("failed quota: {name}: must specify {missing}"));
        }
    }
    let difference = difference(step, quota);
    if difference.is_empty() {
        return Ok(None);
    }
    let after = |name: &String, more: &Quantity| {
        used.get(name)
            .copied()
            .unwrap_or(Quantity::ZERO)
            .plus(*more)
    };
    let exceeded: Vec<&String> = difference
        .iter()
        .filter(|(name, more)| {
            let bound = hard.get(*name).copied().unwrap_or(Quantity::ZERO);
            !more.is_negative() && after(name, more) > bound
        })
        .map(|(name, _)| name)
        .collect();
    if step.may_be_refused && !exceeded.is_empty() {
        let shown = |amounts: &Amounts| {
            let each = exceeded.iter().map(|name| {
                let amount = amounts.get(*name).copied().unwrap_or(Quantity::ZERO);
                format!("{name}={amount}")
            });
            each.collect::<Vec<_>>().join(",")
        };
        return Err(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            shown(&difference),
            shown(&used),
            shown(&hard)
        ));
    }
    let mut total = status.used.clone().unwrap_or_default();
    for (name, more) in &difference {
        // What was never counted is not given back.
        let after = after(name, more);
        let after = if after.is_negative() {
            Quantity::ZERO
        } else {
            after
        };
        total.insert(name.clone(), after.to_api());
    }
    Ok(Some(total))
}

/// The part of `usage` that `hard` bounds, with a zero for what nothing takes.
pub(super) fn masked(
    usage: &Amounts,
    hard: &BTreeMap<String, ApiQuantity>,
) -> BTreeMap<String, ApiQuantity> {
    hard.keys()
        .map(|name| {
            let amount = usage.get(name).copied().unwrap_or(Quantity::ZERO);
            (name.clone(), amount.to_api())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::row;
    use super::super::measure::measure;
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    fn pod(value: &Value) -> Measured {
        let row = row("", "pods");
        let pod: Pod = serde_json::from_value(value.clone()).unwrap();
        measure(&row.resource().kind.names, &pod)
    }

    fn quota(name: &str, hard: Value, used: Value) -> ResourceQuota {
        let quota = json!({
            "metadata": {"name": name}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used},
        });
        serde_json::from_value(quota).unwrap()
    }

    fn asking(cpu: &str) -> Value {
        json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn check(step: &Step, quotas: &[ResourceQuota], expected: Result<Value, &str>) {
        let result = charge(step, quotas.iter());
        let found = result.map(|changed| json!(changed));
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    fn creation(value: &Value) -> Step {
        Step {
            old: None,
            new: Some(pod(value)),
            may_be_refused: true,
        }
    }

    #[test]
    fn a_creation_is_charged_or_refused() {
        let q = |used: Value| [quota("q", json!({"pods": "2", "cpu": "1"}), used)];
        check(
            &creation(&asking("500m")),
            &q(json!({"pods": "1", "cpu": "250m"})),
            Ok(json!({"0": {"pods": "2", "cpu": "750m"}})),
        );
        check(
            &creation(&asking("500m")),
            &q(json!({})),
            Ok(json!({"0": {"pods": "1", "cpu": "500m"}})),
        );
        check(
            &creation(&asking("900m")),
            &q(json!({"pods": "1", "cpu": "250m"})),
            Err("exceeded quota: q, requested: cpu=900m, used: cpu=250m, limited: cpu=1"),
        );
        check(
            &creation(&asking("2")),
            &q(json!({"pods": "2", "cpu": "0"})),
            Err(
                "exceeded quota: q, requested: cpu=2,pods=1, used: cpu=0,pods=2, limited: cpu=1,pods=2",
            ),
        );
        check(
            &creation(&json!({"spec": {"containers": [{"name": "main"}]}})),
            &q(json!({})),
            Err("failed quota: q: must specify cpu for: main"),
        );
        check(
            &creation(&asking("1")),
            &[quota("q", json!({"secrets": "0"}), json!({}))],
            Ok(json!({})),
        );
    }

    #[test]
    fn every_quota_of_the_namespace_counts() {
        let quotas = [
            quota("a", json!({"pods": "9"}), json!({"pods": "1"})),
            quota("b", json!({"secrets": "9"}), json!({"secrets": "1"})),
            quota("c", json!({"count/pods": "9"}), json!({"count/pods": "4"})),
        ];
        check(
            &creation(&asking("1")),
            &quotas,
            Ok(json!({"0": {"pods": "2"}, "2": {"count/pods": "5"}})),
        );
    }

    #[test]
    fn what_ends_gives_back() {
        let quotas = [quota(
            "q",
            json!({"pods": "1", "cpu": "1", "count/pods": "9"}),
            json!({"pods": "1", "cpu": "2", "count/pods": "1"}),
        )];
        let mut ended = asking("1500m");
        ended["status"] = json!({"phase": "Succeeded"});
        let step = |old: &Value, new: Option<&Value>| Step {
            old: Some(pod(old)),
            new: new.map(pod),
            may_be_refused: false,
        };
        check(
            &step(&asking("1500m"), Some(&ended)),
            &quotas,
            Ok(json!({"0": {"pods": "0", "cpu": "500m", "count/pods": "1"}})),
        );
        check(
            &step(&asking("1500m"), None),
            &quotas,
            Ok(json!({"0": {"pods": "0", "cpu": "500m", "count/pods": "0"}})),
        );
        check(
            &step(&ended, None),
            &quotas,
            Ok(json!({"0": {"pods": "1", "cpu": "2", "count/pods": "0"}})),
        );
        // Never below nothing, and never refused.
        check(
            &step(&asking("3"), None),
            &quotas,
            Ok(json!({"0": {"pods": "0", "cpu": "0", "count/pods": "0"}})),
        );
        check(
            &step(&asking("1"), Some(&asking("2"))),
            &quotas,
            Ok(json!({"0": {"pods": "1", "cpu": "3", "count/pods": "1"}})),
        );
        check(
            &step(&asking("1"), Some(&asking("1"))),
            &quotas,
            Ok(json!({})),
        );
    }

    #[test]
    fn a_count_shows_what_is_bounded() {
        let usage = pod(&asking("1")).usage;
        let hard = quota("q", json!({"pods": "1", "secrets": "2"}), json!({}));
        let hard = hard.spec.unwrap().hard.unwrap();
        assert_eq!(
            json!(masked(&usage, &hard)),
            json!({"pods": "1", "secrets": "0"})
        );
    }
}
