//! Taints and tolerations:
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::framework::{Events, Filter, Reason, Score, normalize_by_largest};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct TaintToleration;

pub(super) fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| tolerates(t, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |o: &Option<String>| o.clone().unwrap_or_default();
    let effect = text(&toleration.effect);
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = text(&toleration.key);
    if !key.is_empty() && key != taint.key {
        return false;
    }
    let number = |s: &str| s.parse::<i64>().ok();
    let value = taint.value.as_deref().unwrap_or("");
    let wanted = toleration.value.as_deref().unwrap_or("");
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        // An empty key with Equal matches nothing; validation refuses it too.
        None | Some("" | "Equal") => !key.is_empty() && wanted == value,
        Some("Gt") => number(value)
            .zip(number(wanted))
            .is_some_and(|(a, b)| a > b),
        Some("Lt") => number(value)
            .zip(number(wanted))
            .is_some_and(|(a, b)| a < b),
        Some(_) => false,
    }
}

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>) {
        // Only the first, as Kubernetes reports it.
        let untolerated = node.facts.taints.iter().find(|t| {
            matches!(t.taint.effect.as_str(), "NoSchedule" | "NoExecute")
                && !is_tolerated(&t.taint, &pod.tolerations)
        });
        if let Some(taint) = untolerated {
            reasons.push(taint.reason.clone());
        }
    }

    fn cured_by(&self) -> Events {
        Events::NODE_ADDED.and(Events::NODE_TAINTS)
    }
}

impl Score for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        node.facts
            .taints
            .iter()
            .filter(|t| {
                t.taint.effect == "PreferNoSchedule" && !is_tolerated(&t.taint, &pod.tolerations)
            })
            .count() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_largest(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod, reasons};
    use super::*;
    use serde_json::{Value, json};

    fn taint(effect: &str) -> Value {
        json!({"key": "k", "value": "v", "effect": effect})
    }

    #[test]
    fn an_untolerated_taint_refuses_and_is_named() {
        let refused = "node(s) had untolerated taint {k: v}";
        for (taints, tolerations, expect) in [
            (json!([]), json!([]), None),
            (json!([taint("NoSchedule")]), json!([]), Some(refused)),
            (json!([taint("NoExecute")]), json!([]), Some(refused)),
            (json!([taint("PreferNoSchedule")]), json!([]), None),
            (
                json!([taint("NoSchedule")]),
                json!([{"operator": "Exists"}]),
                None,
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "k", "operator": "Exists"}]),
                None,
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "k", "value": "v"}]),
                None,
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]),
                None,
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "k", "value": "w"}]),
                Some(refused),
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "j", "operator": "Exists"}]),
                Some(refused),
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]),
                Some(refused),
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"value": "v"}]),
                Some(refused),
            ),
            (
                json!([taint("NoSchedule")]),
                json!([{"key": "k", "operator": "Like"}]),
                Some(refused),
            ),
            (
                json!([{"key": "k", "value": "7", "effect": "NoSchedule"}]),
                json!([{"key": "k", "operator": "Gt", "value": "5"}]),
                None,
            ),
            (
                json!([{"key": "k", "value": "7", "effect": "NoSchedule"}]),
                json!([{"key": "k", "operator": "Lt", "value": "7"}]),
                Some("node(s) had untolerated taint {k: 7}"),
            ),
            (
                json!([{"key": "bare", "effect": "NoSchedule"}]),
                json!([]),
                Some("node(s) had untolerated taint {bare: }"),
            ),
        ] {
            let case = format!("{taints} {tolerations}");
            let node = node(json!({"spec": {"taints": taints}}), vec![]);
            let pod = pod(json!({"tolerations": tolerations}));
            assert_eq!(
                reasons(&TaintToleration, &pod, &node),
                Vec::from_iter(expect),
                "{case}"
            );
        }
    }

    #[test]
    fn fewer_soft_taints_score_higher() {
        let tainted = node(
            json!({"spec": {"taints": [taint("PreferNoSchedule")]}}),
            vec![],
        );
        let mut scores =
            [&tainted, &node(json!({}), vec![])].map(|n| TaintToleration.score(&pod(json!({})), n));
        TaintToleration.normalize(&mut scores);
        assert_eq!(scores, [0, crate::framework::SCORE_MAX]);
    }
}
