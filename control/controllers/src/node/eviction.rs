//! When a pod must leave a tainted node. Pure.
//!
//! Follows `pkg/controller/tainteviction` of Kubernetes, with one difference: the time a pod is
//! tolerated for counts from when the taint was added, so that a restart of this controller
//! neither shortens nor lengthens it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use super::lifecycle::NO_EXECUTE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stay,
    LeaveIn(Duration),
    Leave,
}

pub(super) fn verdict(pod: &Pod, taints: &[Taint], now: Timestamp) -> Verdict {
    let none = Vec::new();
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_ref())
        .unwrap_or(&none);
    let mut verdict = Verdict::Stay;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let mut matching = tolerations
            .iter()
            .filter(|toleration| tolerates(toleration, taint))
            .peekable();
        if matching.peek().is_none() {
            return Verdict::Leave;
        }
        // The shortest of the tolerations that apply; one without a limit sets none.
        let Some(seconds) = matching
            .filter_map(|toleration| toleration.toleration_seconds)
            .min()
        else {
            continue;
        };
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let until = since
            .checked_add(SignedDuration::from_secs(seconds.max(0)))
            .unwrap_or(Timestamp::MAX);
        let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        if left.is_zero() {
            return Verdict::Leave;
        }
        verdict = match verdict {
            Verdict::LeaveIn(earlier) => Verdict::LeaveIn(earlier.min(left)),
            _ => Verdict::LeaveIn(left),
        };
    }
    verdict
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    // Only an empty key that tolerates everything needs no match.
    if key != taint.key && !(key.is_empty() && exists) {
        return false;
    }
    let equal = matches!(toleration.operator.as_deref(), None | Some("" | "Equal"));
    exists
        || (equal
            && toleration.value.as_deref().unwrap_or_default()
                == taint.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::tests::{at, pod};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::{Value, json};

    fn taint(key: &str, value: &str, effect: &str, added: i64) -> Taint {
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            time_added: Some(Time(at(added))),
        }
    }

    #[test]
    fn tolerations_decide_whether_and_when() {
        let gone = || vec![taint("gone", "", NO_EXECUTE, 0)];
        let both = || {
            vec![
                taint("gone", "", NO_EXECUTE, 0),
                taint("team", "shop", NO_EXECUTE, 50),
            ]
        };
        let for_seconds = |key: &str, seconds: i64| json!({"key": key, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds});
        let left = |seconds| Verdict::LeaveIn(Duration::from_secs(seconds));
        // At second 100.
        let cases: Vec<(Vec<Taint>, Vec<Value>, Verdict)> = vec![
            (vec![], vec![], Verdict::Stay),
            (
                vec![taint("gone", "", "NoSchedule", 0)],
                vec![],
                Verdict::Stay,
            ),
            (gone(), vec![], Verdict::Leave),
            (gone(), vec![json!({"operator": "Exists"})], Verdict::Stay),
            (
                gone(),
                vec![json!({"key": "gone", "operator": "Exists"})],
                Verdict::Stay,
            ),
            (gone(), vec![json!({"key": "gone"})], Verdict::Stay),
            (
                gone(),
                vec![json!({"key": "gone", "value": "x"})],
                Verdict::Leave,
            ),
            (
                gone(),
                vec![json!({"key": "gone", "operator": "Exists", "effect": "NoSchedule"})],
                Verdict::Leave,
            ),
            (
                gone(),
                vec![json!({"key": "other", "operator": "Exists"})],
                Verdict::Leave,
            ),
            (gone(), vec![for_seconds("gone", 300)], left(200)),
            (gone(), vec![for_seconds("gone", 100)], Verdict::Leave),
            (gone(), vec![for_seconds("gone", 0)], Verdict::Leave),
            (gone(), vec![for_seconds("gone", -7)], Verdict::Leave),
            (
                gone(),
                vec![for_seconds("gone", 300), for_seconds("gone", 150)],
                left(50),
            ),
            (
                gone(),
                vec![for_seconds("gone", 300), json!({"operator": "Exists"})],
                left(200),
            ),
            (
                gone(),
                vec![for_seconds("gone", i64::MAX)],
                Verdict::LeaveIn(
                    Duration::try_from(Timestamp::MAX.duration_since(at(100))).unwrap(),
                ),
            ),
            (both(), vec![for_seconds("gone", 300)], Verdict::Leave),
            (
                both(),
                vec![for_seconds("gone", 300), for_seconds("team", 60)],
                left(10),
            ),
            (
                both(),
                vec![
                    for_seconds("gone", 300),
                    json!({"key": "team", "value": "shop"}),
                ],
                left(200),
            ),
        ];
        for (taints, tolerations, expect) in cases {
            let mut pod = pod("a", true);
            pod.spec.as_mut().unwrap().tolerations =
                serde_json::from_value(json!(tolerations)).unwrap();
            assert_eq!(
                verdict(&pod, &taints, at(100)),
                expect,
                "{taints:?} {tolerations:?}"
            );
        }
    }
}
