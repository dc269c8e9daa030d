//! Server-side apply: who owns what, what conflicts, what goes.

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use kube::Client;
use serde_json::{Value, json};

use crate::every_kind;
use crate::raw::{self, Answer};

const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Sends an apply as `manager`.
async fn apply(client: &Client, path: &str, manager: &str, config: &Value) -> Answer {
    let path = format!("{path}?fieldManager={manager}");
    raw::send(client, "PATCH", &path, APPLY, config.to_string()).await
}

async fn force(client: &Client, path: &str, manager: &str, config: &Value) -> Answer {
    let path = format!("{path}?fieldManager={manager}&force=true");
    raw::send(client, "PATCH", &path, APPLY, config.to_string()).await
}

async fn read(client: &Client, path: &str) -> Value {
    let answer = raw::send(client, "GET", path, "application/json", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[track_caller]
fn ok(answer: &Answer) {
    assert!(answer.status.is_success(), "{answer:?}");
}

/// The fieldsV1 of an entry; `Value::Null` if there is none.
fn owned(object: &Value, manager: &str, operation: &str, subresource: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array();
    let entry = entries.into_iter().flatten().find(|e| {
        e["manager"] == manager
            && e["operation"] == operation
            && e["subresource"].as_str().unwrap_or_default() == subresource
    });
    entry.map_or(Value::Null, |e| e["fieldsV1"].clone())
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn web(replicas: Option<i64>) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "hello:v1", "ports": [{"containerPort": 80}]}]},
        },
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    deployment(spec)
}

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

#[tokio::test]
async fn an_apply_creates_conflicts_is_forced_and_takes_away() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let created = apply(client, WEB, "alice", &web(Some(2))).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(
        owned(&created.body, "alice", "Apply", ""),
        json!({"f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {
                    ".": {}, "f:name": {}, "f:image": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }}},
            },
        }})
    );
    assert_eq!(
        created.body["spec"]["strategy"]["type"], "RollingUpdate",
        "defaults are in"
    );

    let again = apply(client, WEB, "alice", &web(Some(2))).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.body, created.body, "applying the same is no write");

    let conflict = apply(client, WEB, "bob", &web(Some(5))).await;
    assert_eq!(
        (conflict.status.as_u16(), conflict.reason()),
        (409, "Conflict"),
        "{conflict:?}"
    );
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "alice": .spec.replicas"#
    );
    assert_eq!(
        conflict.body["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": r#"conflict with "alice""#, "field": ".spec.replicas"}])
    );
    assert_eq!(
        read(client, WEB).await,
        created.body,
        "a conflict changes nothing"
    );

    let forced = force(client, WEB, "bob", &web(Some(5))).await;
    ok(&forced);
    assert_eq!(forced.body["spec"]["replicas"], 5);
    assert_eq!(
        owned(&forced.body, "alice", "Apply", "")["f:spec"]["f:replicas"],
        Value::Null
    );
    assert_eq!(
        owned(&forced.body, "bob", "Apply", "")["f:spec"]["f:replicas"],
        json!({})
    );
    assert_eq!(forced.body["metadata"]["generation"], 2);

    // Shared: each of the two may leave, the last one takes it along.
    let mut labelled = web(None);
    labelled["metadata"]["labels"] = json!({"shared": "1"});
    ok(&apply(client, WEB, "alice", &labelled).await);
    let mut both = web(Some(5));
    both["metadata"]["labels"] = json!({"shared": "1"});
    ok(&apply(client, WEB, "bob", &both).await);
    let left = apply(client, WEB, "alice", &web(None)).await;
    assert_eq!(
        left.body["metadata"]["labels"],
        json!({"shared": "1"}),
        "{left:?}"
    );
    let gone = apply(client, WEB, "bob", &web(Some(5))).await;
    assert_eq!(gone.body["metadata"]["labels"], Value::Null, "{gone:?}");
}

