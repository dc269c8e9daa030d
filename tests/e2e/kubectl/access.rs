//! Who may do what, as users of kubectl ask and say it.

use super::steps::Step;

/// With their namespace: kubectl does not fill it in here.
const RECONCILED: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: reconciled, namespace: default }
rules: [{ verbs: [get], apiGroups: [""], resources: [services] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: reconciled, namespace: default }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: reconciled }
subjects: [{ kind: User, name: tom, apiGroup: rbac.authorization.k8s.io }]
"#;

/// For `CN=ann,O=devs`.
const REQUESTS: &str = r#"
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: { name: ann }
spec:
  request: REQUEST
  signerName: kubernetes.io/kube-apiserver-client
  usages: [client auth]
  expirationSeconds: 7200
---
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: { name: ann-again }
spec:
  request: REQUEST
  signerName: kubernetes.io/kube-apiserver-client
  usages: [client auth]
"#;

/// What is fed to the steps that read [`REQUESTS`].
pub fn requests() -> String {
    let request = include_str!("../../integration/access/ann.csr.base64").trim();
    REQUESTS.replace("REQUEST", request)
}

pub const STEPS: &[Step] = &[
    ("auth whoami", "", true, "kubernetes-admin"),
    ("auth whoami -o yaml", "", true, "system:masters"),
    ("auth can-i --list", "", true, "*.*"),
    ("auth can-i delete nodes", "", true, "yes"),
    ("auth can-i get /metrics", "", true, "yes"),
    ("create serviceaccount robot", "", true, "created"),
    (
        "create role reader --verb=get,list --resource=pods,deployments.apps",
        "",
        true,
        "created",
    ),
    (
        "create rolebinding reader --role=reader --user=jane",
        "",
        true,
        "created",
    ),
    (
        "create rolebinding viewer --clusterrole=view --serviceaccount=default:robot",
        "",
        true,
        "created",
    ),
    ("auth can-i get pods --as jane", "", true, "yes"),
    (
        "auth can-i list deployments.apps --as jane",
        "",
        true,
        "yes",
    ),
    ("auth can-i delete pods --as jane", "", false, "no"),
    ("auth can-i get pods -A --as jane", "", false, "no"),
    (
        "auth can-i get pods --subresource=log --as jane",
        "",
        false,
        "no",
    ),
    (
        "auth can-i get secrets --as system:serviceaccount:default:robot",
        "",
        false,
        "no",
    ),
    (
        "auth can-i get configmaps --as system:serviceaccount:default:robot",
        "",
        true,
        "yes",
    ),
    ("auth can-i --list --as jane", "", true, "deployments.apps"),
    (
        "auth whoami --as jane --as-group devs --as-uid 7",
        "",
        true,
        "devs",
    ),
    ("get pods --as jane", "", true, "No resources found"),
    (
        "get secrets --as jane",
        "",
        false,
        "User \"jane\" cannot list resource \"secrets\" in API group \"\" in the namespace",
    ),
    ("get nodes --as jane", "", false, "at the cluster scope"),
    (
        "get --raw /metrics --as jane",
        "",
        false,
        "cannot get path \"/metrics\"",
    ),
    (
        "create rolebinding more --clusterrole=cluster-admin --user=jane --as jane",
        "",
        false,
        "cannot create resource \"rolebindings\"",
    ),
    ("create token robot", "", true, "eyJ"),
    (
        "create token robot --duration=10m --audience=vault",
        "",
        true,
        "eyJ",
    ),
    (
        "create token robot --duration=1m",
        "",
        false,
        "less than 10 minutes",
    ),
    (
        "create token nobody",
        "",
        false,
        "serviceaccounts \"nobody\" not found",
    ),
    (
        "create token robot --bound-object-kind=Pod --bound-object-name=none",
        "",
        false,
        "pods \"none\" not found",
    ),
    (
        "auth reconcile -f - -n default",
        RECONCILED,
        true,
        "reconciled",
    ),
    (
        "auth reconcile -f - -n default",
        RECONCILED,
        true,
        "reconciled",
    ),
    (
        "auth can-i get services --as tom -n default",
        "",
        true,
        "yes",
    ),
    ("get roles", "", true, "CREATED AT"),
    ("get rolebindings -o wide", "", true, "default/robot"),
    ("describe rolebinding reader", "", true, "jane"),
    ("describe clusterrole view", "", true, "configmaps"),
    (
        "get clusterrole cluster-admin admin edit view system:discovery",
        "",
        true,
        "system:discovery",
    ),
    (
        "patch rolebinding reader -p {\"roleRef\":{\"name\":\"other\"}}",
        "",
        false,
        "cannot change roleRef",
    ),
    ("get csr ann", "", true, "Pending"),
    ("certificate approve ann", "", true, "approved"),
    (
        "wait csr/ann --for=jsonpath={.status.certificate} --timeout=30s",
        "",
        true,
        "condition met",
    ),
    ("get csr ann", "", true, "Approved,Issued"),
    ("certificate deny ann-again", "", true, "denied"),
    ("get csr ann-again", "", true, "Denied"),
    ("certificate approve ann --as jane", "", false, "cannot"),
    ("delete csr ann ann-again", "", true, "deleted"),
];
