//! Objects in Kubernetes' protobuf, in both directions, as stock kubectl and Helm send them.

use std::time::Duration;

use euston_protobuf::{Message, decode, encode, envelope, messages};
use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON_MAX: usize = 16 << 20;

/// A resource, its kind, and what its message is called.
const KINDS: &[(&str, &str, &str)] = &[
    (
        "/api/v1/namespaces/default/configmaps",
        "ConfigMap",
        "io.k8s.api.core.v1",
    ),
    (
        "/api/v1/namespaces/default/secrets",
        "Secret",
        "io.k8s.api.core.v1",
    ),
    (
        "/api/v1/namespaces/default/pods",
        "Pod",
        "io.k8s.api.core.v1",
    ),
    (
        "/api/v1/namespaces/default/services",
        "Service",
        "io.k8s.api.core.v1",
    ),
    (
        "/api/v1/namespaces/default/events",
        "Event",
        "io.k8s.api.core.v1",
    ),
    (
        "/api/v1/namespaces/default/serviceaccounts",
        "ServiceAccount",
        "io.k8s.api.core.v1",
    ),
    ("/api/v1/namespaces", "Namespace", "io.k8s.api.core.v1"),
    ("/api/v1/nodes", "Node", "io.k8s.api.core.v1"),
    (
        "/apis/apps/v1/namespaces/default/deployments",
        "Deployment",
        "io.k8s.api.apps.v1",
    ),
    (
        "/apis/apps/v1/namespaces/default/replicasets",
        "ReplicaSet",
        "io.k8s.api.apps.v1",
    ),
    (
        "/apis/coordination.k8s.io/v1/namespaces/default/leases",
        "Lease",
        "io.k8s.api.coordination.v1",
    ),
    (
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        "EndpointSlice",
        "io.k8s.api.discovery.v1",
    ),
    (
        "/api/v1/namespaces/default/replicationcontrollers",
        "ReplicationController",
        "io.k8s.api.core.v1",
    ),
    (
        "/api/v1/namespaces/default/podtemplates",
        "PodTemplate",
        "io.k8s.api.core.v1",
    ),
    (
        "/apis/apps/v1/namespaces/default/statefulsets",
        "StatefulSet",
        "io.k8s.api.apps.v1",
    ),
    (
        "/apis/apps/v1/namespaces/default/daemonsets",
        "DaemonSet",
        "io.k8s.api.apps.v1",
    ),
    (
        "/apis/apps/v1/namespaces/default/controllerrevisions",
        "ControllerRevision",
        "io.k8s.api.apps.v1",
    ),
    (
        "/apis/batch/v1/namespaces/default/jobs",
        "Job",
        "io.k8s.api.batch.v1",
    ),
    (
        "/apis/batch/v1/namespaces/default/cronjobs",
        "CronJob",
        "io.k8s.api.batch.v1",
    ),
    (
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "io.k8s.api.autoscaling.v2",
    ),
    (
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        "PodDisruptionBudget",
        "io.k8s.api.policy.v1",
    ),
];

fn message(package: &str, kind: &str) -> Message {
    Message::named(&format!("{package}.{kind}")).unwrap()
}

fn seal(of: Message, object: &Value) -> Vec<u8> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    let mut body = Vec::new();
    envelope::seal(text("apiVersion"), text("kind"), &mut body, |out| {
        encode(of, object.to_string().as_bytes(), out)
    })
    .unwrap();
    body
}

/// Opens a body whose kind tells its message.
fn open(body: &[u8]) -> Value {
    let opened = envelope::open(body).unwrap();
    let version = opened.api_version.rsplit('/').next().unwrap();
    let suffix = format!(".{version}.{}", opened.kind);
    let of = messages().find(|m| m.name().ends_with(&suffix)).unwrap();
    let json = decode(
        of,
        Some((opened.api_version, opened.kind)),
        opened.raw,
        JSON_MAX,
    )
    .unwrap();
    serde_json::from_slice(&json).unwrap()
}

async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    accept: &str,
    body: Vec<u8>,
) -> Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", PROTOBUF)
        .header("accept", accept)
        .body(Body::from(body))
        .unwrap();
    client.send(request).await.unwrap()
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    response.into_body().collect_bytes().await.unwrap().to_vec()
}

async fn json_of(client: &kube::Client, path: &str) -> Value {
    let request = Request::get(path).body(Vec::new()).unwrap();
    client.request(request).await.unwrap()
}

/// Without what one form leaves out and the other does not.
fn comparable(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, v| !v.is_null());
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

