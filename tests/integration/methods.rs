//! HTTP around the verbs: methods, paths, media types, indentation, sizes.

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use serde_json::json;

use crate::raw;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_method_that_a_path_does_not_answer_is_405_and_names_those_that_it_does() {
    let plane = ControlPlane::start().await;
    raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", "a")).await;
    let object = "GET, HEAD, PUT, PATCH, DELETE";
    let collection = "GET, HEAD, POST, DELETE";
    let pod = "/api/v1/namespaces/default/pods/p";
    let deployment = "/apis/apps/v1/namespaces/default/deployments/d";
    for (method, path, allow) in [
        ("OPTIONS", MAPS.to_owned(), collection),
        ("TRACE", MAPS.into(), collection),
        ("PUT", MAPS.into(), collection),
        ("PATCH", MAPS.into(), collection),
        ("BREW", MAPS.into(), collection),
        ("POST", format!("{MAPS}/a"), object),
        ("OPTIONS", format!("{MAPS}/a"), object),
        ("POST", "/api/v1/configmaps".into(), "GET, HEAD"),
        ("DELETE", "/api/v1/configmaps".into(), "GET, HEAD"),
        ("DELETE", "/api/v1/namespaces".into(), "GET, HEAD, POST"),
        (
            "DELETE",
            format!("{deployment}/status"),
            "GET, HEAD, PUT, PATCH",
        ),
        (
            "POST",
            format!("{deployment}/scale"),
            "GET, HEAD, PUT, PATCH",
        ),
        ("GET", format!("{pod}/binding"), "POST"),
        ("PATCH", format!("{pod}/binding"), "POST"),
        ("POST", "/version".into(), "GET, HEAD"),
        ("DELETE", "/healthz".into(), "GET, HEAD"),
        ("POST", "/apis".into(), "GET, HEAD"),
        ("PUT", "/api/v1".into(), "GET, HEAD"),
    ] {
        let got = raw::send(&plane.client, method, &path, "", "").await;
        assert_eq!(
            got.outcome(),
            (405, "MethodNotAllowed"),
            "{method} {path}: {got:?}"
        );
        assert_eq!(got.header("allow"), allow, "{method} {path}");
    }
    for path in [
        "/api/v1/namespaces/default/cookies",
        "/api/v1/namespaces/default/pods/p/cookies",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces//pods",
        "/apis/apps/v1/namespaces/default/deployments/d/scale/x",
        "/api/v2/pods",
        "/apis/nowhere.io/v1",
        "/x",
    ] {
        let got = raw::get(&plane.client, path).await;
        assert_eq!(got.outcome(), (404, "NotFound"), "{path}: {got:?}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_changes_nothing() {
    let plane = ControlPlane::start().await;
    raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", "a")).await;
    for path in [
        MAPS.to_owned(),
        format!("{MAPS}/a"),
        "/api/v1/configmaps".into(),
        "/api".into(),
        "/apis".into(),
        "/api/v1".into(),
        "/apis/apps/v1".into(),
        "/version".into(),
        "/healthz".into(),
        "/openapi/v3".into(),
    ] {
        let bare = raw::get(&plane.client, &path).await;
        let slash = raw::get(&plane.client, &format!("{path}/")).await;
        assert_eq!(bare.status, 200, "{path}");
        assert_eq!(
            (slash.status, &slash.body),
            (bare.status, &bare.body),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_root_says_which_paths_there_are() {
    let plane = ControlPlane::start().await;
    let root = raw::get(&plane.client, "/").await;
    let paths = root.body["paths"].as_array().unwrap();
    for path in [
        "/api",
        "/api/v1",
        "/apis",
        "/apis/apps",
        "/apis/apps/v1",
        "/version",
    ] {
        assert!(paths.contains(&json!(path)), "{path}: {paths:?}");
    }
    for path in paths {
        let got = raw::get(&plane.client, path.as_str().unwrap()).await;
        assert_eq!(got.status, 200, "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let plane = ControlPlane::start().await;
    raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", "a")).await;
    for path in [
        format!("{MAPS}/a"),
        format!("{MAPS}/none"),
        MAPS.to_owned(),
        "/version".into(),
        "/apis".into(),
    ] {
        let get = raw::get(&plane.client, &path).await;
        let head = raw::send(&plane.client, "HEAD", &path, "", "").await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.body, json!(""), "{path}");
        for name in ["content-type", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
        let length: usize = head.header("content-length").parse().unwrap();
        assert!(length > 10, "{path}");
    }
}

#[tokio::test]
async fn people_get_indentation() {
    let plane = ControlPlane::start().await;
    raw::json(&plane.client, "POST", MAPS, &sample("ConfigMap", "a")).await;
    for (path, agent, pretty) in [
        (format!("{MAPS}/a"), "kubectl", false),
        (format!("{MAPS}/a?pretty=true"), "kubectl", true),
        (format!("{MAPS}?pretty=1"), "kubectl", true),
        (format!("{MAPS}/none?pretty=true"), "kubectl", true),
        ("/version?pretty=true".into(), "kubectl", true),
        (format!("{MAPS}/a"), "curl/8.0", true),
        (format!("{MAPS}/a?pretty=false"), "curl/8.0", false),
        (
            format!("{MAPS}?watch=true&timeoutSeconds=1&pretty=true"),
            "curl/8.0",
            false,
        ),
    ] {
        let request = http::Request::get(&path)
            .header("user-agent", agent)
            .body(kube::client::Body::empty())
            .unwrap();
        let answer = plane.client.send(request).await.unwrap();
        let bytes = answer.into_body().collect_bytes().await.unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(
            serde_json::from_str::<serde_json::Value>(text).is_ok(),
            "{text}"
        );
        assert_eq!(
            text.starts_with("{\n  \""),
            pretty,
            "{path} {agent}: {text}"
        );
    }
}

#[tokio::test]
async fn a_request_takes_no_longer_than_its_client_waits() {
    let plane = ControlPlane::start().await;
    for (timeout, code) in [
        ("32s", 200),
        ("1h", 200),
        ("0s", 200),
        ("", 200),
        ("soon", 400),
        ("32", 400),
        ("-5s", 400),
    ] {
        let got = raw::get(&plane.client, &format!("{MAPS}?timeout={timeout}")).await;
        assert_eq!(got.status, code, "{timeout}: {got:?}");
    }
    // What it waits for would take seconds.
    let path = format!("{MAPS}?resourceVersion=99999999&timeout=50ms");
    let got = raw::get(&plane.client, &path).await;
    assert_eq!(got.outcome(), (504, "Timeout"), "{got:?}");
    assert!(
        got.message().contains("did not complete within 50ms"),
        "{got:?}"
    );
}

#[tokio::test]
async fn objects_and_bodies_have_their_sizes() {
    let plane = ControlPlane::start().await;
    let object = |name: &str, bytes: usize| {
        let mut object = sample("ConfigMap", name);
        // Of many keys, since one value may not be that long.
        let data = (0..bytes / 1000).map(|i| (format!("k{i}"), json!("x".repeat(1000))));
        object["data"] = json!(data.collect::<serde_json::Map<_, _>>());
        object
    };
    let mut annotated = sample("ConfigMap", "notes");
    annotated["metadata"]["annotations"] = json!({ "note": "x".repeat(300 << 10) });
    for (body, code, says) in [
        (object("fits", 900 << 10), 201, ""),
        (object("large", 1200 << 10), 422, "Too long"),
        (
            object("body", 4 << 20),
            413,
            "Request entity too large: limit is 3145728",
        ),
        (annotated, 422, "metadata.annotations: Too long"),
    ] {
        let name = body["metadata"]["name"].clone();
        let got = raw::json(&plane.client, "POST", MAPS, &body).await;
        assert_eq!(got.status, code, "{name}: {:?}", got.message());
        assert!(got.message().contains(says), "{name}: {:?}", got.message());
    }
    // A pod may have as many containers as it likes, until it is too large to keep.
    let mut pod = sample("Pod", "wide");
    let container =
        |i: usize| json!({ "name": format!("c{i}"), "image": "x:v1", "args": ["y".repeat(1000)] });
    pod["spec"]["containers"] = (0..1600).map(container).collect();
    let pods = "/api/v1/namespaces/default/pods";
    let got = raw::json(&plane.client, "POST", pods, &pod).await;
    assert_eq!(
        got.outcome(),
        (413, "RequestEntityTooLarge"),
        "{:?}",
        got.message()
    );
}
