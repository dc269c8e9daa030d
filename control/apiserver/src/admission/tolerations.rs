//! DefaultTolerationSeconds: how long a pod stays with a node that is not heard of. Follows
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>.

use euston_api::labels::{TAINT_NOT_READY, TAINT_UNREACHABLE};
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

use super::plugin::{Plugin, Request};
use crate::error::Result;
use crate::registry::Part;
use crate::registry::object::AnyObject;

/// How long, in seconds.
const SECONDS: i64 = 300;

/// Gives pods the two tolerations that every pod has.
pub struct DefaultTolerations;

impl Plugin for DefaultTolerations {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        if let Some(pod) = object.as_any_mut().downcast_mut::<Pod>()
            && request.part == Part::Main
            && request.creates()
        {
            tolerate_short_absence(pod.spec.get_or_insert_default());
        }
        Ok(())
    }
}

/// Adds those of the two that the pod has no opinion about.
fn tolerate_short_absence(spec: &mut PodSpec) {
    for taint in [TAINT_NOT_READY, TAINT_UNREACHABLE] {
        let tolerations = spec.tolerations.get_or_insert_default();
        let tolerates = |t: &Toleration| {
            let key = t.key.as_deref().unwrap_or_default();
            let effect = t.effect.as_deref().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !tolerations.iter().any(tolerates) {
            tolerations.push(Toleration {
                key: Some(taint.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(SECONDS),
                value: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::admitted;
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_absence_is_tolerated_unless_the_pod_says_otherwise() {
        let check = |tolerations: Value, expected: &[&str]| {
            let pod = json!({"spec": {"tolerations": tolerations}});
            let made = admitted::<Pod>(&DefaultTolerations, "", "pods", &pod).unwrap();
            let shown: Vec<String> = made["spec"]["tolerations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| {
                    format!(
                        "{}:{}",
                        t["key"].as_str().unwrap_or("*"),
                        t["tolerationSeconds"]
                    )
                })
                .collect();
            assert_eq!(shown, expected, "{pod}");
        };
        let (not_ready, unreachable) = (
            "node.kubernetes.io/not-ready:300",
            "node.kubernetes.io/unreachable:300",
        );
        check(Value::Null, &[not_ready, unreachable]);
        check(
            json!([{"key": TAINT_NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}]),
            &["node.kubernetes.io/not-ready:10", unreachable],
        );
        check(json!([{"operator": "Exists"}]), &["*:null"]);
        check(
            json!([{"key": TAINT_UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}]),
            &[
                "node.kubernetes.io/unreachable:null",
                not_ready,
                unreachable,
            ],
        );
    }
}
