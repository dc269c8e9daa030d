//! exec, attach, cp, port-forward and proxy, as users of kubectl know them.

use std::process::Stdio;

use super::{Kubectl, Watching, at_hand};
use crate::cluster::Cluster;
use crate::web;

/// `tool` reads its standard input and repeats it; `web` is an HTTP component.
const PODS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: conf }
data: { flour: rye }
---
apiVersion: v1
kind: Pod
metadata: { name: tool }
spec:
  containers:
    - name: main
      image: toolbox:v1
      stdin: true
      env: [{ name: WHO, value: kate }]
      volumeMounts: [{ name: data, mountPath: /data }, { name: conf, mountPath: /conf }]
  volumes: [{ name: data, emptyDir: {} }, { name: conf, configMap: { name: conf } }]
---
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec:
  containers:
    - { name: main, image: "hello:v1", env: [{ name: NAME, value: tom }], ports: [{ containerPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080, name: http }] }
"#;

/// A command, its standard input, whether it succeeds, and what it prints. Nothing here has a blank
/// within a word.
const STEPS: &[super::steps::Step] = &[
    ("apply -f -", PODS, true, "pod/tool created"),
    (
        "wait pod/tool pod/web --for=condition=Ready --timeout=50s",
        "",
        true,
        "pod/web condition met",
    ),
    // A command of its own, in the same environment.
    ("exec tool -- echo flour butter", "", true, "flour butter"),
    ("exec tool -- env WHO", "", true, "kate"),
    ("exec tool -- cat /conf/flour", "", true, "rye"),
    ("exec tool -- warn careful", "", true, "careful"),
    ("exec -i tool -- cat", "sugar", true, "sugar"),
    ("exec -i tool -- put /data/a", "eggs", true, ""),
    ("exec tool -- cat /data/a", "", true, "eggs"),
    (
        "exec tool -- exit 7",
        "",
        false,
        "command terminated with exit code 7",
    ),
    ("exec tool -c none -- echo", "", false, "container none"),
    ("exec nobody -- echo", "", false, "NotFound"),
    (
        "exec web -- echo",
        "",
        false,
        "cannot be run as a command: it is an HTTP server",
    ),
    // Joins what runs.
    (
        "run talk -i --rm --restart=Never --image=toolbox:v1",
        "hello\nbye\n",
        true,
        "you said \"bye\"",
    ),
    // Through the API server.
    (
        "get --raw /api/v1/namespaces/NS/pods/web/proxy/?x=1",
        "",
        true,
        "tom",
    ),
    (
        "get --raw /api/v1/namespaces/NS/services/http:web:http/proxy/status/200",
        "",
        true,
        "",
    ),
    (
        "get --raw /api/v1/namespaces/NS/services/web:80/proxy/env",
        "",
        true,
        "NAME=tom",
    ),
    (
        "get --raw /api/v1/namespaces/NS/services/web:81/proxy/",
        "",
        false,
        "no service port 81 found for service",
    ),
    (
        "get --raw /api/v1/namespaces/NS/pods/web:81/proxy/",
        "",
        false,
        "no container of a pod listens there",
    ),
    (
        "get --raw /api/v1/nodes/node-1/proxy/healthz",
        "",
        true,
        "ok",
    ),
];

/// With these kubectl speaks SPDY at once, as clients did before version 1.31 and as it does itself
/// where a proxy does not let WebSockets through.
const SPDY: &[(&str, &str)] = &[
    ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"),
    ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false"),
];

#[test]
fn streams_reach_into_pods_over_websockets() {
    reach(&[]);
}

#[test]
fn streams_reach_into_pods_over_spdy() {
    reach(SPDY);
}

