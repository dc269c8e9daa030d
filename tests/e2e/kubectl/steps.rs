//! What users of kubectl do, and what they see.

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, labels: { app: web } }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - { name: web, image: "hello:v1", ports: [{ containerPort: 80 }], env: [{ name: NAME, value: one }] }
"#;

/// Empty lists and maps are absent ones, empty objects are not.
const EMPTIES: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: empties, labels: {}, annotations: {} }
spec:
  replicas: 0
  selector: { matchLabels: { app: empties }, matchExpressions: [] }
  template:
    metadata: { labels: { app: empties }, annotations: {} }
    spec:
      nodeSelector: {}
      tolerations: []
      imagePullSecrets: []
      securityContext: {}
      initContainers: []
      volumes: [{ name: scratch, emptyDir: {} }]
      containers:
        - name: main
          image: hello:v1
          args: []
          env: []
          ports: []
          resources: { limits: {}, requests: {} }
          volumeMounts: [{ name: scratch, mountPath: /scratch }]
"#;

const TALKER: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: talker, labels: { app: talker } }
spec:
  restartPolicy: Never
  containers:
    - { name: a, image: "counter:v1", args: ["3"] }
    - { name: b, image: "counter:v1", args: ["5"] }
"#;

/// A command, its standard input, whether it succeeds, and what it prints.
pub type Step = (&'static str, &'static str, bool, &'static str);

pub const STEPS: &[Step] = &[
    ("version", "", true, "Server Version: v1.37"),
    ("cluster-info", "", true, "is running at"),
    ("api-resources", "", true, "deployments"),
    ("config view", "", true, "current-context"),
    ("apply -f -", WEB, true, "deployment.apps/web created"),
    (
        "rollout status deployment/web --timeout=50s",
        "",
        true,
        "successfully rolled out",
    ),
    ("apply -f -", WEB, true, "unchanged"),
    ("get deployment web", "", true, "2/2"),
    ("get pods -o wide", "", true, "node-1"),
    (
        "get pods -l app=web -o jsonpath={.items[0].status.phase}",
        "",
        true,
        "Running",
    ),
    ("get pods -l app=none", "", true, "No resources found"),
    (
        "get pods --field-selector=status.phase=Failed",
        "",
        true,
        "No resources found",
    ),
    ("get pods -A", "", true, "web-"),
    ("get deployment web -o yaml", "", true, "observedGeneration"),
    (
        "get deployment web -o json",
        "",
        true,
        "\"kind\": \"Deployment\"",
    ),
    ("get all", "", true, "replicaset.apps/web-"),
    ("get nodes", "", true, "Ready"),
    (
        "describe deployment web",
        "",
        true,
        "NewReplicaSetAvailable",
    ),
    ("describe node node-1", "", true, "wasmtime://"),
    ("describe pod -l app=web", "", true, "hello:v1"),
    ("scale deployment/web --replicas=3", "", true, "scaled"),
    (
        "wait --for=jsonpath={.status.availableReplicas}=3 deployment/web --timeout=50s",
        "",
        true,
        "condition met",
    ),
    ("set env deployment/web NAME=two", "", true, "env updated"),
    (
        "rollout status deployment/web --timeout=50s",
        "",
        true,
        "successfully rolled out",
    ),
    ("rollout history deployment/web", "", true, "2"),
    ("rollout undo deployment/web", "", true, "rolled back"),
    (
        "rollout status deployment/web --timeout=50s",
        "",
        true,
        "successfully rolled out",
    ),
    (
        "get deployment web -o jsonpath={.spec.template.spec.containers[0].env[0].value}",
        "",
        true,
        "one",
    ),
    ("rollout pause deployment/web", "", true, "paused"),
    ("rollout resume deployment/web", "", true, "resumed"),
    ("rollout restart deployment/web", "", true, "restarted"),
    (
        "rollout status deployment/web --timeout=50s",
        "",
        true,
        "successfully rolled out",
    ),
    (
        "set image deployment/web web=hello:v9",
        "",
        true,
        "image updated",
    ),
    ("rollout undo deployment/web", "", true, "rolled back"),
    (
        "rollout status deployment/web --timeout=50s",
        "",
        true,
        "successfully rolled out",
    ),
    ("apply -f -", EMPTIES, true, "created"),
    ("diff -f -", EMPTIES, true, ""),
    ("apply -f -", EMPTIES, true, "deployment.apps/empties"),
    (
        "get deployment empties -o jsonpath={.spec.template.spec.volumes[0].emptyDir},{.spec.template.spec.nodeSelector}.",
        "",
        true,
        "{},.",
    ),
    ("delete deployment empties", "", true, "deleted"),
    ("label deployment web team=cookies", "", true, "labeled"),
    ("annotate deployment web note=fresh", "", true, "annotated"),
    ("edit deployment web", "", true, "edited"),
    (
        "get deployment web -o jsonpath={.metadata.annotations.note}",
        "",
        true,
        "stale",
    ),
    ("edit deployment web", "", true, "no changes made"),
    (
        "patch deployment web -p {\"spec\":{\"replicas\":1}}",
        "",
        true,
        "patched",
    ),
    (
        "patch deployment web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":2}]",
        "",
        true,
        "patched",
    ),
    (
        "patch deployment web --type=merge -p {\"spec\":{\"replicas\":-2}}",
        "",
        false,
        "must be greater than or equal to 0",
    ),
    (
        "expose deployment web --port=80",
        "",
        true,
        "service/web exposed",
    ),
    ("get service web", "", true, "ClusterIP"),
    (
        "explain deployment.spec.replicas",
        "",
        true,
        "Number of desired pods",
    ),
    (
        "explain pod.spec.containers --recursive",
        "",
        true,
        "imagePullPolicy",
    ),
    ("events", "", true, "ScalingReplicaSet"),
    (
        "run single --image=hello:v1 --restart=Never",
        "",
        true,
        "pod/single created",
    ),
    (
        "wait --for=condition=Ready pod/single --timeout=50s",
        "",
        true,
        "condition met",
    ),
    ("create -f -", TALKER, true, "pod/talker created"),
    ("create -f -", TALKER, false, "already exists"),
    (
        "wait --for=jsonpath={.status.phase}=Succeeded pod/talker --timeout=50s",
        "",
        true,
        "condition met",
    ),
    ("logs talker -c b --tail=2", "", true, "5"),
    ("logs talker -c b -f --since=1h", "", true, "4"),
    ("logs -l app=talker -c a", "", true, "3"),
    ("logs talker -c none", "", false, "none"),
    ("get pod talker", "", true, "Completed"),
    ("diff -f -", TALKER, true, ""),
    ("delete pod talker", "", true, "deleted"),
    ("get pod talker", "", false, "NotFound"),
    ("delete pod talker", "", false, "not found"),
    (
        "delete deployment web --cascade=foreground --timeout=50s",
        "",
        true,
        "deleted",
    ),
    ("get pods -l app=web", "", true, "No resources found"),
    ("apply -f -", WEB, true, "created"),
    (
        "rollout status deployment/web --timeout=50s",
        "",
        true,
        "successfully rolled out",
    ),
    (
        "delete deployment web --cascade=orphan --timeout=50s",
        "",
        true,
        "deleted",
    ),
    ("get replicasets -l app=web", "", true, "web-"),
    (
        "delete replicasets -l app=web --timeout=50s",
        "",
        true,
        "deleted",
    ),
    (
        "wait --for=delete pod -l app=web --timeout=50s",
        "",
        true,
        "",
    ),
    (
        "apply -f -",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {selectr: {}}\n",
        false,
        "unknown field \"spec.selectr\"",
    ),
    (
        "apply -f -",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: []}\n",
        false,
        "metadata.name",
    ),
    ("apply -f -", "kind: [", false, "error"),
];
