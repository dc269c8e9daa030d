//! The one set of informers that all controllers of the process share.

use euston_api::{labels, owners};
use euston_client::{Informer, Selection};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

/// Index by the uid of the controlling owner; what has none is under [`orphans_of`] its namespace.
pub(crate) const BY_CONTROLLER: &str = "controller";
/// Index of pods by the node they are bound to.
pub(crate) const BY_NODE: &str = "node";
/// Index of endpoint slices by the `namespace/name` of their service.
pub(crate) const BY_SERVICE: &str = "service";

/// Name of the ConfigMap that carries the cluster's CA.
pub(crate) const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";

/// The only pod annotation that a controller reads.
pub(crate) const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(crate) struct Informers {
    pub(crate) pods: Informer<Pod>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) leases: Informer<Lease>,
    pub(crate) namespaces: Informer<Namespace>,
    pub(crate) services: Informer<Service>,
    pub(crate) endpoint_slices: Informer<EndpointSlice>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) service_accounts: Informer<ServiceAccount>,
    pub(crate) root_ca: Informer<ConfigMap>,
    pub(crate) cluster_roles: Informer<ClusterRole>,
    /// Those that hold a token of a service account.
    pub(crate) account_secrets: Informer<Secret>,
    pub(crate) certificate_requests: Informer<CertificateSigningRequest>,
}

/// The index value under which objects of `namespace` without a controller are found.
pub(crate) fn orphans_of(namespace: &str) -> String {
    format!("orphan/{namespace}")
}

fn controller_value(meta: &ObjectMeta) -> Vec<String> {
    vec![match owners::controller_of(meta) {
        Some(owner) => owner.uid.clone(),
        None => orphans_of(meta.namespace.as_deref().unwrap_or_default()),
    }]
}

/// The index value of a service's slices.
pub(crate) fn service_value(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Keeps of a pod what controllers read. Pods are the bulk of a cluster's objects, and no
/// controller ever sends one back whole.
fn trim_pod(pod: &mut Pod) {
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|name, _| name == POD_DELETION_COST);
    }
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        spec.affinity = None;
        for container in spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
        {
            container.args = None;
            container.command = None;
            container.env = None;
            container.env_from = None;
            container.volume_mounts = None;
            container.liveness_probe = None;
            container.readiness_probe = None;
            container.startup_probe = None;
        }
    }
}

impl Informers {
    pub(crate) fn start(client: &Client, shutdown: &CancellationToken) -> Self {
        let stop = || shutdown.clone();
        Self {
            pods: Informer::builder(Api::<Pod>::all(client.clone()))
                .trim(trim_pod)
                .index(BY_CONTROLLER, |pod| controller_value(&pod.metadata))
                .index(BY_NODE, |pod| {
                    pod.spec
                        .iter()
                        .filter_map(|spec| spec.node_name.clone())
                        .collect()
                })
                .start(stop()),
            replica_sets: Informer::builder(Api::<ReplicaSet>::all(client.clone()))
                .index(BY_CONTROLLER, |rs| controller_value(&rs.metadata))
                .start(stop()),
            endpoint_slices: Informer::builder(Api::<EndpointSlice>::all(client.clone()))
                .index(BY_SERVICE, |slice| {
                    let service = slice
                        .metadata
                        .labels
                        .as_ref()
                        .and_then(|l| l.get(labels::SERVICE_NAME));
                    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
                    service
                        .map(|service| service_value(namespace, service))
                        .into_iter()
                        .collect()
                })
                .start(stop()),
            nodes: Informer::start(client.clone(), Selection::all(), stop()),
            leases: Informer::builder(Api::<Lease>::all(client.clone())).start(stop()),
            namespaces: Informer::start(client.clone(), Selection::all(), stop()),
            services: Informer::start(client.clone(), Selection::all(), stop()),
            deployments: Informer::start(client.clone(), Selection::all(), stop()),
            service_accounts: Informer::start(client.clone(), Selection::all(), stop()),
            cluster_roles: Informer::start(client.clone(), Selection::all(), stop()),
            account_secrets: Informer::start(
                client.clone(),
                Selection::fields("type=kubernetes.io/service-account-token"),
                stop(),
            ),
            certificate_requests: Informer::start(client.clone(), Selection::all(), stop()),
            root_ca: Informer::start(
                client.clone(),
                Selection::fields(format!("metadata.name={ROOT_CA_CONFIG_MAP}")),
                stop(),
            ),
        }
    }

    /// Waits for every first list; `false` if a shutdown came first.
    pub(crate) async fn synced(&self) -> bool {
        self.pods.synced().await
            && self.nodes.synced().await
            && self.leases.synced().await
            && self.namespaces.synced().await
            && self.services.synced().await
            && self.endpoint_slices.synced().await
            && self.replica_sets.synced().await
            && self.deployments.synced().await
            && self.service_accounts.synced().await
            && self.root_ca.synced().await
            && self.cluster_roles.synced().await
            && self.account_secrets.synced().await
            && self.certificate_requests.synced().await
    }
}
