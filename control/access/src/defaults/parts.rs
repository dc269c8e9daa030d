//! Roles for the parts of a cluster.

use super::Grants::{Named, On};
use super::{READ, RoleRow, role};

const EVENTS: &str = "create,patch,update";

pub(super) const ROLES: &[RoleRow] = &[
    role(
        "system:kube-controller-manager",
        &[
            On(EVENTS, "", "events"),
            On(EVENTS, "events.k8s.io", "events"),
            On("create", "coordination.k8s.io", "leases"),
            Named(
                "get,update",
                "coordination.k8s.io",
                "leases",
                "kube-controller-manager",
            ),
            On("create", "", "secrets,serviceaccounts"),
            On("delete", "", "secrets"),
            On("get", "", "configmaps,namespaces,secrets,serviceaccounts"),
            On("update", "", "secrets,serviceaccounts"),
            On("create", "authentication.k8s.io", "tokenreviews"),
            On("create", "authorization.k8s.io", "subjectaccessreviews"),
            On("list,watch", "*", "*"),
            On("create", "", "serviceaccounts/token"),
        ],
    ),
    role(
        "system:kube-scheduler",
        &[
            On(EVENTS, "", "events"),
            On(EVENTS, "events.k8s.io", "events"),
            On("create", "coordination.k8s.io", "leases"),
            Named(
                "get,list,update,watch",
                "coordination.k8s.io",
                "leases",
                "kube-scheduler",
            ),
            On(READ, "", "nodes"),
            On("delete,get,list,watch", "", "pods"),
            On("create", "", "bindings,pods/binding"),
            On("patch,update", "", "pods/status"),
            On(READ, "", "replicationcontrollers,services"),
            On(READ, "apps", "replicasets,statefulsets"),
            On(READ, "policy", "poddisruptionbudgets"),
            On(READ, "", "persistentvolumeclaims,persistentvolumes"),
            On("create", "authentication.k8s.io", "tokenreviews"),
            On("create", "authorization.k8s.io", "subjectaccessreviews"),
            On(
                READ,
                "storage.k8s.io",
                "csidrivers,csinodes,csistoragecapacities,volumeattachments",
            ),
            On(
                READ,
                "resource.k8s.io",
                "deviceclasses,resourceclaims,resourceslices",
            ),
            On("patch,update", "resource.k8s.io", "resourceclaims/status"),
            On("list,watch", "", "namespaces"),
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            On("get,list,patch,update,watch", "", "persistentvolumes"),
            On(READ, "storage.k8s.io", "storageclasses"),
            On("get,list,patch,update,watch", "", "persistentvolumeclaims"),
        ],
    ),
    role(
        "system:node-proxier",
        &[
            On("list,watch", "", "endpoints,services"),
            On(READ, "", "nodes"),
            On(EVENTS, "", "events"),
            On(EVENTS, "events.k8s.io", "events"),
            On("list,watch", "discovery.k8s.io", "endpointslices"),
            On("list,watch", "networking.k8s.io", "servicecidrs"),
        ],
    ),
    role(
        "system:kube-dns",
        &[On("list,watch", "", "endpoints,services")],
    ),
    role(
        "system:kube-aggregator",
        &[On(READ, "", "endpoints,services")],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            On("create,delete,get,list,watch", "", "persistentvolumes"),
            On("get,list,update,watch", "", "persistentvolumeclaims"),
            On(READ, "storage.k8s.io", "storageclasses"),
            On("watch", "", "events"),
            On(EVENTS, "", "events"),
            On(EVENTS, "events.k8s.io", "events"),
        ],
    ),
];
