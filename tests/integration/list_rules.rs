//! GET and LIST to the letter: every combination of resourceVersion, match and paging;
//! selectors; forms.

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::raw::{self, Answer};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const PARTIAL: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

/// ConfigMaps a, b and c, and the version at which each came.
async fn three(plane: &ControlPlane) -> [u64; 3] {
    let mut versions = [0; 3];
    for (name, version) in ["a", "b", "c"].into_iter().zip(&mut versions) {
        let mut object = sample("ConfigMap", name);
        object["metadata"]["labels"] = json!({ "app": if name == "b" { "two" } else { "one" } });
        let made = raw::json(&plane.client, "POST", MAPS, &object).await;
        assert_eq!(made.status, 201, "{made:?}");
        *version = version_of(&made.body);
    }
    versions
}

fn version_of(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|v| v.parse().ok())
        .unwrap_or_else(|| panic!("no version: {object}"))
}

/// What a list should answer: names and how many remain, or code, reason and words.
enum Expect {
    Page(&'static [&'static str], Option<u64>),
    Error(u16, &'static str, &'static str),
}

fn check(case: &str, got: &Answer, expect: &Expect) {
    match expect {
        Expect::Page(names, remaining) => {
            assert_eq!(got.status, 200, "{case}: {got:?}");
            assert_eq!(got.names(), *names, "{case}");
            let meta = &got.body["metadata"];
            assert_eq!(meta["remainingItemCount"].as_u64(), *remaining, "{case}");
            assert_eq!(got.body["kind"], "ConfigMapList", "{case}");
        }
        Expect::Error(code, reason, says) => {
            assert_eq!(got.outcome(), (*code, *reason), "{case}: {got:?}");
            assert!(got.message().contains(says), "{case}: {got:?}");
            assert_eq!(got.body["kind"], "Status", "{case}");
        }
    }
}

#[tokio::test]
async fn a_list_stands_for_the_moment_that_version_match_and_limit_say() {
    use Expect::{Error, Page};
    let plane = ControlPlane::start().await;
    let [first, second, third] = three(&plane).await;
    let future = third + 1_000_000;
    let all = || Page(&["a", "b", "c"], None);
    let invalid = |says| Error(422, "Invalid", says);
    let too_large = || Error(504, "Timeout", "Too large resource version");
    let page = |names, remaining| Page(names, Some(remaining));
    let cases = [
        (String::new(), all()),
        ("resourceVersion=0".into(), all()),
        (format!("resourceVersion={first}"), all()),
        (
            format!("resourceVersion={first}&resourceVersionMatch=NotOlderThan"),
            all(),
        ),
        (
            format!("resourceVersion={first}&resourceVersionMatch=Exact"),
            Page(&["a"], None),
        ),
        (
            format!("resourceVersion={second}&resourceVersionMatch=Exact"),
            Page(&["a", "b"], None),
        ),
        (
            format!("resourceVersion={second}&resourceVersionMatch=Exact&limit=1"),
            page(&["a"], 1),
        ),
        // The older way to say Exact.
        (format!("resourceVersion={second}&limit=1"), page(&["a"], 1)),
        (
            format!("resourceVersion={second}&limit=5"),
            Page(&["a", "b"], None),
        ),
        (
            format!("resourceVersion={second}&limit=1&resourceVersionMatch=NotOlderThan"),
            page(&["a"], 2),
        ),
        ("limit=2".into(), page(&["a", "b"], 1)),
        ("limit=3".into(), all()),
        ("limit=0".into(), all()),
        ("limit=-7".into(), all()),
        ("limit=2&resourceVersion=0".into(), page(&["a", "b"], 1)),
        // With a filter nobody knows how many there are.
        ("limit=1&labelSelector=app=one".into(), Page(&["a"], None)),
        (
            format!("limit=1&labelSelector=app=one&resourceVersion={third}"),
            Page(&["a"], None),
        ),
        ("fieldSelector=metadata.name=b".into(), Page(&["b"], None)),
        (
            "fieldSelector=metadata.name=b&limit=1".into(),
            Page(&["b"], None),
        ),
        ("fieldSelector=metadata.name=bb".into(), Page(&[], None)),
        (
            "resourceVersionMatch=Exact".into(),
            invalid("forbidden unless resourceVersion is provided"),
        ),
        (
            "resourceVersionMatch=NotOlderThan".into(),
            invalid("forbidden unless resourceVersion is provided"),
        ),
        (
            "resourceVersion=0&resourceVersionMatch=Exact".into(),
            invalid("forbidden for resourceVersion \"0\""),
        ),
        (
            "resourceVersion=1&resourceVersionMatch=Newest".into(),
            invalid("Unsupported value: \"Newest\""),
        ),
        (
            "sendInitialEvents=true".into(),
            invalid("sendInitialEvents is forbidden for list"),
        ),
        (
            "sendInitialEvents=false".into(),
            invalid("sendInitialEvents is forbidden for list"),
        ),
        (
            "resourceVersion=x".into(),
            Error(400, "BadRequest", "resourceVersion"),
        ),
        ("limit=many".into(), Error(400, "BadRequest", "limit")),
        (
            "continue=bm9uc2Vuc2U".into(),
            Error(400, "BadRequest", "continue key is not valid"),
        ),
        (format!("resourceVersion={future}"), too_large()),
        (
            format!("resourceVersion={future}&resourceVersionMatch=Exact"),
            too_large(),
        ),
        (
            format!("resourceVersion={future}&resourceVersionMatch=NotOlderThan"),
            too_large(),
        ),
        (format!("resourceVersion={future}&limit=1"), too_large()),
    ];
    let client = &plane.client;
    join_all(cases.iter().map(|(query, expect)| async move {
        let got = raw::get(client, &format!("{MAPS}?{query}")).await;
        check(query, &got, expect);
        if let Error(504, ..) = expect {
            let details = &got.body["details"];
            assert_eq!(
                details["causes"][0]["reason"], "ResourceVersionTooLarge",
                "{got:?}"
            );
            assert_eq!(details["retryAfterSeconds"], 1, "{got:?}");
            assert_eq!(got.header("retry-after"), "1");
        }
    }))
    .await;
}

