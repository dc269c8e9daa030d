//! `euston dev` as its users see it: the real binary, from start through kill -9 to a clean stop.

// clippy.toml exempts test functions; these are their helpers.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Much longer than anything here takes, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// The smallest component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn euston(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_euston"));
    command
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

struct Dev {
    process: Child,
    summary: Value,
}

impl Dev {
    async fn start(home: &Path, more: &[&str]) -> Self {
        let (api, agent) = (free_port().to_string(), free_port().to_string());
        let mut process = euston(home)
            .args([
                "dev",
                "-o",
                "json",
                "--api-port",
                &api,
                "--agent-port",
                &agent,
            ])
            .args(more)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        timeout(PATIENCE, out.read_line(&mut line))
            .await
            .expect("dev says that it is ready")
            .unwrap();
        if line.is_empty() {
            let mut errors = String::new();
            let mut stderr = process.stderr.take().unwrap();
            timeout(PATIENCE, stderr.read_to_string(&mut errors))
                .await
                .unwrap()
                .unwrap();
            panic!("dev ended early: {errors}");
        }
        Self {
            process,
            summary: serde_json::from_str(&line).unwrap(),
        }
    }

    async fn client(&self) -> Client {
        let file = self.summary["kubeconfig"].as_str().unwrap();
        let kubeconfig = Kubeconfig::read_from(file).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    async fn interrupt(mut self) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let status = timeout(PATIENCE, self.process.wait())
            .await
            .expect("dev stops")
            .unwrap();
        assert!(status.success(), "{status}");
    }
}

async fn succeeds(command: &mut Command) -> String {
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("the command ends")
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

async fn fails(command: &mut Command) -> String {
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("the command ends")
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

async fn until(pods: &Api<Pod>, name: &str, holds: impl Fn(&Pod) -> bool) {
    let seen = await_condition(pods.clone(), name, |pod: Option<&Pod>| {
        pod.is_some_and(&holds)
    });
    if timeout(PATIENCE, seen).await.is_err() {
        panic!("{name} never got there: {:?}", pods.get(name).await);
    }
}

#[tokio::test]
async fn a_cluster_comes_back_after_a_kill_and_ends_cleanly() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let data = home.join("cluster").display().to_string();
    let manifest = home.join("manifest.yaml");
    std::fs::write(
        &manifest,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: noted}\ndata: {a: b}\n",
    )
    .unwrap();
    let wasm = home.join("app.wasm");
    std::fs::write(&wasm, COMPONENT).unwrap();

    let image = format!("app:v1={}", wasm.display());
    let manifest = manifest.display().to_string();
    let more = [
        "--data-dir",
        &data,
        "--nodes",
        "2",
        "-f",
        &manifest,
        "--image",
        &image,
    ];
    let mut dev = Dev::start(home, &more).await;
    let client = dev.client().await;
    let nodes: Api<Node> = Api::all(client.clone());
    let mut names: Vec<_> = nodes
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|n| n.metadata.name)
        .collect();
    names.sort();
    assert_eq!(names, ["node-1", "node-2"]);

    // Without KUBECONFIG, the commands find the one that runs.
    succeeds(euston(home).args(["image", "push", &wasm.display().to_string(), "app:v2"])).await;
    let listed = succeeds(euston(home).args(["image", "list", "-o", "json"])).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let tags: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["tag"])
        .collect();
    assert_eq!(tags, [&json!("v1"), &json!("v2")]);
    let version = succeeds(euston(home).arg("version")).await;
    assert!(version.contains("Server: v1.37"), "{version}");

    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut second = ConfigMap::default();
    second.metadata.name = Some("second".to_owned());
    maps.create(&PostParams::default(), &second).await.unwrap();

    // A pod that fits nowhere says so, and goes where it fits as soon as that is possible.
    let pods: Api<Pod> = Api::default_namespaced(client);
    let wanting: Pod = serde_json::from_value(json!({
        "metadata": {"name": "wanting"},
        "spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": "app:v1"}]},
    }))
    .unwrap();
    pods.create(&PostParams::default(), &wanting).await.unwrap();
    let refused = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
    until(&pods, "wanting", |pod| {
        let status = pod.status.clone().unwrap_or_default();
        status.conditions.unwrap_or_default().iter().any(|c| {
            c.type_ == "PodScheduled"
                && c.status == "False"
                && c.reason.as_deref() == Some("Unschedulable")
                && c.message.as_deref() == Some(refused)
        })
    })
    .await;
    let label = json!({"metadata": {"labels": {"disk": "ssd"}}});
    nodes
        .patch("node-2", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    until(&pods, "wanting", |pod| {
        let spec = pod.spec.clone().unwrap_or_default();
        spec.node_name.as_deref() == Some("node-2")
    })
    .await;

    dev.process.kill().await.unwrap();
    // Applying once more what is there already is no error.
    let dev = Dev::start(home, &more).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(dev.client().await);
    assert_eq!(maps.get("noted").await.unwrap().data.unwrap()["a"], "b");
    maps.get("second").await.unwrap();
    let listed = succeeds(euston(home).args(["image", "inspect", "app:v1"])).await;
    assert!(listed.contains("component"), "{listed}");

    dev.interrupt().await;
    let error = fails(euston(home).args(["image", "list"])).await;
    assert!(error.contains("start one with `euston dev`"), "{error}");
    let kept = succeeds(euston(home).args(["kubeconfig", "--data-dir", &data])).await;
    assert!(kept.contains("current-context: euston"), "{kept}");
}

#[tokio::test]
async fn mistakes_are_found_before_anything_starts() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = fails(euston(home).args(["dev", "--api-port", &port])).await;
    assert!(
        error.contains("choose another port with --api-port"),
        "{error}"
    );
    let error = fails(euston(home).args(["dev", "-f", "/none.yaml"])).await;
    assert!(
        error.contains("cannot read the manifest /none.yaml"),
        "{error}"
    );
    let broken = home.join("broken.yaml");
    std::fs::write(&broken, "a: [").unwrap();
    let error = fails(euston(home).args(["dev", "-f", &broken.display().to_string()])).await;
    assert!(error.contains("is not valid YAML"), "{error}");
}