#[tokio::test]
async fn what_is_no_apply_is_refused_in_kubernetes_words() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let config = web(Some(1));
    let check = async |path: &str, body: String, code: u16, says: &str| {
        let answer = raw::send(client, "PATCH", path, APPLY, body.clone()).await;
        assert_eq!(answer.status, code, "{path} {body}: {answer:?}");
        assert!(answer.message().contains(says), "{path} {body}: {answer:?}");
    };
    let with = |path: &[&str], value: Value| {
        let mut config = config.clone();
        *path.iter().fold(&mut config, |at, name| &mut at[*name]) = value;
        config.to_string()
    };
    let me = format!("{WEB}?fieldManager=me");
    check(WEB, config.to_string(), 422, r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#).await;
    check(
        &format!("{WEB}?fieldManager={}", "x".repeat(129)),
        config.to_string(),
        422,
        "fieldManager: Too long",
    )
    .await;
    check(
        &format!("{WEB}?fieldManager=a%0Ab"),
        config.to_string(),
        422,
        "should only contain printable characters",
    )
    .await;
    check(&me, "{".into(), 400, "").await;
    check(&me, "a: &a [*a".into(), 400, "").await;
    check(&me, "[]".into(), 400, "").await;
    check(&me, with(&["apiVersion"], json!("v1")), 400, "").await;
    check(&me, with(&["apiVersion"], Value::Null), 400, "").await;
    check(&me, with(&["kind"], json!("Pod")), 400, "").await;
    check(
        &me,
        with(&["metadata", "name"], json!("other")),
        400,
        "does not match the name on the URL",
    )
    .await;
    check(
        &me,
        with(&["metadata", "namespace"], json!("other")),
        400,
        "namespace",
    )
    .await;
    check(
        &me,
        with(&["metadata", "managedFields"], json!([{"manager": "x"}])),
        400,
        "metadata.managedFields must be nil",
    )
    .await;
    check(
        &me,
        with(&["metadata", "managedFields"], json!([])),
        400,
        "metadata.managedFields must be nil",
    )
    .await;
    check(
        &me,
        with(&["metadata", "uid"], json!("u-1")),
        409,
        "uid mismatch",
    )
    .await;
    check(
        &me,
        with(&["metadata", "resourceVersion"], json!("7")),
        400,
        "resourceVersion should not be set",
    )
    .await;
    check(
        &me,
        with(&["spec", "replicas"], json!("two")),
        400,
        "spec.replicas",
    )
    .await;
    check(
        &me,
        with(&["spec", "replicas"], json!(-1)),
        422,
        "spec.replicas",
    )
    .await;
    check(
        &me,
        with(&["spec", "replica"], json!(1)),
        400,
        ".spec.replica: field not declared in schema",
    )
    .await;
    check(
        &format!("{me}&fieldValidation=Strict"),
        with(&["spec", "replica"], json!(1)),
        400,
        r#"strict decoding error: unknown field "spec.replica""#,
    )
    .await;
    check(
        &format!("{me}&fieldValidation=Strict"),
        config
            .to_string()
            .replace("\"replicas\":1", "\"replicas\":1,\"replicas\":2"),
        400,
        "duplicate field",
    )
    .await;
    let twice = json!([{"name": "a", "image": "x:v1"}, {"name": "a", "image": "y:v1"}]);
    check(&me, with(&["spec", "template", "spec", "containers"], twice), 400, r#"failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name="a"]"#).await;
    let missing = raw::send(client, "GET", WEB, "application/json", "").await;
    assert_eq!(missing.status, 404, "nothing of that created it");

    let cbor = raw::send(client, "PATCH", &me, "application/apply-patch+cbor", "x").await;
    assert_eq!(cbor.status, 415, "{cbor:?}");
    ok(&apply(client, WEB, "me", &config).await);
    let merge = raw::send(
        client,
        "PATCH",
        &format!("{WEB}?force=true"),
        MERGE_PATCH,
        "{}",
    )
    .await;
    assert_eq!(merge.status, 422, "{merge:?}");
    assert!(
        merge
            .message()
            .contains("force: Forbidden: may not be specified for non-apply patch"),
        "{merge:?}"
    );
    check(
        &me,
        with(&["metadata", "resourceVersion"], json!("1")),
        409,
        "the object has been modified",
    )
    .await;
    check(
        &me,
        with(&["metadata", "uid"], json!("u-1")),
        409,
        "UID in precondition",
    )
    .await;
    let mut versioned = config.clone();
    versioned["metadata"]["resourceVersion"] =
        read(client, WEB).await["metadata"]["resourceVersion"].clone();
    ok(&apply(client, WEB, "me", &versioned).await);
}

#[tokio::test]
async fn yaml_and_dry_runs_are_applied() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let path = "/api/v1/namespaces/default/configmaps/a";
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n";
    let dry = format!("{path}?fieldManager=me&dryRun=All");
    let answer = raw::send(client, "PATCH", &dry, APPLY, yaml).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["data"]["k"]),
        (201, &json!("v")),
        "{answer:?}"
    );
    let none = raw::send(client, "GET", path, "application/json", "").await;
    assert_eq!(none.status, 404);
    let answer = raw::send(
        client,
        "PATCH",
        &format!("{path}?fieldManager=me"),
        APPLY,
        yaml,
    )
    .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let other = yaml.replace("k: v", "k: w");
    let answer = raw::send(client, "PATCH", &dry, APPLY, other.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["data"]["k"]),
        (200, &json!("w")),
        "{answer:?}"
    );
    assert_eq!(read(client, path).await["data"]["k"], "v");
    let conflict = raw::send(client, "PATCH", &dry.replace("=me", "=you"), APPLY, other).await;
    assert_eq!(conflict.status, 409, "{conflict:?}");
}

