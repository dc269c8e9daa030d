//! Rules as they are given, taken away, asked about and passed on.

use euston_tests::control_plane::ControlPlane;
use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::{RBAC, binding, get, made, post, role, rule};
use crate::raw;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn a_right_is_there_with_its_binding_and_gone_with_it() {
    let plane = ControlPlane::start().await;
    let jane = plane.api.client("jane", &[]);
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    made(&plane, &roles, role("reader", &["get,list - pods"])).await;
    // Over and over: a decision made from yesterday's rules would show.
    for _ in 0..20 {
        assert_eq!(get(&jane, PODS).await, 403);
        made(&plane, &bindings, binding("b", "Role/reader", "jane")).await;
        assert_eq!(get(&jane, PODS).await, 200);
        assert_eq!(get(&jane, "/api/v1/namespaces/kube-system/pods").await, 403);
        assert_eq!(get(&jane, "/api/v1/pods").await, 403);
        let path = format!("{bindings}/b");
        let gone = raw::send(&plane.client, "DELETE", &path, "", "").await;
        assert_eq!(gone.status, 200, "{gone:?}");
    }
    made(&plane, &bindings, binding("b", "Role/reader", "jane")).await;
    let path = format!("{roles}/reader");
    let mut changed = role("reader", &["get,list - services"]);
    let replaced = async |role: &Value| {
        let kind = "application/json";
        raw::send(&plane.client, "PUT", &path, kind, role.to_string()).await
    };
    assert_eq!(replaced(&changed).await.status, 200);
    assert_eq!(get(&jane, PODS).await, 403);
    changed["rules"][0]["resourceNames"] = json!(["one"]);
    assert_eq!(replaced(&changed).await.status, 200);
    let services = "/api/v1/namespaces/default/services";
    assert_eq!(get(&jane, services).await, 403);
    assert_eq!(get(&jane, &format!("{services}/one")).await, 404);
    assert_eq!(get(&jane, &format!("{services}/two")).await, 403);
    // A list of one object is that object's.
    let one = format!("{services}?fieldSelector=metadata.name%3Done");
    assert_eq!(get(&jane, &one).await, 200);
    let two = format!("{services}?fieldSelector=metadata.name%3Dtwo");
    assert_eq!(get(&jane, &two).await, 403);
}

