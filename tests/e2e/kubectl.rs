//! Stock kubectl, the versions that are at hand: 1.32 from the PATH, 1.37 where
//! `tests/fetch-kubectl.sh` put it. Both run the same table of commands.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cluster::Cluster;

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
type Step = (&'static str, &'static str, bool, &'static str);

const STEPS: &[Step] = &[
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
    ("label deployment web team=cookies", "", true, "labeled"),
    ("annotate deployment web note=fresh", "", true, "annotated"),
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

fn versions() -> Vec<(String, PathBuf)> {
    let fetched =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/kubectl-1.37/kubectl");
    [PathBuf::from("kubectl"), fetched]
        .into_iter()
        .filter_map(|path| {
            let out = Command::new(&path)
                .args(["version", "--client"])
                .output()
                .ok()?;
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            Some((text.lines().next()?.to_owned(), path))
        })
        .collect()
}

fn run(
    kubectl: &PathBuf,
    cluster: &Cluster,
    namespace: &str,
    line: &str,
    input: &str,
) -> (bool, String) {
    let mut child = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["-n", namespace, "--cache-dir"])
        .arg(cluster.dir.join(format!("cache-{namespace}")))
        .args(line.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    (out.status.success(), text)
}

#[test]
fn stock_kubectl_does_what_its_users_expect() {
    let versions = versions();
    if versions.is_empty() {
        eprintln!("no kubectl at hand (tests/fetch-kubectl.sh fetches one): nothing to run");
        return;
    }
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello", "counter"]);
    for (i, (version, kubectl)) in versions.iter().enumerate() {
        let namespace = format!("v{i}");
        let object = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
        let (made, text) = run(kubectl, &cluster, "default", "apply -f -", &object);
        assert!(made, "{version}: {text}");
        for (line, input, succeeds, prints) in STEPS {
            let (success, text) = run(kubectl, &cluster, &namespace, line, input);
            assert_eq!(success, *succeeds, "{version}: kubectl {line}\n{text}");
            assert!(
                text.contains(prints),
                "{version}: kubectl {line}: {prints:?} is not in\n{text}"
            );
        }
        let (gone, text) = run(
            kubectl,
            &cluster,
            "default",
            &format!("delete namespace {namespace} --timeout=50s"),
            "",
        );
        assert!(gone, "{version}: {text}");
    }
}
