//! What a real pod gets at its creation beyond its template's defaults. Follows
//! `pkg/registry/core/pod/strategy.go` and the admission plugin ServiceAccount.

use euston_api::labels::SERVICE_ACCOUNT_DEFAULT;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};

use super::qos;

pub(super) fn prepare(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    if spec
        .service_account_name
        .as_deref()
        .is_none_or(str::is_empty)
    {
        spec.service_account_name = Some(SERVICE_ACCOUNT_DEFAULT.to_owned());
        spec.service_account.clone_from(&spec.service_account_name);
    }

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
