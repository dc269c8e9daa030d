//! Nobody gets through a door that no role opens.

use euston_tests::control_plane::ControlPlane;
use kube::Client;
use serde_json::Value;

use crate::raw;

/// Every path that discovery lists, with its verbs.
async fn endpoints(client: &Client) -> Vec<(String, Vec<String>)> {
    let document = async |path: &str| raw::send(client, "GET", path, "", "").await.body;
    let mut versions = vec!["/api/v1".to_owned()];
    for group in document("/apis").await["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            versions.push(format!(
                "/apis/{}",
                version["groupVersion"].as_str().unwrap()
            ));
        }
    }
    let mut endpoints = Vec::new();
    for version in versions {
        for resource in document(&version).await["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let place = if resource["namespaced"] == true {
                "/namespaces/default"
            } else {
                ""
            };
            let path = match name.split_once('/') {
                Some((resource, sub)) => format!("{version}{place}/{resource}/x/{sub}"),
                None => format!("{version}{place}/{name}"),
            };
            let verbs = resource["verbs"].as_array().unwrap().iter();
            let verbs = verbs.map(|v| v.as_str().unwrap().to_owned()).collect();
            endpoints.push((path, verbs));
        }
    }
    endpoints
}

/// The request that a verb is, on a resource (or subresource) at `path`.
fn request(verb: &str, path: &str, of_object: bool) -> (&'static str, String) {
    let one = if of_object {
        path.to_owned()
    } else {
        format!("{path}/x")
    };
    match verb {
        "create" => ("POST", path.to_owned()),
        "list" => ("GET", path.to_owned()),
        "watch" => ("GET", format!("{path}?watch=true")),
        "deletecollection" => ("DELETE", path.to_owned()),
        "get" => ("GET", one),
        "update" => ("PUT", one),
        "patch" => ("PATCH", one),
        "delete" => ("DELETE", one),
        other => panic!("a verb that this test does not know: {other}"),
    }
}

#[tokio::test]
async fn an_unauthorised_identity_is_refused_on_every_endpoint_with_every_verb() {
    let plane = ControlPlane::start().await;
    let jane = plane.api.client("jane", &["people"]);
    let nobody = plane.api.client("", &[]);
    // A name that a node has is nothing without the group that the CA signs for.
    let pretender = plane.api.client("system:node:n", &[]);
    let mut asked = 0;
    // Everybody who is known may ask these about themselves.
    let open = [
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
    ];
    for (path, verbs) in endpoints(&plane.client).await {
        let of_object = path.contains("/x/");
        for verb in &verbs {
            let (method, path) = request(verb, &path, of_object);
            let is_open = open.iter().any(|o| path.ends_with(o));
            for (client, name) in [
                (&jane, "jane"),
                (&nobody, "system:anonymous"),
                (&pretender, "system:node:n"),
            ] {
                if is_open && name != "system:anonymous" {
                    continue;
                }
                let answer = raw::send(client, method, &path, "application/json", "{}").await;
                assert_eq!(answer.status, 403, "{name} {method} {path}: {answer:?}");
                assert_eq!(answer.reason(), "Forbidden");
                let sentence = format!("User {name:?} cannot {verb} resource");
                assert!(answer.message().contains(&sentence), "{answer:?}");
                asked += 1;
            }
        }
    }
    assert!(asked > 300, "{asked}");
}

#[tokio::test]
async fn paths_beside_the_resources_have_their_own_doors() {
    let plane = ControlPlane::start().await;
    let jane = plane.api.client("jane", &[]);
    let nobody = plane.api.client("", &[]);
    let check = async |client: &Client, method: &str, path: &str, expect: u16| {
        let answer = raw::send(client, method, path, "", "").await;
        assert_eq!(
            answer.status.as_u16(),
            expect,
            "{method} {path}: {answer:?}"
        );
    };
    for path in ["/healthz", "/livez", "/readyz", "/version", "/version/"] {
        check(&nobody, "GET", path, 200).await;
        check(&jane, "GET", path, 200).await;
        check(&nobody, "POST", path, 403).await;
    }
    for path in ["/api", "/apis", "/apis/apps/v1", "/openapi/v3", "/api/v1"] {
        check(&nobody, "GET", path, 403).await;
        check(&jane, "GET", path, 200).await;
        check(&jane, "DELETE", path, 403).await;
    }
    for path in [
        "/",
        "/metrics",
        "/v2/",
        "/v2/x/manifests/v1",
        "/debug/pprof",
        "/x",
    ] {
        check(&nobody, "GET", path, 403).await;
        check(&jane, "GET", path, 403).await;
        check(&jane, "PUT", path, 403).await;
    }
    // What does not exist is nobody's business either.
    check(&jane, "GET", "/api/v1/unicorns", 403).await;
    check(&plane.client, "GET", "/api/v1/unicorns", 404).await;
    check(&plane.client, "GET", "/metrics", 404).await;
    let node = plane.api.client("system:node:n", &["system:nodes"]);
    check(&node, "GET", "/v2/", 200).await;
    check(&node, "POST", "/v2/x/blobs/uploads/", 403).await;
    let answer = raw::send(&jane, "GET", "/metrics", "", "").await;
    let expect = "forbidden: User \"jane\" cannot get path \"/metrics\"";
    assert_eq!(answer.message(), expect);
    assert_eq!(
        answer.body["details"],
        Value::Object(serde_json::Map::new())
    );
}