#[tokio::test]
async fn every_kind_is_written_read_and_deleted_in_protobuf() {
    let plane = ControlPlane::start().await;
    for (collection, kind, package) in KINDS {
        let of = message(package, kind);
        let object = sample(kind, "proto");
        let created = send(
            &plane.client,
            "POST",
            collection,
            PROTOBUF,
            seal(of, &object),
        )
        .await;
        assert_eq!(created.status(), StatusCode::CREATED, "{kind}");
        let mut created = open(&bytes(created).await);
        let path = format!("{collection}/proto");
        let stored = json_of(&plane.client, &path).await;
        assert_eq!(comparable(created.clone()), comparable(stored), "{kind}");

        created["metadata"]["labels"] = json!({ "a": "b" });
        let replaced = send(&plane.client, "PUT", &path, PROTOBUF, seal(of, &created)).await;
        assert_eq!(replaced.status(), StatusCode::OK, "{kind}");
        let got = send(&plane.client, "GET", &path, PROTOBUF, Vec::new()).await;
        let got = open(&bytes(got).await);
        assert_eq!(got["metadata"]["labels"]["a"], "b", "{kind}");
        assert_eq!(open(&bytes(replaced).await), got, "{kind}");

        let list = send(&plane.client, "GET", collection, PROTOBUF, Vec::new()).await;
        let list = open(&bytes(list).await);
        assert_eq!(list["kind"], format!("{kind}List"));
        let items = list["items"].as_array().unwrap();
        let mut listed = items
            .iter()
            .find(|i| i["metadata"]["name"] == "proto")
            .unwrap()
            .clone();
        listed["apiVersion"] = got["apiVersion"].clone();
        listed["kind"] = got["kind"].clone();
        assert_eq!(listed, got, "{kind}");

        let options = Message::named("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions").unwrap();
        let options = seal(
            options,
            &json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
                "preconditions": { "uid": "another" },
            }),
        );
        let refused = send(&plane.client, "DELETE", &path, PROTOBUF, options).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT, "{kind}");
        assert_eq!(open(&bytes(refused).await)["reason"], "Conflict");
        let deleted = send(&plane.client, "DELETE", &path, PROTOBUF, Vec::new()).await;
        assert_eq!(deleted.status(), StatusCode::OK, "{kind}");
        open(&bytes(deleted).await);
    }
}

#[tokio::test]
async fn a_watch_in_protobuf_carries_the_events_of_one_in_json() {
    let plane = ControlPlane::start().await;
    let (collection, kind, package) = KINDS[0];
    let path = format!(
        "{collection}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=60"
    );
    let watches =
        [PROTOBUF, PROTOBUF].map(|accept| send(&plane.client, "GET", &path, accept, Vec::new()));
    let watches = futures::future::join_all(watches).await;
    let of = message(package, kind);
    let created = send(
        &plane.client,
        "POST",
        collection,
        PROTOBUF,
        seal(of, &sample(kind, "seen")),
    )
    .await;
    let created = open(&bytes(created).await);
    let mut streams = Vec::new();
    for watch in watches {
        assert_eq!(
            watch.headers()["content-type"],
            "application/vnd.kubernetes.protobuf;stream=watch"
        );
        let mut body = watch.into_body();
        let mut seen = Vec::new();
        let read = async {
            let mut buffer = Vec::new();
            // The certificates that every namespace has may come first.
            while !seen.iter().any(|(event, object): &(String, Value)| {
                event == "ADDED" && object["metadata"]["name"] == "seen"
            }) {
                let frame = http_body_util::BodyExt::frame(&mut body)
                    .await
                    .unwrap()
                    .unwrap();
                buffer.extend_from_slice(frame.data_ref().unwrap());
                while let Some((head, rest)) = buffer.split_first_chunk::<4>() {
                    let length = u32::from_be_bytes(*head) as usize;
                    if rest.len() < length {
                        break;
                    }
                    seen.push(event(&rest[..length]));
                    buffer.drain(..4 + length);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), read)
            .await
            .unwrap();
        streams.push(seen);
    }
    assert_eq!(streams[0], streams[1]);
    let events = &streams[0];
    let mark = events
        .iter()
        .find(|(event, _)| event == "BOOKMARK")
        .unwrap();
    assert_eq!(
        mark.1["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(events.last().unwrap().1, created);
}

/// A `WatchEvent`: its type, and the object in the body within it.
fn event(bytes: &[u8]) -> (String, Value) {
    let tail = bytes.strip_prefix(b"\x0a").unwrap();
    let (name, rest) = tail[1..].split_at(usize::from(tail[0]));
    let at = rest.windows(4).position(|w| w == envelope::MAGIC).unwrap();
    (String::from_utf8(name.to_vec()).unwrap(), open(&rest[at..]))
}

#[tokio::test]
async fn other_answers_come_in_the_form_that_is_asked_for() {
    let plane = ControlPlane::start().await;
    let get = |path: &'static str, accept: &'static str| {
        send(&plane.client, "GET", path, accept, Vec::new())
    };
    let missing = get("/api/v1/namespaces/default/pods/none", PROTOBUF).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(open(&bytes(missing).await)["reason"], "NotFound");

    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    let list = open(&bytes(get("/api/v1/namespaces", metadata).await).await);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"].as_array().unwrap().len() > 1);

    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
    assert_eq!(
        get("/api/v1/namespaces", table).await.status(),
        StatusCode::NOT_ACCEPTABLE
    );

    let resources = open(&bytes(get("/api/v1", PROTOBUF).await).await);
    let pods = resources["resources"].as_array().unwrap();
    let pods = pods.iter().find(|r| r["name"] == "pods").unwrap();
    assert_eq!(pods["verbs"].as_array().unwrap().len(), 8);
    assert_eq!(
        open(&bytes(get("/apis", PROTOBUF).await).await)["kind"],
        "APIGroupList"
    );
}

#[tokio::test]
async fn broken_bodies_are_refused() {
    let plane = ControlPlane::start().await;
    let check = async |body: &[u8], expect: &str| {
        let path = "/api/v1/namespaces/default/pods";
        let answer = send(
            &plane.client,
            "POST",
            path,
            "application/json",
            body.to_vec(),
        )
        .await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let body = answer.into_body().collect_bytes().await.unwrap();
        let message = String::from_utf8_lossy(&body).into_owned();
        assert!(message.contains(expect), "{message}");
    };
    check(b"{\"kind\":\"Pod\"}", "does not begin with").await;
    check(b"k8s\0\x0a\x05", "the bytes end").await;
    check(
        b"k8s\0\x12\x06\x12\x04\x12\x02\x08\x01",
        "spec.containers[0].name",
    )
    .await;
    check(b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap", "expected").await;
    check(b"", "EOF").await;
}