fn reach(envs: &'static [(&'static str, &'static str)]) {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["toolbox", "hello"]);
    for (i, mut kubectl) in at_hand().into_iter().enumerate() {
        kubectl.envs = envs;
        let kubectl = &kubectl;
        let namespace = format!("v{i}");
        let create = format!("create namespace {namespace}");
        kubectl.expect(&cluster, "default", &create, "", (true, "created"));
        for (line, input, succeeds, prints) in STEPS {
            let line = line.replace("NS", &namespace);
            kubectl.expect(&cluster, &namespace, &line, input, (*succeeds, prints));
        }
        much(kubectl, &cluster, &namespace);
        copies(kubectl, &cluster, &namespace);
        for target in ["pod/web", "service/web"] {
            forwards(kubectl, &cluster, &namespace, target);
        }
        let delete = format!("delete namespace {namespace} --timeout=50s");
        kubectl.expect(&cluster, "default", &delete, "", (true, "deleted"));
    }
}

/// Megabytes both ways, without a loss.
fn much(kubectl: &Kubectl, cluster: &Cluster, namespace: &str) {
    let version = &kubectl.version;
    let input = "0123456789abcdef".repeat(200_000);
    let (success, text) = kubectl.run(cluster, namespace, "exec -i tool -- put /data/much", &input);
    assert!(success, "{version}: {text}");
    let (success, text) = kubectl.run(cluster, namespace, "exec tool -- cat /data/much", "");
    assert!(success, "{version}");
    assert!(
        text == input,
        "{version}: {} of {}",
        text.len(),
        input.len()
    );
}

fn copies(kubectl: &Kubectl, cluster: &Cluster, namespace: &str) {
    let here = tempfile::tempdir().unwrap();
    let (from, to) = (here.path().join("from"), here.path().join("to"));
    std::fs::create_dir_all(from.join("sub")).unwrap();
    std::fs::write(from.join("sub/a"), "flour").unwrap();
    std::fs::write(from.join("b"), vec![7; 300_000]).unwrap();
    let (from, to) = (from.display(), to.display());
    for (line, succeeds, prints) in [
        (format!("cp {from} tool:/data/in"), true, ""),
        ("exec tool -- cat /data/in/sub/a".into(), true, "flour"),
        (format!("cp tool:/data/in {to}"), true, ""),
        (format!("cp {from}/b tool:/conf/b"), false, "read-only"),
        (format!("cp tool:/etc {to}"), false, "only volumes"),
    ] {
        kubectl.expect(cluster, namespace, &line, "", (succeeds, prints));
    }
    let copied = |name: &str| std::fs::read(here.path().join("to").join(name)).unwrap();
    assert_eq!(copied("sub/a"), b"flour");
    assert_eq!(copied("b"), vec![7; 300_000]);
}

fn forwards(kubectl: &Kubectl, cluster: &Cluster, namespace: &str, target: &str) {
    let port = if target.starts_with("pod") { 8080 } else { 80 };
    let line = format!("port-forward {target} :{port} :81 --address 127.0.0.1");
    let line = match target.starts_with("pod") {
        true => line,
        // A Service has no such port to name.
        false => line.replace(" :81", ""),
    };
    let mut command = kubectl.command(cluster, namespace, &line);
    command.stderr(Stdio::null());
    let forwarding = Watching::start(command);
    let local = |line: String| {
        let (_, rest) = line.split_once("127.0.0.1:").unwrap();
        rest.split(' ').next().unwrap().to_owned()
    };
    let first = local(forwarding.next(&line));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let get = |port: &str, path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        runtime.block_on(async { web::get(&web::client(), &url).await })
    };
    let version = &kubectl.version;
    for path in ["/", "/env", "/bytes?n=3000000"] {
        let answer = get(&first, path).unwrap_or_else(|error| panic!("{version}: {path}: {error}"));
        match path {
            "/bytes?n=3000000" => assert_eq!(answer.len(), 3_000_000, "{version}"),
            _ => assert!(answer.contains("tom"), "{version}: {answer}"),
        }
    }
    if target.starts_with("pod") {
        let second = local(forwarding.next("the second port"));
        assert!(
            get(&second, "/").is_err(),
            "{version}: nothing listens on 81"
        );
    }
    forwarding.interrupt();
}
