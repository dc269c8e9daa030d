//! WATCH to the letter: where it begins, what it says, how it ends.

use euston_apiserver::{ApiServer, Config, MASTERS};
use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::raw;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

async fn make(plane: &ControlPlane, name: &str) -> u64 {
    let made = raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", name)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let version = made.body["metadata"]["resourceVersion"].as_str().unwrap();
    version.parse().unwrap()
}

/// `+a` for ADDED of a, `.` for a bookmark, `!` for the one that ends the initial events.
fn shown(events: &[Value]) -> String {
    let show = |event: &Value| {
        let meta = &event["object"]["metadata"];
        let name = meta["name"].as_str().unwrap_or("?");
        match event["type"].as_str().unwrap() {
            "ADDED" => format!("+{name}"),
            "MODIFIED" => format!("~{name}"),
            "DELETED" => format!("-{name}"),
            "BOOKMARK" if meta["annotations"]["k8s.io/initial-events-end"] == "true" => "!".into(),
            "BOOKMARK" => ".".into(),
            "ERROR" => format!("E{}", event["object"]["code"]),
            other => panic!("{other}"),
        }
    };
    events.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_watch_begins_where_it_is_asked_to() {
    let plane = ControlPlane::start().await;
    let a = make(&plane, "a").await;
    let b = make(&plane, "b").await;
    let initial =
        |word: &str| format!("sendInitialEvents={word}&resourceVersionMatch=NotOlderThan");
    let marks = "allowWatchBookmarks=true";
    let cases = [
        (String::new(), "+a +b"),
        ("resourceVersion=0".into(), "+a +b"),
        (format!("resourceVersion={a}"), "+b"),
        (format!("resourceVersion={b}"), ""),
        // One before it ends, since this one is too short for one every minute.
        (format!("resourceVersion={b}&{marks}"), "."),
        (marks.into(), "+a +b ."),
        (initial("true"), "+a +b"),
        (format!("{}&{marks}", initial("true")), "+a +b ! ."),
        (
            format!("{}&{marks}&resourceVersion=0", initial("true")),
            "+a +b ! .",
        ),
        (
            format!("{}&{marks}&resourceVersion={a}", initial("true")),
            "+a +b ! .",
        ),
        (initial("false"), ""),
        (format!("{}&resourceVersion=0", initial("false")), ""),
        (format!("{}&resourceVersion={a}", initial("false")), "+b"),
        ("fieldSelector=metadata.name=b".into(), "+b"),
        (
            format!("{}&{marks}&fieldSelector=metadata.name=x", initial("true")),
            "! .",
        ),
    ];
    let client = &plane.client;
    join_all(cases.iter().map(|(query, expect)| async move {
        let path = format!("{MAPS}?watch=1&timeoutSeconds=1&{query}");
        let events = raw::events(client, &path, JSON).await;
        assert_eq!(shown(&events), *expect, "{query}");
        for mark in events.iter().filter(|e| e["type"] == "BOOKMARK") {
            assert_eq!(mark["object"]["kind"], "ConfigMap", "{query}");
            let version = mark["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap();
            assert!(version.parse::<u64>().unwrap() >= b, "{query}: {mark}");
        }
    }))
    .await;
    // The old way to ask, and a timeout that is over before it begins.
    for path in [
        "/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1".to_owned(),
        format!("{MAPS}?watch&timeoutSeconds=-1"),
    ] {
        assert_eq!(
            shown(&raw::events(&plane.client, &path, JSON).await),
            "+a +b",
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_its_cause() {
    let plane = ControlPlane::start().await;
    let cases = [
        (
            "sendInitialEvents=true",
            422,
            "requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            422,
            "Unsupported value: \"Exact\"",
        ),
        (
            "resourceVersionMatch=NotOlderThan",
            422,
            "forbidden for watch unless sendInitialEvents",
        ),
        ("resourceVersion=x", 400, "resourceVersion"),
        ("timeoutSeconds=x", 400, "timeoutSeconds"),
        (
            "resourceVersion=99999999",
            504,
            "Too large resource version",
        ),
    ];
    for (query, code, says) in cases {
        let got = raw::get(&plane.client, &format!("{MAPS}?watch=true&{query}")).await;
        assert_eq!(got.status, code, "{query}: {got:?}");
        assert!(got.message().contains(says), "{query}: {got:?}");
        if code == 504 {
            assert_eq!(
                got.body["details"]["causes"][0]["reason"],
                "ResourceVersionTooLarge"
            );
            assert_eq!(got.body["details"]["retryAfterSeconds"], 1);
        }
    }
}

#[tokio::test]
async fn a_version_that_is_forgotten_is_an_error_in_the_stream() {
    let plane = ControlPlane::start().await;
    let a = make(&plane, "a").await;
    make(&plane, "b").await;
    // A server that starts now remembers nothing of before.
    let dir = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let second = ApiServer::start(Config {
        store: plane.store.clone(),
        images: euston_images::Registry::open(dir.path()).unwrap(),
        node_client: None,
        advertise: None,
        shutdown: shutdown.clone(),
    })
    .await
    .unwrap();
    let client = second.client("test-admin", &[MASTERS]);
    for accept in [JSON, TABLE, PARTIAL] {
        let path = format!("{MAPS}?watch=true&timeoutSeconds=9&resourceVersion={a}");
        let events = raw::events(&client, &path, accept).await;
        assert_eq!(shown(&events), "E410", "{accept}");
        let status = &events[0]["object"];
        assert_eq!(
            (&status["kind"], &status["reason"]),
            (&json!("Status"), &json!("Expired"))
        );
        let message = status["message"].as_str().unwrap();
        assert!(message.contains("too old resource version"), "{message}");
    }
    shutdown.cancel();
}

#[tokio::test]
async fn every_form_of_event_is_what_kubectl_reads() {
    let plane = ControlPlane::start().await;
    let a = make(&plane, "a").await;
    make(&plane, "b").await;
    raw::send(&plane.client, "DELETE", &format!("{MAPS}/b"), "", "").await;
    let watch = |query: &'static str, accept: &'static str| {
        let client = plane.client.clone();
        async move {
            let path = format!("{MAPS}?watch=true&timeoutSeconds=1&{query}");
            raw::events(&client, &path, accept).await
        }
    };
    let from = format!(
        "{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={}",
        a - 1
    );
    let partial = raw::events(&plane.client, &from, PARTIAL).await;
    assert_eq!(shown(&partial), "+a +b -b");
    let kinds = partial
        .iter()
        .map(|e| e["object"]["kind"].as_str().unwrap());
    assert!(kinds.clone().all(|kind| kind == "PartialObjectMetadata"));
    let version = |event: &Value| {
        let version = event["object"]["metadata"]["resourceVersion"].as_str();
        version.unwrap().parse::<u64>().unwrap()
    };
    assert!(
        version(&partial[1]) < version(&partial[2]),
        "gone at a version of its own"
    );

    let tables = raw::events(&plane.client, &from, TABLE).await;
    assert_eq!(tables.len(), 3);
    for (index, event) in tables.iter().enumerate() {
        let table = &event["object"];
        assert_eq!(table["kind"], "Table", "{event}");
        assert_eq!(table["columnDefinitions"].is_array(), index == 0, "{event}");
        let rows = table["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "{event}");
        assert_eq!(
            rows[0]["object"]["kind"], "PartialObjectMetadata",
            "{event}"
        );
        assert!(table["metadata"]["resourceVersion"].is_string(), "{event}");
    }
    let whole = watch("includeObject=Object", TABLE).await;
    assert_eq!(whole[0]["object"]["rows"][0]["object"]["kind"], "ConfigMap");
    let bare = watch("includeObject=None", TABLE).await;
    assert!(bare[0]["object"]["rows"][0].get("object").is_none());
    let marks = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for accept in [TABLE, PARTIAL] {
        let marked = watch(marks, accept).await;
        let mark = &marked[1];
        assert_eq!(mark["type"], "BOOKMARK", "{mark}");
        let object = match accept {
            TABLE => &mark["object"]["rows"][0]["object"],
            _ => &mark["object"],
        };
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["k8s.io/initial-events-end"], "true", "{mark}");
    }
}

/// More than a watcher takes at a time, and objects larger than that.
#[tokio::test]
async fn many_and_large_objects_come_one_by_one_in_order() {
    let plane = ControlPlane::start().await;
    let names: Vec<String> = (0..100).map(|i| format!("c{i:03}")).collect();
    for name in &names {
        let mut object = sample("ConfigMap", name);
        object["data"] =
            json!({ "text": "x".repeat(if name.ends_with('7') { 100_000 } else { 1 }) });
        let made = raw::json(&plane.client, "POST", MAPS, &object).await;
        assert_eq!(made.status, 201);
    }
    let expect: Vec<String> = names.iter().map(|name| format!("+{name}")).collect();
    let first = raw::get(&plane.client, &format!("{MAPS}?limit=1")).await;
    let version = first.body["items"][0]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap();
    for (from, expect) in [("0", &expect[..]), (version, &expect[1..])] {
        let path = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={from}");
        let events = raw::events(&plane.client, &path, JSON).await;
        assert_eq!(shown(&events), expect.join(" "), "{from}");
    }
}
