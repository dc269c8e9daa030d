//! Who has which role from the first moment: name, ClusterRole, subjects.

/// A binding, its role, and its subjects: kind and name.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// `NAMESPACE/NAME` is a service account.
pub(super) const BINDINGS: &[Row] = &[
    (
        "cluster-admin",
        "cluster-admin",
        &[("Group", "system:masters")],
    ),
    (
        "system:discovery",
        "system:discovery",
        &[("Group", "system:authenticated")],
    ),
    (
        "system:basic-user",
        "system:basic-user",
        &[("Group", "system:authenticated")],
    ),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[
            ("Group", "system:authenticated"),
            ("Group", "system:unauthenticated"),
        ],
    ),
    (
        "system:monitoring",
        "system:monitoring",
        &[("Group", "system:monitoring")],
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[("Group", "system:serviceaccounts")],
    ),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        &[("User", "system:kube-controller-manager")],
    ),
    (
        "system:kube-scheduler",
        "system:kube-scheduler",
        &[("User", "system:kube-scheduler")],
    ),
    (
        "system:volume-scheduler",
        "system:volume-scheduler",
        &[("User", "system:kube-scheduler")],
    ),
    (
        "system:node-proxier",
        "system:node-proxier",
        &[("User", "system:kube-proxy")],
    ),
    (
        "system:kube-dns",
        "system:kube-dns",
        &[("ServiceAccount", "kube-system/kube-dns")],
    ),
    // The node authorizer says what nodes may.
    ("system:node", "system:node", &[]),
    // An agent is also what Kubernetes' kube-proxy is, and pulls images from the registry on the API's port.
    (
        "euston:node-proxier",
        "system:node-proxier",
        &[("Group", "system:nodes")],
    ),
    (
        "euston:image-puller",
        "euston:image-puller",
        &[("Group", "system:nodes")],
    ),
    // What kubeadm sets up with every cluster: a bootstrap token gets a node its first certificate, and a node the next.
    (
        "euston:node-bootstrapper",
        "system:node-bootstrapper",
        &[("Group", "system:bootstrappers")],
    ),
    (
        "euston:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[("Group", "system:bootstrappers")],
    ),
    (
        "euston:node-autoapprove-certificate-rotation",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[("Group", "system:nodes")],
    ),
];
