//! Roles around nodes. What a node may is decided by the node authorizer; `system:node` is what Kubernetes keeps for
//! clusters without it, and is bound to nobody.

use super::Grants::On;
use super::{READ, RoleRow, role};

pub(super) const ROLES: &[RoleRow] = &[
    role(
        "system:node",
        &[
            On("create", "authentication.k8s.io", "tokenreviews"),
            On(
                "create",
                "authorization.k8s.io",
                "localsubjectaccessreviews,subjectaccessreviews",
            ),
            On(READ, "", "services"),
            On("create,get,list,watch", "", "nodes"),
            On("patch,update", "", "nodes/status"),
            On("delete,patch,update", "", "nodes"),
            On("create,patch,update", "", "events"),
            On("create,patch,update", "events.k8s.io", "events"),
            On("create,delete,get,list,watch", "", "pods"),
            On("patch,update", "", "pods/status"),
            On("create", "", "pods/eviction"),
            On(READ, "", "configmaps,secrets"),
            On("get", "", "persistentvolumeclaims,persistentvolumes"),
            On("get", "", "endpoints"),
            On(
                "create,get,list,watch",
                "certificates.k8s.io",
                "certificatesigningrequests",
            ),
            On(
                "create,delete,get,patch,update",
                "coordination.k8s.io",
                "leases",
            ),
            On("get", "storage.k8s.io", "volumeattachments"),
            On("create", "", "serviceaccounts/token"),
            On("get,patch,update", "", "persistentvolumeclaims/status"),
            On(READ, "storage.k8s.io", "csidrivers"),
            On(
                "create,delete,get,patch,update",
                "storage.k8s.io",
                "csinodes",
            ),
            On(READ, "node.k8s.io", "runtimeclasses"),
            On("get", "resource.k8s.io", "resourceclaims"),
            On("deletecollection", "resource.k8s.io", "resourceslices"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[On(
            "create,get,list,watch",
            "certificates.k8s.io",
            "certificatesigningrequests",
        )],
    ),
    role(
        "system:node-problem-detector",
        &[
            On("get", "", "nodes"),
            On("patch", "", "nodes/status"),
            On("create,patch,update", "", "events"),
            On("create,patch,update", "events.k8s.io", "events"),
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            On(READ, "", "nodes"),
            On("proxy", "", "nodes"),
            On("*", "", "nodes/log,nodes/metrics,nodes/proxy,nodes/stats"),
        ],
    ),
];
