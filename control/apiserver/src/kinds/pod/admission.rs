//! What a real pod gets at its creation beyond its template's defaults. Follows
//! `pkg/registry/core/pod/strategy.go` and the admission plugins DefaultTolerationSeconds,
//! ServiceAccount and Priority.

use euston_api::labels::{SERVICE_ACCOUNT_DEFAULT, TAINT_NOT_READY, TAINT_UNREACHABLE};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec, PodStatus, Toleration};

use super::qos;

/// How long a pod stays bound to a node that is not heard of, in seconds.
const UNREACHABLE_SECONDS: i64 = 300;

pub(super) fn prepare(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    tolerate_short_absence(spec);
    if spec
        .service_account_name
        .as_deref()
        .is_none_or(str::is_empty)
    {
        spec.service_account_name = Some(SERVICE_ACCOUNT_DEFAULT.to_owned());
        spec.service_account.clone_from(&spec.service_account_name);
    }
    set_priority(spec);

    let conditions = spec
        .scheduling_gates
        .as_ref()
        .filter(|g| !g.is_empty())
        .map(|_| {
            vec![PodCondition {
                type_: "PodScheduled".to_owned(),
                status: "False".to_owned(),
                reason: Some("SchedulingGated".to_owned()),
                message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
                ..PodCondition::default()
            }]
        });
    pod.status = Some(PodStatus {
        phase: Some("Pending".to_owned()),
        qos_class: Some(qos::class(spec).to_owned()),
        conditions,
        ..PodStatus::default()
    });
}

/// Adds the two tolerations that every pod has, unless it has its own.
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
                toleration_seconds: Some(UNREACHABLE_SECONDS),
                value: None,
            });
        }
    }
}

/// The priority of pods without a class and of the two built-in classes. Other classes
/// are objects, which admission looks up.
fn set_priority(spec: &mut PodSpec) {
    let priority = match spec.priority_class_name.as_deref().unwrap_or_default() {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        _ => return,
    };
    spec.priority.get_or_insert(priority);
    spec.preemption_policy
        .get_or_insert_with(|| "PreemptLowerPriority".to_owned());
}
