//! Well-known labels, annotations, taints, finalizers and names.

/// Label on every namespace that carries its name, so that selectors can name it.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Label on every node: its host name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label on every node: its processor architecture.
pub const ARCH: &str = "kubernetes.io/arch";
/// Label on every node: its operating system.
pub const OS: &str = "kubernetes.io/os";
/// Label of a node's failure domain.
pub const TOPOLOGY_ZONE: &str = "topology.kubernetes.io/zone";
/// Label of a node's region.
pub const TOPOLOGY_REGION: &str = "topology.kubernetes.io/region";
/// Prefix of the labels that name a node's roles; the role follows the slash.
pub const NODE_ROLE_PREFIX: &str = "node-role.kubernetes.io/";
/// Older label whose value is a node's role.
pub const NODE_ROLE: &str = "kubernetes.io/role";
/// Label on EndpointSlices: the Service they belong to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label on EndpointSlices: who writes them.
pub const ENDPOINT_SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label that a Deployment gives its ReplicaSets and pods.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Annotation with a Deployment's revision number.
pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation on a pod: which container kubectl means unless told.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Annotation in which `kubectl apply` keeps what it sent.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Taint of a node whose Ready condition is False.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint of a node that is no longer heard of.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a cordoned node.
pub const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taint of a node that is short of memory.
pub const TAINT_MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
/// Taint of a node that is short of disk space.
pub const TAINT_DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
/// Taint of a node that is short of process ids.
pub const TAINT_PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
/// Taint of a node without a network.
pub const TAINT_NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";

/// Finalizer: dependants are to be kept when the object goes.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// Finalizer: the object goes after its dependants.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// Finalizer in a namespace's spec: its contents go first.
pub const FINALIZER_KUBERNETES: &str = "kubernetes";

/// The namespace of objects that name none.
pub const NAMESPACE_DEFAULT: &str = "default";
/// The namespace of the cluster's own objects.
pub const NAMESPACE_SYSTEM: &str = "kube-system";
/// The namespace that everyone may read.
pub const NAMESPACE_PUBLIC: &str = "kube-public";
/// The namespace of the nodes' Leases.
pub const NAMESPACE_NODE_LEASE: &str = "kube-node-lease";

/// The scheduler of pods that name none.
pub const SCHEDULER_DEFAULT: &str = "default-scheduler";
/// The ServiceAccount of pods that name none.
pub const SERVICE_ACCOUNT_DEFAULT: &str = "default";