#[tokio::test]
async fn every_kind_is_applied_and_owned() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    for (resource, namespaced) in every_kind::every_kind(client).await {
        let kind = &resource.kind;
        let mut config = sample(kind, "one");
        let name = config["metadata"]["name"].as_str().unwrap().to_owned();
        let path = every_kind::path(&resource, namespaced, &name);
        config["metadata"]["labels"] = json!({"a": "1"});
        let created = apply(client, &path, "alice", &config).await;
        assert_eq!(created.status, 201, "{kind}: {created:?}");
        let mine = owned(&created.body, "alice", "Apply", "");
        assert_eq!(
            mine["f:metadata"],
            json!({"f:labels": {"f:a": {}}}),
            "{kind}"
        );
        let before = read(client, &path).await;
        let again = apply(client, &path, "alice", &config).await;
        // Unless the kind's controller wrote its status meanwhile.
        if again.body["status"] == before["status"] {
            assert_eq!(again.body, before, "{kind}: applying the same is no write");
        }
        // Everything that was applied is owned, and shared by whoever applies it, too.
        let shared = apply(client, &path, "bob", &config).await;
        ok(&shared);
        assert_eq!(owned(&shared.body, "bob", "Apply", ""), mine, "{kind}");
        let merge = json!({"metadata": {"labels": {"a": "2", "b": "1"}}});
        let patch = format!("{path}?fieldManager=carol");
        let patched = raw::send(client, "PATCH", &patch, MERGE_PATCH, merge.to_string()).await;
        ok(&patched);
        assert_eq!(
            owned(&patched.body, "carol", "Update", ""),
            json!({"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}}),
            "{kind}"
        );
        let left = owned(&patched.body, "alice", "Apply", "");
        assert_eq!(left["f:metadata"], Value::Null, "{kind}");
        let conflict = apply(client, &path, "alice", &config).await;
        assert_eq!(
            conflict.message(),
            format!(
                r#"Apply failed with 1 conflict: conflict with "carol" using {}: .metadata.labels.a"#,
                resource.api_version
            ),
            "{kind}"
        );
        config["metadata"]["labels"] = json!({});
        ok(&apply(client, &path, "alice", &config).await);
        let now = read(client, &path).await;
        let labels = &now["metadata"]["labels"];
        assert_eq!(
            (&labels["a"], &labels["b"]),
            (&json!("2"), &json!("1")),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn ordinary_writes_own_what_they_change() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let collection = "/apis/apps/v1/namespaces/default/deployments?fieldManager=creator";
    let created = raw::send(
        client,
        "POST",
        collection,
        "application/json",
        web(Some(1)).to_string(),
    )
    .await;
    assert_eq!(created.status, 201, "{created:?}");
    let mine = owned(&created.body, "creator", "Update", "");
    assert_eq!(mine["f:spec"]["f:replicas"], json!({}), "{mine}");
    assert_eq!(
        mine["f:spec"]["f:strategy"]["f:type"],
        json!({}),
        "defaults are the creator's: {mine}"
    );
    let container =
        &mine["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"];
    assert_eq!(container["f:image"], json!({}), "{mine}");
    assert_eq!(
        (&mine["f:status"], &mine["f:metadata"]),
        (&Value::Null, &Value::Null),
        "{mine}"
    );

    // Without a name, the user agent's.
    let request = http::Request::patch(WEB)
        .header("content-type", MERGE_PATCH)
        .header("user-agent", "painter/v1.2 (linux)")
        .body(kube::client::Body::from(
            br#"{"metadata":{"annotations":{"colour":"red"}}}"#.to_vec(),
        ));
    let painted = client.send(request.unwrap()).await.unwrap();
    assert_eq!(painted.status(), 200);
    let now = read(client, WEB).await;
    let annotations = json!({"f:metadata": {"f:annotations": {".": {}, "f:colour": {}}}});
    assert_eq!(owned(&now, "painter", "Update", ""), annotations);

    // Through a subresource the entry says so.
    let status = format!("{WEB}/status?fieldManager=controller");
    let body =
        json!({"status": {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]}});
    ok(&raw::send(client, "PATCH", &status, MERGE_PATCH, body.to_string()).await);
    let scale = format!("{WEB}/scale?fieldManager=scaler");
    ok(&raw::send(
        client,
        "PATCH",
        &scale,
        MERGE_PATCH,
        r#"{"spec":{"replicas":4}}"#,
    )
    .await);
    let now = read(client, WEB).await;
    assert_eq!(
        owned(&now, "scaler", "Update", "scale"),
        json!({"f:spec": {"f:replicas": {}}})
    );
    let conditions =
        json!({".": {}, "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}});
    let of_controller = owned(&now, "controller", "Update", "status");
    assert_eq!(
        of_controller["f:status"]["f:conditions"], conditions,
        "{of_controller}"
    );
    assert_eq!(
        owned(&now, "creator", "Update", "")["f:spec"]["f:replicas"],
        Value::Null
    );
    let conflict = apply(client, WEB, "alice", &web(Some(1))).await;
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas"#
    );

    // A write that changes nothing is none, with the owners that it read or without.
    let version = now["metadata"]["resourceVersion"].clone();
    for body in [now.clone(), {
        let mut bare = now.clone();
        bare["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
        bare
    }] {
        let put = format!("{WEB}?fieldManager=late");
        let same = raw::send(client, "PUT", &put, "application/json", body.to_string()).await;
        assert_eq!(
            same.body["metadata"]["resourceVersion"], version,
            "{same:?}"
        );
        assert_eq!(same.body, now);
    }
    let nothing = raw::send(
        client,
        "PATCH",
        WEB,
        MERGE_PATCH,
        r#"{"spec":{"replicas":4}}"#,
    )
    .await;
    assert_eq!(nothing.body, now);
}

#[tokio::test]
async fn status_and_scale_are_applied_apart_from_the_object() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let status = format!("{WEB}/status");
    let scale = format!("{WEB}/scale");
    let mut with_status = web(Some(1));
    with_status["status"] = json!({"replicas": 9});
    let missing = apply(client, &status, "c", &with_status).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    ok(&apply(client, WEB, "alice", &with_status).await);
    let now = read(client, WEB).await;
    assert_eq!(now["status"]["replicas"].as_i64().unwrap_or(0), 0, "{now}");
    assert_eq!(owned(&now, "alice", "Apply", "")["f:status"], Value::Null);

    let mut other = with_status.clone();
    other["spec"]["replicas"] = json!(7);
    let applied = apply(client, &status, "controller", &other).await;
    ok(&applied);
    assert_eq!(
        (
            &applied.body["status"]["replicas"],
            &applied.body["spec"]["replicas"]
        ),
        (&json!(9), &json!(1))
    );
    assert_eq!(
        owned(&applied.body, "controller", "Apply", "status"),
        json!({"f:status": {"f:replicas": {}}})
    );
    other["status"]["replicas"] = json!(8);
    let conflict = apply(client, &status, "thief", &other).await;
    assert_eq!(
        conflict.message(),
        r#"Apply failed with 1 conflict: conflict with "controller" with subresource "status": .status.replicas"#
    );

    let wanted = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
    let conflict = apply(client, &scale, "scaler", &wanted(3)).await;
    assert_eq!(conflict.fields(), [".spec.replicas"], "{conflict:?}");
    let scaled = force(client, &scale, "scaler", &wanted(3)).await;
    ok(&scaled);
    assert_eq!(
        (&scaled.body["kind"], &scaled.body["spec"]["replicas"]),
        (&json!("Scale"), &json!(3))
    );
    let now = read(client, WEB).await;
    assert_eq!(
        owned(&now, "scaler", "Apply", "scale"),
        json!({"f:spec": {"f:replicas": {}}})
    );
    let negative = force(client, &scale, "scaler", &wanted(-1)).await;
    assert_eq!(negative.status, 422, "{negative:?}");
    let wrong = force(client, &scale, "scaler", &web(Some(1))).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
}

#[tokio::test]
async fn clients_may_rewrite_and_reset_the_owners() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let path = "/api/v1/namespaces/default/configmaps/a";
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let fresh = async || {
        raw::send(client, "DELETE", path, "application/json", "").await;
        ok(&apply(client, path, "alice", &config).await);
    };
    for (kind, body) in [
        (MERGE_PATCH, json!({"metadata": {"managedFields": []}})),
        (MERGE_PATCH, json!({"metadata": {"managedFields": [{}]}})),
        (
            JSON_PATCH,
            json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]),
        ),
        (
            "application/strategic-merge-patch+json",
            json!({"metadata": {"managedFields": [{}]}}),
        ),
    ] {
        fresh().await;
        let reset = raw::send(client, "PATCH", path, kind, body.to_string()).await;
        ok(&reset);
        assert_eq!(
            reset.body["metadata"]["managedFields"],
            Value::Null,
            "{kind} {body}: {reset:?}"
        );
        let mut other = config.clone();
        other["data"]["k"] = json!("w");
        let conflict = apply(client, path, "alice", &other).await;
        assert_eq!(
            conflict.message(),
            r#"Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.k"#,
            "{kind} {body}"
        );
    }
    // Null and nonsense leave them alone.
    fresh().await;
    let before = read(client, path).await;
    for body in [
        json!({"metadata": {"managedFields": null}}),
        json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Apply", "fieldsType": "FieldsV9", "fieldsV1": {"f:a": {}}}]}}),
        json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Apply", "fieldsV1": {"a": {}}}]}}),
    ] {
        let same = raw::send(client, "PATCH", path, MERGE_PATCH, body.to_string()).await;
        assert_eq!(same.body, before, "{body}");
    }
}

