//! Kinds that are kept, checked, listed and described: what users of kubectl see of them.

use super::steps::Step;

const NETWORK: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: inside }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 80 }] }]
"#;

const LIMITS: &str = r#"
apiVersion: v1
kind: LimitRange
metadata: { name: sizes }
spec:
  limits:
    - { type: Container, default: { cpu: 500m }, max: { cpu: "2" } }
"#;

const TOO_LARGE: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: large }
spec:
  containers: [{ name: main, image: "hello:v1", resources: { limits: { cpu: "3" } } }]
"#;

const STORAGE: &str = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: e2e, annotations: { storageclass.kubernetes.io/is-default-class: "true" } }
provisioner: example.com/disk
---
apiVersion: v1
kind: PersistentVolume
metadata: { name: e2e }
spec:
  capacity: { storage: 1Gi }
  accessModes: [ReadWriteOnce]
  hostPath: { path: /data }
  storageClassName: none
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec:
  accessModes: [ReadWriteOnce]
  resources: { requests: { storage: 1Gi } }
"#;

const WEBHOOK: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: { name: e2e }
webhooks:
  - name: check.example.com
    sideEffects: None
    admissionReviewVersions: [v1]
    failurePolicy: Ignore
    clientConfig: { url: "https://127.0.0.1:1/check" }
    rules: [{ operations: [CREATE], apiGroups: [none.example.com], apiVersions: [v1], resources: [nones] }]
"#;

const QUOTA_EXCEEDED: &str = "exceeded quota: few, requested: count/secrets=1, used: count/secrets=1, limited: count/secrets=1";

pub const STEPS: &[Step] = &[
    (
        "create quota few --hard=count/secrets=1,pods=5",
        "",
        true,
        "created",
    ),
    (
        "create secret generic one --from-literal=a=b",
        "",
        true,
        "created",
    ),
    (
        "create secret generic two --from-literal=a=b",
        "",
        false,
        QUOTA_EXCEEDED,
    ),
    ("get quota few", "", true, "count/secrets: 1/1, pods: 0/5"),
    ("describe quota few", "", true, "count/secrets"),
    ("delete secret one", "", true, "deleted"),
    (
        "create secret generic two --from-literal=a=b",
        "",
        true,
        "created",
    ),
    ("delete quota few", "", true, "deleted"),
    ("delete secret two", "", true, "deleted"),
    ("apply -f -", LIMITS, true, "created"),
    ("get limits sizes", "", true, "CREATED AT"),
    ("describe limits sizes", "", true, "Container"),
    (
        "apply -f -",
        TOO_LARGE,
        false,
        "maximum cpu usage per Container is 2, but limit is 3",
    ),
    ("delete limits sizes", "", true, "deleted"),
    (
        "create priorityclass e2e-high --value=1000",
        "",
        true,
        "created",
    ),
    ("get pc e2e-high", "", true, "1000"),
    ("describe pc e2e-high", "", true, "PreemptLowerPriority"),
    ("delete pc e2e-high", "", true, "deleted"),
    (
        "create priorityclass system-mine --value=1",
        "",
        false,
        "reserved for system use only",
    ),
    (
        "delete pc system-node-critical",
        "",
        false,
        "cannot be deleted",
    ),
    (
        "create ingress web --rule=example.com/*=web:80",
        "",
        true,
        "created",
    ),
    ("get ing web", "", true, "example.com"),
    ("describe ing web", "", true, "web:80"),
    ("delete ing web", "", true, "deleted"),
    ("apply -f -", NETWORK, true, "created"),
    ("get netpol inside", "", true, "app=web"),
    ("describe netpol inside", "", true, "To Port: 80/TCP"),
    ("delete netpol inside", "", true, "deleted"),
    (
        "apply -f -",
        STORAGE,
        true,
        "persistentvolumeclaim/data created",
    ),
    ("get sc", "", true, "e2e (default)"),
    ("describe sc e2e", "", true, "example.com/disk"),
    ("get pv e2e", "", true, "Retain"),
    ("describe pv e2e", "", true, "HostPath"),
    ("get pvc data", "", true, "e2e"),
    ("describe pvc data", "", true, "Filesystem"),
    ("delete -f -", STORAGE, true, "deleted"),
    ("apply -f -", WEBHOOK, true, "created"),
    ("get validatingwebhookconfigurations e2e", "", true, "1"),
    (
        "delete validatingwebhookconfigurations e2e",
        "",
        true,
        "deleted",
    ),
    ("get apiservices v1.apps", "", true, "Local"),
    ("get servicecidrs", "", true, "10.96.0.0/16"),
    ("get flowschemas catch-all", "", true, "ByUser"),
    ("explain resourcequota.spec.hard", "", true, "hard"),
];
