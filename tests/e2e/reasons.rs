//! Pods that cannot run say why, where `kubectl describe` shows it.

use euston_images::Digest;
use euston_tests::wait::until;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::cluster::Cluster;

/// A container's state in one line: `phase state reason code message`.
fn state(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let Some(container) = status.container_statuses.and_then(|c| c.into_iter().next()) else {
        let conditions = status.conditions.unwrap_or_default();
        let messages: Vec<_> = conditions.into_iter().filter_map(|c| c.message).collect();
        return format!("{phase} {}", messages.join(" "));
    };
    let now = container.state.unwrap_or_default();
    let last = container.last_state.unwrap_or_default();
    let mut text = phase;
    if let Some(waiting) = now.waiting {
        text += &format!(
            " waiting {} {}",
            waiting.reason.unwrap_or_default(),
            waiting.message.unwrap_or_default()
        );
    }
    for terminated in [now.terminated, last.terminated].into_iter().flatten() {
        text += &format!(
            " terminated {} {} {}",
            terminated.reason.unwrap_or_default(),
            terminated.exit_code,
            terminated.message.unwrap_or_default()
        );
    }
    text
}

/// Media types of an image's config and layer.
type Layout = (&'static str, &'static str);

const WASM_ARTIFACT: Layout = ("application/vnd.wasm.config.v0+json", "application/wasm");
const LINUX_IMAGE: Layout = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
);

/// Puts `NAME:v1` into the cluster's registry as the OCI distribution API has it.
async fn put_image(client: &kube::Client, name: &str, layout: Layout, layer: &str) {
    let config = r#"{"os":"linux","architecture":"amd64"}"#;
    let mut descriptors = Vec::new();
    for (media_type, blob) in [(layout.0, config), (layout.1, layer)] {
        let digest = Digest::of(blob.as_bytes()).to_string();
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        send(
            client,
            "POST",
            &path,
            "application/octet-stream",
            blob.to_owned(),
        )
        .await;
        descriptors.push(json!({ "mediaType": media_type, "digest": digest, "size": blob.len() }));
    }
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": descriptors[0], "layers": [descriptors[1]],
    });
    let path = format!("/v2/{name}/manifests/v1");
    send(client, "PUT", &path, media_type, manifest.to_string()).await;
}

async fn send(client: &kube::Client, method: &str, path: &str, media_type: &str, body: String) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media_type)
        .body(kube::client::Body::from(body.into_bytes()))
        .unwrap();
    let status = client.send(request).await.unwrap().status();
    assert_eq!(status, 201, "{method} {path}");
}

#[tokio::test]
async fn a_pod_that_cannot_run_says_why() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello", "counter", "crasher", "memhog"]);
    let text = cluster.dir.join("text.wasm");
    std::fs::write(&text, "#!/bin/sh\necho no\n").unwrap();
    let refused = cluster.push(&text.to_string_lossy(), "text:v1");
    assert!(!refused.status.success(), "a script is no image");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("not a Wasm binary"), "{why}");
    let importer = cluster.dir.join("importer.wasm");
    let wasm = wat::parse_str(
        r#"(component
            (import "acme:bakery/oven@1.0.0" (instance))
            (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#,
    );
    std::fs::write(&importer, wasm.unwrap()).unwrap();
    let pushed = cluster.push(&importer.to_string_lossy(), "importer:v1");
    assert!(pushed.status.success(), "{pushed:?}");

    let client = cluster.client().await;
    // What other tools than ours may have put there.
    put_image(&client, "script", WASM_ARTIFACT, "#!/bin/sh\necho no\n").await;
    put_image(&client, "linux", LINUX_IMAGE, "a tarball").await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let memory = json!({ "limits": { "memory": "32Mi" } });
    let cases = [
        (
            "done",
            json!({ "image": "counter:v1", "args": ["2"] }),
            vec!["Succeeded", "Completed 0"],
        ),
        (
            "exit",
            json!({ "image": "crasher:v1", "args": ["exit", "7"] }),
            vec!["Failed", "Error 7"],
        ),
        (
            "trap",
            json!({ "image": "crasher:v1", "args": ["trap"] }),
            vec!["Failed", "Error", "unreachable"],
        ),
        (
            "hog",
            json!({ "image": "memhog:v1", "args": ["128"], "resources": memory }),
            vec!["Failed", "OOMKilled 137"],
        ),
        (
            "missing",
            json!({ "image": "nothing:v9" }),
            vec!["Pending", "waiting", "ImagePull", "nothing:v9"],
        ),
        (
            "importer",
            json!({ "image": "importer:v1" }),
            vec![
                "Pending",
                "ImageInspectError",
                "imports \"acme:bakery/oven@1.0.0\", which this node does not provide",
            ],
        ),
        (
            "script",
            json!({ "image": "script:v1" }),
            vec![
                "Pending",
                "ImageInspectError",
                "not a Wasm module or component",
            ],
        ),
        (
            "linux",
            json!({ "image": "linux:v1" }),
            vec!["Pending", "ImagePull", "it is a Linux container image"],
        ),
        (
            "name",
            json!({ "image": "Not A Name" }),
            vec!["Pending", "InvalidImageName"],
        ),
        (
            "big",
            json!({ "image": "hello:v1", "resources": { "requests": { "cpu": "4000" } } }),
            vec!["Pending", "0/1 nodes are available: 1 Insufficient cpu"],
        ),
        (
            "config",
            json!({ "image": "hello:v1", "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "none", "key": "k" } } }] }),
            vec!["Pending", "CreateContainerConfigError", "none"],
        ),
    ];
    for (name, container, _) in &cases {
        let mut container = container.clone();
        container["name"] = json!("main");
        let pod = json!({
            "metadata": { "name": name },
            "spec": { "restartPolicy": "Never", "containers": [container] },
        });
        pods.create(
            &PostParams::default(),
            &serde_json::from_value(pod).unwrap(),
        )
        .await
        .unwrap();
    }
    for (name, _, wanted) in &cases {
        until(name, || async {
            let state = state(&pods.get(name).await.unwrap());
            if wanted.iter().all(|w| state.contains(w)) {
                Ok(())
            } else {
                Err(state)
            }
        })
        .await;
    }
    let crashing = json!({
        "metadata": { "name": "again" },
        "spec": { "containers": [{ "name": "main", "image": "crasher:v1", "args": ["exit", "3"] }] },
    });
    pods.create(
        &PostParams::default(),
        &serde_json::from_value(crashing).unwrap(),
    )
    .await
    .unwrap();
    until("a crash loop backs off", || async {
        let state = state(&pods.get("again").await.unwrap());
        if state.contains("CrashLoopBackOff") && state.contains("Error 3") {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await;
    let events: Api<Event> = Api::namespaced(client, "default");
    until("an event says why nothing fits", || async {
        let params =
            ListParams::default().fields("reason=FailedScheduling,involvedObject.name=big");
        let found = events.list(&params).await.unwrap();
        let messages: Vec<_> = found.iter().filter_map(|e| e.message.clone()).collect();
        if messages.iter().any(|m| m.contains("Insufficient cpu")) {
            Ok(())
        } else {
            Err(format!("{messages:?}"))
        }
    })
    .await;
}