#[tokio::test]
async fn kubectl_s_way_from_client_side_to_server_side_apply_works() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let config = web(Some(2));
    let mut first = config.clone();
    first["metadata"]["annotations"] = json!({annotation: config.to_string()});
    let collection =
        "/apis/apps/v1/namespaces/default/deployments?fieldManager=kubectl-client-side-apply";
    ok(&raw::send(
        client,
        "POST",
        collection,
        "application/json",
        first.to_string(),
    )
    .await);

    // What the same person said before is no conflict, to kubectl alone.
    let other = apply(client, WEB, "argocd", &web(Some(3))).await;
    assert_eq!(other.fields(), [".spec.replicas"], "{other:?}");
    let applied = apply(client, WEB, "kubectl", &web(Some(3))).await;
    ok(&applied);
    let kept = applied.body["metadata"]["annotations"][annotation]
        .as_str()
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(kept).unwrap()["spec"]["replicas"],
        3
    );

    // Then kubectl gives what the old manager owned to the new one, by a JSON patch.
    let entries = applied.body["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .clone();
    let mut migrated: Vec<Value> = entries
        .iter()
        .filter(|e| e["manager"] != "kubectl-client-side-apply")
        .cloned()
        .collect();
    assert_eq!(migrated.len(), 1, "{entries:?}");
    migrated[0]["fieldsV1"]["f:spec"]["f:revisionHistoryLimit"] = json!({});
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": migrated},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": applied.body["metadata"]["resourceVersion"]},
    ]);
    let path = format!("{WEB}?fieldManager=kubectl");
    let done = raw::send(client, "PATCH", &path, JSON_PATCH, patch.to_string()).await;
    ok(&done);
    assert_eq!(done.body["metadata"]["managedFields"], json!(migrated));
    assert_ne!(
        done.body["metadata"]["resourceVersion"],
        applied.body["metadata"]["resourceVersion"]
    );
    let stale = raw::send(client, "PATCH", &path, JSON_PATCH, patch.to_string()).await;
    assert_eq!(stale.status, 409, "{stale:?}");
}

