//! Pod: containers that run together on one node.

mod admission;
mod parts;
mod qos;
mod table;
mod update;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use serde_json::Value;

use super::pod_spec;
use crate::registry::kind::Subresource;
use crate::registry::strategy::{Column, Fields, Strategy, counts_spec_changes};
pub use qos::class as quality;

/// The rules of Pods.
pub struct PodStrategy;

impl Strategy for PodStrategy {
    type Object = Pod;

    fn default(&self, pod: &mut Pod) {
        let spec = pod.spec.get_or_insert_default();
        pod_spec::default_pod_spec(spec);
        // These two hold for pods and not for templates.
        pod_spec::default_container_requests(spec);
        spec.enable_service_links.get_or_insert(true);
    }

    fn prepare_for_create(&self, pod: &mut Pod) {
        admission::prepare(pod);
    }

    fn validate(&self, pod: &Pod) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&default);
        pod_spec::validate(spec, &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_create(&self, pod: &Pod) -> ErrorList {
        let mut errors = ErrorList::new();
        let added = pod
            .spec
            .as_ref()
            .and_then(|s| s.ephemeral_containers.as_ref());
        if added.is_some_and(|containers| !containers.is_empty()) {
            let path = Path::new("spec").child("ephemeralContainers");
            errors.forbidden(path, "cannot be set on create");
        }
        errors
    }

    fn prepare_for_part_update(&self, part: Subresource, new: &mut Pod, old: &Pod) {
        parts::prepare(part, new, old);
    }

    fn validate_part_update(&self, part: Subresource, new: &Pod, old: &Pod) -> ErrorList {
        parts::validate(part, new, old)
    }

    fn prepare_for_update(&self, new: &mut Pod, old: &Pod) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, new: &Pod, old: &Pod) -> ErrorList {
        update::validate(new, old)
    }

    fn prepare_for_status_update(&self, new: &mut Pod, old: &Pod) {
        new.spec.clone_from(&old.spec);
        new.metadata
            .owner_references
            .clone_from(&old.metadata.owner_references);
        // The class follows from the spec; who writes the status need not know it.
        let class = old.status.as_ref().and_then(|s| s.qos_class.clone());
        new.status.get_or_insert_default().qos_class = class;
    }

    fn validate_status_update(&self, new: &Pod, old: &Pod) -> ErrorList {
        update::validate_status(new, old)
    }

    counts_spec_changes!();

    fn warnings(&self, pod: &Pod) -> Vec<String> {
        let spec = pod.spec.as_ref();
        let mut warnings =
            spec.map_or_else(Vec::new, |s| pod_spec::pod_warnings(s, &Path::new("spec")));
        // A pod's name is its host name, unless it says otherwise.
        if let Some(name) = &pod.metadata.name
            && !names::dns1123_label(name).is_empty()
            && names::dns1123_subdomain(name).is_empty()
        {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in \
                 surprising behavior; a DNS label is recommended: {:?}",
                names::dns1123_label(name)
            ));
        }
        warnings
    }

    fn fields(&self, pod: &Pod) -> Fields {
        let (spec, status) = (PodSpec::default(), PodStatus::default());
        let spec = pod.spec.as_ref().unwrap_or(&spec);
        let status = pod.status.as_ref().unwrap_or(&status);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let first_ip = status
            .pod_ips
            .iter()
            .flatten()
            .next()
            .map(|ip| ip.ip.clone());
        let ips: Vec<&str> = status
            .pod_ips
            .iter()
            .flatten()
            .map(|ip| ip.ip.as_str())
            .collect();
        vec![
            ("spec.nodeName", text(&spec.node_name)),
            ("spec.restartPolicy", text(&spec.restart_policy)),
            ("spec.schedulerName", text(&spec.scheduler_name)),
            ("spec.serviceAccountName", text(&spec.service_account_name)),
            (
                "spec.hostNetwork",
                spec.host_network.unwrap_or_default().to_string(),
            ),
            ("status.phase", text(&status.phase)),
            (
                "status.podIP",
                first_ip.unwrap_or_else(|| text(&status.pod_ip)),
            ),
            ("status.podIPs", ips.join(",")),
            (
                "status.nominatedNodeName",
                text(&status.nominated_node_name),
            ),
            ("spec.host", text(&spec.node_name)),
        ]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
            // The name that old clients know `spec.nodeName` by.
            "spec.host",
        ]
    }

    fn grace_period_seconds(&self, pod: &Pod, asked: Option<i64>) -> Option<i64> {
        let spec = pod.spec.as_ref();
        let own = spec
            .and_then(|s| s.termination_grace_period_seconds)
            .unwrap_or_default();
        let on_a_node = spec
            .and_then(|s| s.node_name.as_ref())
            .is_some_and(|n| !n.is_empty());
        // Nobody has to stop what no node runs.
        if !on_a_node || is_terminal(pod) {
            return Some(0);
        }
        let seconds = asked.unwrap_or(own);
        Some(if seconds < 0 { 1 } else { seconds })
    }

    fn columns(&self) -> &'static [Column] {
        table::COLUMNS
    }

    fn row(&self, pod: &Pod, now: Timestamp) -> Vec<Value> {
        table::row(pod, now)
    }
}

/// True once all containers have ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests;