#[tokio::test]
async fn default_roles_open_what_they_should() {
    let plane = ControlPlane::start().await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    for role in ["view", "edit", "admin"] {
        let name = format!("ClusterRole/{role}");
        made(&plane, &bindings, binding(role, &name, role)).await;
    }
    made(
        &plane,
        &format!("{RBAC}/clusterrolebindings"),
        binding("root", "ClusterRole/cluster-admin", "root"),
    )
    .await;
    let check = async |user: &str, path: &str, expect: u16| {
        let client = plane.api.client(user, &[]);
        assert_eq!(get(&client, path).await, expect, "{user} {path}");
    };
    for user in ["view", "edit", "admin", "root"] {
        check(user, PODS, 200).await;
        check(user, "/api/v1/namespaces/default", 200).await;
        let elsewhere = if user == "root" { 200 } else { 403 };
        check(user, "/api/v1/namespaces/kube-system", elsewhere).await;
        check(user, "/api/v1/namespaces", elsewhere).await;
        check(user, "/api/v1/nodes", elsewhere).await;
        let secrets = if user == "view" { 403 } else { 200 };
        check(user, "/api/v1/namespaces/default/secrets", secrets).await;
        let roles = if matches!(user, "admin" | "root") {
            200
        } else {
            403
        };
        check(user, &format!("{RBAC}/namespaces/default/roles"), roles).await;
    }
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let plane = ControlPlane::start().await;
    let cluster = |plural: &str| format!("{RBAC}/{plural}");
    let local = |plural: &str| format!("{RBAC}/namespaces/default/{plural}");
    let manage = "get,list,create,update,patch,delete rbac.authorization.k8s.io roles,rolebindings";
    let own = ["get,list - pods", manage];
    made(&plane, &local("roles"), role("manager", &own)).await;
    made(
        &plane,
        &local("rolebindings"),
        binding("m", "Role/manager", "jane"),
    )
    .await;
    made(&plane, &local("roles"), role("secrets", &["get - secrets"])).await;
    let jane = plane.api.client("jane", &["people"]);
    let check = async |path: String, body: Value, expect: Result<(), &str>| {
        let answer = post(&jane, &path, &body).await;
        match expect {
            Ok(()) => assert_eq!(answer.status, 201, "{body}: {answer:?}"),
            Err(message) => {
                assert_eq!(answer.status, 403, "{body}: {answer:?}");
                assert_eq!(answer.message(), message);
            }
        }
    };
    check(local("roles"), role("one", &["get - pods"]), Ok(())).await;
    check(
        local("roles"),
        role("two", &["get,delete - pods"]),
        Err(
            "roles.rbac.authorization.k8s.io \"two\" is forbidden: user \"jane\" (groups=[\"people\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}",
        ),
    )
    .await;
    check(
        local("rolebindings"),
        binding("one", "Role/one", "tom"),
        Ok(()),
    )
    .await;
    check(
        local("rolebindings"),
        binding("two", "Role/secrets", "tom"),
        Err(
            "rolebindings.rbac.authorization.k8s.io \"two\" is forbidden: user \"jane\" (groups=[\"people\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}",
        ),
    )
    .await;
    let missing = post(
        &jane,
        &local("rolebindings"),
        &binding("x", "Role/x", "tom"),
    )
    .await;
    assert_eq!(missing.status, 404, "{missing:?}");
    // A change counts as well, and what changes no right does not.
    let path = format!("{}/one", local("roles"));
    let patch = async |path: &str, patch: Value| {
        let kind = "application/merge-patch+json";
        let answer = raw::send(&jane, "PATCH", path, kind, patch.to_string()).await;
        answer.status.as_u16()
    };
    assert_eq!(patch(&path, json!({ "rules": [rule("* - *")] })).await, 403);
    assert_eq!(
        patch(&path, json!({ "metadata": { "labels": { "a": "b" } } })).await,
        200
    );
    let others = format!("{}/secrets", local("roles"));
    assert_eq!(
        patch(&others, json!({ "metadata": { "labels": { "a": "b" } } })).await,
        200
    );
    // With `bind` and `escalate`, who may not themselves may give.
    let mut verbs = role("grants", &["escalate rbac.authorization.k8s.io roles"]);
    let mut bind = rule("bind rbac.authorization.k8s.io roles");
    bind["resourceNames"] = json!(["secrets"]);
    verbs["rules"].as_array_mut().unwrap().push(bind);
    made(&plane, &local("roles"), verbs).await;
    made(
        &plane,
        &local("rolebindings"),
        binding("g", "Role/grants", "jane"),
    )
    .await;
    check(
        local("rolebindings"),
        binding("two", "Role/secrets", "tom"),
        Ok(()),
    )
    .await;
    check(local("roles"), role("two", &["get,delete - pods"]), Ok(())).await;
    // The cluster's are out of reach altogether.
    let answer = post(&jane, &cluster("clusterroles"), &role("c", &["get - pods"])).await;
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[tokio::test]
async fn questions_are_answered_and_not_kept() {
    let plane = ControlPlane::start().await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    made(&plane, &bindings, binding("v", "ClusterRole/view", "jane")).await;
    let jane = plane.api.client("jane", &["people"]);
    let ask = async |client: &Client, kind: &str, body: Value| {
        let path = format!("/apis/authorization.k8s.io/v1/{kind}");
        post(client, &path, &body).await
    };
    let about = |verb: &str, resource: &str, namespace: &str| json!({ "verb": verb, "resource": resource, "namespace": namespace });
    let check = async |verb: &str, resource: &str, namespace: &str, expect: bool| {
        let spec = json!({ "resourceAttributes": about(verb, resource, namespace) });
        let mine = ask(&jane, "selfsubjectaccessreviews", json!({ "spec": spec })).await;
        assert_eq!(mine.status, 201, "{mine:?}");
        assert_eq!(mine.body["status"]["allowed"], expect, "{mine:?}");
        let mut spec = spec.clone();
        spec["user"] = json!("jane");
        let hers = ask(
            &plane.client,
            "subjectaccessreviews",
            json!({ "spec": spec }),
        )
        .await;
        assert_eq!(hers.body["status"]["allowed"], expect, "{hers:?}");
        let reason =
            "RBAC: allowed by RoleBinding \"v/default\" of ClusterRole \"view\" to User \"jane\"";
        let reason = if expect { json!(reason) } else { Value::Null };
        assert_eq!(hers.body["status"]["reason"], reason);
    };
    check("get", "pods", "default", true).await;
    check("delete", "pods", "default", false).await;
    check("get", "pods", "", false).await;
    check("get", "secrets", "default", false).await;

    let path = json!({ "spec": { "nonResourceAttributes": { "verb": "get", "path": "/api" } } });
    let answer = ask(&jane, "selfsubjectaccessreviews", path).await;
    assert_eq!(answer.body["status"]["allowed"], true);
    let nothing = ask(&jane, "selfsubjectaccessreviews", json!({ "spec": {} })).await;
    assert_eq!(nothing.status, 422, "{nothing:?}");
    // About others only who may ask.
    let spec = json!({ "spec": { "user": "tom", "resourceAttributes": about("get", "pods", "") } });
    assert_eq!(ask(&jane, "subjectaccessreviews", spec).await.status, 403);
    let spec = json!({ "spec": { "user": "jane", "resourceAttributes": about("get", "pods", "default") } });
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let answer = post(&plane.client, local, &spec).await;
    assert_eq!(answer.body["status"]["allowed"], true, "{answer:?}");

    let rules = ask(
        &jane,
        "selfsubjectrulesreviews",
        json!({ "spec": { "namespace": "default" } }),
    )
    .await;
    let listed = rules.body["status"]["resourceRules"].as_array().unwrap();
    let pods = |rule: &&Value| {
        rule["resources"]
            .as_array()
            .unwrap()
            .contains(&json!("pods"))
    };
    assert!(listed.iter().any(|rule| pods(&rule)), "{rules:?}");
    assert_eq!(rules.body["status"]["incomplete"], false);

    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = post(&jane, whoami, &json!({})).await;
    assert_eq!(
        answer.body["status"]["userInfo"],
        json!({ "username": "jane", "groups": ["people", "system:authenticated"] })
    );
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(get(&plane.client, path).await, 405);
}

async fn as_other(client: &Client, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn whoever_may_asks_as_somebody_else() {
    let plane = ControlPlane::start().await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    made(&plane, &bindings, binding("v", "ClusterRole/view", "jane")).await;
    let mut users = rule("impersonate - users");
    users["resourceNames"] = json!(["jane"]);
    let rules = json!([
        users,
        rule("impersonate authentication.k8s.io userextras/scopes")
    ]);
    let role = json!({ "metadata": { "name": "actor" }, "rules": rules });
    made(&plane, &format!("{RBAC}/clusterroles"), role).await;
    let actors = binding("a", "ClusterRole/actor", "tom");
    made(&plane, &format!("{RBAC}/clusterrolebindings"), actors).await;
    let tom = plane.api.client("tom", &[]);
    let check = async |client: &Client, headers: &[(&str, &str)], expect: u16, says: &str| {
        let (status, body) = as_other(client, PODS, headers).await;
        assert_eq!(status, expect, "{headers:?}: {body}");
        assert!(body.contains(says), "{headers:?}: {body}");
    };
    let jane = ("Impersonate-User", "jane");
    check(&tom, &[], 403, "tom").await;
    check(&tom, &[jane], 200, "PodList").await;
    check(
        &tom,
        &[("Impersonate-User", "root")],
        403,
        "cannot impersonate resource \\\"users\\\"",
    )
    .await;
    let masters = ("Impersonate-Group", "system:masters");
    check(
        &tom,
        &[jane, masters],
        403,
        "groups \\\"system:masters\\\" is forbidden",
    )
    .await;
    check(
        &tom,
        &[jane, ("Impersonate-Uid", "1")],
        403,
        "uids.authentication.k8s.io",
    )
    .await;
    check(
        &tom,
        &[jane, ("Impersonate-Extra-Scopes", "x")],
        200,
        "PodList",
    )
    .await;
    check(
        &tom,
        &[jane, ("Impersonate-Extra-Other", "x")],
        403,
        "userextras/other",
    )
    .await;
    check(&tom, &[masters], 400, "Impersonate-User").await;
    check(&tom, &[("Impersonate-Group", "")], 400, "Impersonate-User").await;
    // An administrator may be anybody, and then has that one's rights only.
    check(&plane.client, &[jane], 200, "PodList").await;
    check(
        &plane.client,
        &[("Impersonate-User", "eve")],
        403,
        "User \\\"eve\\\" cannot",
    )
    .await;
    let robot = ("Impersonate-User", "system:serviceaccount:default:robot");
    check(
        &plane.client,
        &[robot],
        403,
        "system:serviceaccount:default:robot",
    )
    .await;
    check(
        &tom,
        &[robot],
        403,
        "serviceaccounts \\\"robot\\\" is forbidden",
    )
    .await;
    let anonymous = ("Impersonate-User", "system:anonymous");
    check(&plane.client, &[anonymous], 403, "system:anonymous").await;
}