#[tokio::test]
async fn many_writers_leave_few_entries_and_large_objects_are_refused() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let path = "/api/v1/namespaces/default/configmaps/a";
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    ok(&apply(client, path, "alice", &config).await);
    for n in 0..14 {
        let patch = json!({"data": {format!("k{n}"): "v"}});
        let path = format!("{path}?fieldManager=writer-{n}");
        ok(&raw::send(client, "PATCH", &path, MERGE_PATCH, patch.to_string()).await);
    }
    let now = read(client, path).await;
    let entries = now["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10, "{entries:?}");
    assert_ne!(owned(&now, "ancient-changes", "Update", ""), Value::Null);
    // Owners count: half the bound in keys is more than the bound with them.
    let mut large = config.clone();
    let keys = (0..30_000).map(|n| (format!("key-number-{n:018}"), Value::from("")));
    large["data"] = Value::Object(keys.collect());
    large["metadata"]["name"] = json!("large");
    assert!(large.to_string().len() < 1_200_000);
    let path = "/api/v1/namespaces/default/configmaps/large";
    let answer = apply(client, path, "alice", &large).await;
    assert_eq!(answer.status, 413, "{}", answer.message());
}

#[tokio::test]
async fn owners_survive_deletion_marks_and_are_shown_with_the_metadata() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let path = "/api/v1/namespaces/default/configmaps/a";
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["example.com/f"]}});
    let created = apply(client, path, "alice", &config).await;
    ok(&raw::send(client, "DELETE", path, "application/json", "").await);
    let marked = read(client, path).await;
    assert!(
        marked["metadata"]["deletionTimestamp"].is_string(),
        "{marked}"
    );
    assert_eq!(
        marked["metadata"]["managedFields"],
        created.body["metadata"]["managedFields"]
    );
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let metadata = raw::send_accepting(client, "GET", path, "application/json", accept, "").await;
    assert_eq!(metadata.body["metadata"], marked["metadata"]);
    let mut without = config.clone();
    without["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("finalizers");
    ok(&apply(client, path, "alice", &without).await);
    let gone = raw::send(client, "GET", path, "application/json", "").await;
    assert_eq!(gone.status, 404, "giving up the last finalizer ends it");
}