#[tokio::test]
async fn later_pages_say_how_many_remain_and_keep_their_rules() {
    let plane = ControlPlane::start().await;
    three(&plane).await;
    let first = raw::get(&plane.client, &format!("{MAPS}?limit=1")).await;
    let token = first.body["metadata"]["continue"]
        .as_str()
        .unwrap()
        .to_owned();
    let version = version_of(&first.body);
    raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", "bb")).await;
    let next = |query: String| {
        let path = format!("{MAPS}?continue={token}{query}");
        let client = plane.client.clone();
        async move { raw::get(&client, &path).await }
    };
    let page = next("&limit=1".into()).await;
    check("limit=1", &page, &Expect::Page(&["b"], Some(1)));
    assert_eq!(version_of(&page.body), version, "of one snapshot");
    check(
        "all",
        &next(String::new()).await,
        &Expect::Page(&["b", "c"], None),
    );
    check(
        "0",
        &next("&resourceVersion=0".into()).await,
        &Expect::Page(&["b", "c"], None),
    );
    for (query, expect) in [
        (
            "&resourceVersion=5",
            Expect::Error(400, "BadRequest", "not allowed when using continue"),
        ),
        (
            "&resourceVersion=5&resourceVersionMatch=Exact",
            Expect::Error(422, "Invalid", "forbidden when continue is provided"),
        ),
    ] {
        check(query, &next(query.into()).await, &expect);
    }
    let elsewhere = format!("/api/v1/namespaces/kube-system/configmaps?continue={token}");
    let got = raw::get(&plane.client, &elsewhere).await;
    assert_eq!(got.outcome(), (400, "BadRequest"));
}

#[tokio::test]
async fn an_expired_version_is_no_expired_page() {
    let plane = ControlPlane::start().await;
    let [first, ..] = three(&plane).await;
    plane.store.compact(plane.store.revision()).await.unwrap();
    let path = format!("{MAPS}?resourceVersion={first}&resourceVersionMatch=Exact");
    let got = raw::get(&plane.client, &path).await;
    assert_eq!(got.outcome(), (410, "Expired"));
    assert_eq!(
        got.message(),
        "The resourceVersion for the provided list is too old."
    );
    assert!(got.body["metadata"]["continue"].is_null(), "{got:?}");
}

