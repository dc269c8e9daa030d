//! Roles for people, and for everybody.

use super::Grants::{Named, On, Paths};
use super::{READ, READ_WRITE, RoleRow, WRITE, role};

const fn part(name: &'static str, of: &'static str, rules: &'static [super::Grants]) -> RoleRow {
    RoleRow {
        part_of: of,
        ..role(name, rules)
    }
}

const RBAC: &str = super::GROUP;

pub(super) const ROLES: &[RoleRow] = &[
    role("cluster-admin", &[On("*", "*", "*"), Paths("*", "*")]),
    role(
        "system:discovery",
        &[Paths(
            "get",
            "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
        )],
    ),
    role(
        "system:basic-user",
        &[
            On(
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews,selfsubjectrulesreviews",
            ),
            On("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role(
        "system:public-info-viewer",
        &[Paths("get", "/healthz,/livez,/readyz,/version,/version/")],
    ),
    role(
        "system:monitoring",
        &[Paths(
            "get",
            "/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*",
        )],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[Paths(
            "get",
            "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
        )],
    ),
    role("euston:image-puller", &[Paths("get,head", "/v2,/v2/*")]),
    role(
        "euston:image-pusher",
        &[Paths("get,head,post,put,patch", "/v2,/v2/*")],
    ),
    part(
        "system:aggregate-to-view",
        "view",
        &[
            On(
                READ,
                "",
                "configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status",
            ),
            On(
                READ,
                "",
                "bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status",
            ),
            On(READ, "", "namespaces"),
            On(READ, "discovery.k8s.io", "endpointslices"),
            On(
                READ,
                "apps",
                "controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
            ),
            On(
                READ,
                "autoscaling",
                "horizontalpodautoscalers,horizontalpodautoscalers/status",
            ),
            On(READ, "batch", "cronjobs,cronjobs/status,jobs,jobs/status"),
            On(
                READ,
                "policy",
                "poddisruptionbudgets,poddisruptionbudgets/status",
            ),
            On(
                READ,
                "networking.k8s.io",
                "ingresses,ingresses/status,networkpolicies",
            ),
            On(
                READ,
                "resource.k8s.io",
                "resourceclaims,resourceclaims/status,resourceclaimtemplates",
            ),
        ],
    ),
    RoleRow {
        made_of: "view",
        ..part("view", "edit", &[])
    },
    part(
        "system:aggregate-to-edit",
        "edit",
        &[
            On(
                READ,
                "",
                "pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy",
            ),
            On("impersonate", "", "serviceaccounts"),
            On(
                WRITE,
                "",
                "pods,pods/attach,pods/exec,pods/portforward,pods/proxy",
            ),
            On("create", "", "pods/eviction"),
            On(
                WRITE,
                "",
                "configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy",
            ),
            On("create", "", "serviceaccounts/token"),
            On(
                WRITE,
                "apps",
                "daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale",
            ),
            On(WRITE, "autoscaling", "horizontalpodautoscalers"),
            On(WRITE, "batch", "cronjobs,jobs"),
            On(WRITE, "policy", "poddisruptionbudgets"),
            On(WRITE, "networking.k8s.io", "ingresses,networkpolicies"),
            On(READ_WRITE, "coordination.k8s.io", "leases"),
            On(
                WRITE,
                "resource.k8s.io",
                "resourceclaims,resourceclaimtemplates",
            ),
        ],
    ),
    RoleRow {
        made_of: "edit",
        ..part("edit", "admin", &[])
    },
    part(
        "system:aggregate-to-admin",
        "admin",
        &[
            On(
                "create",
                "authorization.k8s.io",
                "localsubjectaccessreviews",
            ),
            On(READ_WRITE, RBAC, "rolebindings,roles"),
        ],
    ),
    RoleRow {
        made_of: "admin",
        ..role("admin", &[])
    },
    role(
        "system:auth-delegator",
        &[
            On("create", "authentication.k8s.io", "tokenreviews"),
            On("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[On(
            "create",
            "certificates.k8s.io",
            "certificatesigningrequests/nodeclient",
        )],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[On(
            "create",
            "certificates.k8s.io",
            "certificatesigningrequests/selfnodeclient",
        )],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[Named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client",
        )],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[Named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client-kubelet",
        )],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[Named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kubelet-serving",
        )],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[Named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/legacy-unknown",
        )],
    ),
];