#[tokio::test]
async fn a_get_is_as_new_as_it_is_asked_to_be() {
    let plane = ControlPlane::start().await;
    let [first, _, third] = three(&plane).await;
    for (query, code) in [
        (String::new(), 200),
        ("?resourceVersion=0".into(), 200),
        (format!("?resourceVersion={first}"), 200),
        (format!("?resourceVersion={}", third + 1_000_000), 504),
        ("?resourceVersion=x".into(), 400),
    ] {
        let got = raw::get(&plane.client, &format!("{MAPS}/a{query}")).await;
        assert_eq!(got.status, code, "{query}: {got:?}");
    }
}

#[tokio::test]
async fn label_and_field_selectors_choose_as_in_kubernetes() {
    let plane = ControlPlane::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    for (name, node, policy, labels) in [
        (
            "p1",
            "n1",
            "Always",
            json!({ "app": "web", "tier": "front" }),
        ),
        ("p2", "n2", "Never", json!({ "app": "web" })),
        ("p3", "", "Never", json!({ "app": "db", "zone": "" })),
    ] {
        let mut pod = sample("Pod", name);
        pod["metadata"]["labels"] = labels;
        pod["spec"]["nodeName"] = json!(node);
        pod["spec"]["restartPolicy"] = json!(policy);
        let made = raw::json(&plane.client, "POST", pods, &pod).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let status = json!({ "status": { "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{ "ip": "10.0.0.7" }] } });
    let done = raw::json(
        &plane.client,
        "PATCH",
        &format!("{pods}/p1/status"),
        &status,
    )
    .await;
    assert_eq!(done.status, 200, "{done:?}");
    for (selector, expect) in [
        ("labelSelector=app=web", "p1 p2"),
        ("labelSelector=app%3D%3Dweb", "p1 p2"),
        ("labelSelector=app!=web", "p3"),
        ("labelSelector=tier!=front", "p2 p3"),
        ("labelSelector=tier", "p1"),
        ("labelSelector=!tier", "p2 p3"),
        ("labelSelector=app in (web,db),tier notin (front)", "p2 p3"),
        ("labelSelector=zone=", "p3"),
        ("labelSelector=zone,app=db", "p3"),
        ("labelSelector=app in ()", ""),
        ("labelSelector=", "p1 p2 p3"),
        ("fieldSelector=spec.nodeName=n1", "p1"),
        ("fieldSelector=spec.nodeName!=n1", "p2 p3"),
        ("fieldSelector=spec.nodeName=", "p3"),
        ("fieldSelector=spec.nodeName!=", "p1 p2"),
        ("fieldSelector=spec.host=n2", "p2"),
        ("fieldSelector=spec.restartPolicy=Never", "p2 p3"),
        (
            "fieldSelector=spec.restartPolicy%3D%3DNever,spec.nodeName!=n2",
            "p3",
        ),
        (
            "fieldSelector=spec.schedulerName=default-scheduler",
            "p1 p2 p3",
        ),
        ("fieldSelector=spec.serviceAccountName!=default", ""),
        ("fieldSelector=spec.hostNetwork=false", "p1 p2 p3"),
        ("fieldSelector=status.phase=Running", "p1"),
        (
            "fieldSelector=status.phase!=Succeeded,status.phase!=Failed",
            "p1 p2 p3",
        ),
        ("fieldSelector=status.podIP=10.0.0.7", "p1"),
        ("fieldSelector=status.podIPs=10.0.0.7", "p1"),
        ("fieldSelector=status.nominatedNodeName=", "p1 p2 p3"),
        ("fieldSelector=metadata.name=p2", "p2"),
        ("fieldSelector=metadata.name!=p2", "p1 p3"),
        ("fieldSelector=metadata.name=p2,metadata.name=p3", ""),
        ("fieldSelector=metadata.namespace=default", "p1 p2 p3"),
        ("fieldSelector=metadata.namespace!=default", ""),
        ("fieldSelector=spec.nodeName=n1&labelSelector=app=db", ""),
    ] {
        for path in [pods, "/api/v1/pods"] {
            let path = format!("{path}?{}", selector.replace(' ', "%20"));
            let got = raw::get(&plane.client, &path).await;
            assert_eq!(
                got.names().join(" "),
                expect,
                "{selector}: {:?}",
                got.status
            );
        }
    }
    for (query, says) in [
        (
            "fieldSelector=spec.color=red",
            "field label not supported: spec.color",
        ),
        (
            "fieldSelector=metadata.labels.app=web",
            "field label not supported: metadata.labels.app",
        ),
        (
            "fieldSelector=status.phase",
            "unable to parse field selector",
        ),
        (
            "fieldSelector=status.phase%3E1",
            "unable to parse field selector",
        ),
        ("labelSelector=app=web=2", "unable to parse label selector"),
        (
            "labelSelector=app%20in%20web",
            "unable to parse label selector",
        ),
        ("labelSelector=-bad-=x", "unable to parse label selector"),
    ] {
        for path in ["/api/v1/pods", "/apis/apps/v1/deployments"] {
            for watch in ["", "&watch=true"] {
                let path = format!("{path}?{query}{watch}");
                let got = raw::get(&plane.client, &path).await;
                assert_eq!(got.outcome(), (400, "BadRequest"), "{path}");
                assert!(got.message().contains(says), "{path}: {got:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_comes_in_the_form_that_is_accepted() {
    let plane = ControlPlane::start().await;
    three(&plane).await;
    let ask = |accept: &'static str, query: &'static str| {
        let client = plane.client.clone();
        async move {
            let path = format!("{MAPS}?limit=2{query}");
            raw::send_accepting(&client, "GET", &path, "", accept, "").await
        }
    };
    let partial = ask(PARTIAL, "").await;
    assert_eq!(partial.body["kind"], "PartialObjectMetadataList");
    assert_eq!(partial.body["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(partial.names(), ["a", "b"]);
    assert!(partial.body["items"][0].get("data").is_none());
    assert_eq!(partial.body["metadata"]["remainingItemCount"], 1);

    for (query, object) in [
        ("", json!("PartialObjectMetadata")),
        ("&includeObject=Metadata", json!("PartialObjectMetadata")),
        ("&includeObject=Object", json!("ConfigMap")),
        ("&includeObject=None", Value::Null),
    ] {
        let table = ask(TABLE, query).await;
        assert_eq!(table.body["kind"], "Table", "{query}");
        assert!(table.body["metadata"]["continue"].is_string(), "{query}");
        assert_eq!(table.body["metadata"]["remainingItemCount"], 1, "{query}");
        let rows = table.body["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{query}");
        assert_eq!(rows[0]["cells"][0], "a", "{query}");
        assert_eq!(rows[0]["object"]["kind"], object, "{query}");
    }
    let bad = ask(TABLE, "&includeObject=Everything").await;
    assert_eq!(bad.outcome(), (400, "BadRequest"));
    for accept in [
        "text/html",
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
    ] {
        let bad = ask(accept, "").await;
        assert_eq!(bad.outcome(), (406, "NotAcceptable"), "{accept}");
    }
}

/// A list larger than one piece is sent in many, and says the same.
#[tokio::test]
async fn a_large_list_is_whole_in_every_form() {
    let plane = ControlPlane::start().await;
    let made = (0..40).map(|i| {
        let mut object = sample("ConfigMap", &format!("big-{i:02}"));
        object["data"] = json!({ "text": "x".repeat(10_000) });
        let client = plane.client.clone();
        async move { raw::json(&client, "POST", MAPS, &object).await.status }
    });
    assert!(join_all(made).await.iter().all(|&status| status == 201));
    let object = "application/json";
    for (accept, query, list) in [
        (object, "", "items"),
        (object, "&limit=30", "items"),
        (PARTIAL, "", "items"),
        (TABLE, "&includeObject=Object", "rows"),
    ] {
        let path = format!("{MAPS}?{query}");
        let got = raw::send_accepting(&plane.client, "GET", &path, "", accept, "").await;
        let items = got.body[list]
            .as_array()
            .unwrap_or_else(|| panic!("{accept}"));
        assert_eq!(
            items.len(),
            if query == "&limit=30" { 30 } else { 40 },
            "{accept}"
        );
    }
    let protobuf = "application/vnd.kubernetes.protobuf";
    let request = http::Request::get(MAPS)
        .header("accept", protobuf)
        .body(kube::client::Body::empty())
        .unwrap();
    let answer = plane.client.send(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], protobuf);
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    assert!(
        bytes.starts_with(b"k8s\0") && bytes.len() > 400_000,
        "{}",
        bytes.len()
    );
}
