//! The life of a CustomResourceDefinition and of its objects, as a stock client sees it.

use std::pin::pin;

use euston_tests::control_plane::ControlPlane;
use euston_tests::wait::until;
use futures::TryStreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::raw::{Answer, send, send_accepting};

const SHIRTS: &str = "/apis/stable.example.com/v1/namespaces/default/shirts";

/// A definition with about all that one may have.
fn shirts() -> Value {
    let schema = json!({ "type": "object", "required": ["spec"], "properties": {
        "spec": {
            "type": "object", "required": ["color"],
            "x-kubernetes-validations": [
                { "rule": "self.replicas <= self.most", "message": "too many shirts", "fieldPath": ".replicas" },
                { "rule": "self.color == oldSelf.color || self.color != 'black'", "message": "black is forever not to be" },
            ],
            "properties": {
                "color": { "type": "string", "description": "What it looks like.", "enum": ["red", "blue", "black"] },
                "size": { "type": "string", "default": "M" },
                "replicas": { "type": "integer", "minimum": 0, "default": 1 },
                "most": { "type": "integer", "default": 5 },
                "tags": { "type": "array", "x-kubernetes-list-type": "set", "items": { "type": "string" } },
            },
        },
        "status": { "type": "object", "properties": {
            "replicas": { "type": "integer" }, "selector": { "type": "string" },
            "conditions": { "type": "array", "items": { "type": "object", "properties": { "type": { "type": "string" }, "status": { "type": "string" } } } },
        } },
    } });
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage,
            "schema": { "openAPIV3Schema": schema },
            "subresources": {
                "status": {},
                "scale": { "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector" },
            },
            "selectableFields": [{ "jsonPath": ".spec.color" }],
            "additionalPrinterColumns": [
                { "name": "Color", "type": "string", "jsonPath": ".spec.color" },
                { "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status" },
                { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
            ],
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "shirts.stable.example.com" },
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": { "plural": "shirts", "kind": "Shirt", "shortNames": ["shi"], "categories": ["all"] },
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    })
}

fn definitions(client: &Client) -> Api<CustomResourceDefinition> {
    Api::all(client.clone())
}

/// Creates a definition and waits until its objects are served.
async fn define(client: &Client, definition: Value) {
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let spec = &definition.spec;
    let path = format!(
        "/apis/{}/{}/{}",
        spec.group, spec.versions[0].name, spec.names.plural
    );
    definitions(client)
        .create(&PostParams::default(), &definition)
        .await
        .unwrap();
    until("the objects are served", || async {
        let answer = get(client, &path).await;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(answer.message().to_owned())
        }
    })
    .await;
}

async fn get(client: &Client, path: &str) -> Answer {
    send(client, "GET", path, "application/json", "").await
}

async fn post(client: &Client, path: &str, object: &Value) -> Answer {
    send(client, "POST", path, "application/json", object.to_string()).await
}

async fn patch(client: &Client, path: &str, of: &str, body: &Value) -> Answer {
    let of = format!("application/{of}+json");
    send(client, "PATCH", path, &of, body.to_string()).await
}

fn shirt(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "stable.example.com/v1", "kind": "Shirt", "metadata": { "name": name }, "spec": spec })
}

#[tokio::test]
async fn objects_are_pruned_defaulted_and_validated() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    define(client, shirts()).await;

    let made = post(
        client,
        SHIRTS,
        &shirt("a", json!({ "color": "red", "sleeves": 2 })),
    )
    .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        made.body["spec"],
        json!({ "color": "red", "size": "M", "replicas": 1, "most": 5 })
    );
    assert_eq!(made.body["metadata"]["generation"], 1);

    let strict = format!("{SHIRTS}?fieldValidation=Strict");
    let refused = post(
        client,
        &strict,
        &shirt("b", json!({ "color": "red", "sleeves": 2 })),
    )
    .await;
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .message()
            .contains("strict decoding error: unknown field \"spec.sleeves\""),
        "{refused:?}"
    );

    for (spec, expect) in [
        (json!({}), "spec.color: Required value"),
        (
            json!({ "color": "pink" }),
            "spec.color: Unsupported value: \"pink\": supported values: \"red\", \"blue\", \"black\"",
        ),
        (
            json!({ "color": "red", "replicas": -1 }),
            "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        ),
        (
            json!({ "color": "red", "replicas": 9 }),
            "spec.replicas: Invalid value: \"object\": too many shirts",
        ),
        (
            json!({ "color": "red", "tags": ["x", "x"] }),
            "spec.tags[1]: Duplicate value: \"x\"",
        ),
    ] {
        let refused = post(client, SHIRTS, &shirt("b", spec)).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.message().contains(expect), "{refused:?}");
    }

    let path = format!("{SHIRTS}/a");
    let merged = patch(
        client,
        &path,
        "merge-patch",
        &json!({ "spec": { "color": "blue" } }),
    )
    .await;
    assert_eq!(merged.body["metadata"]["generation"], 2, "{merged:?}");
    let body = json!([{ "op": "replace", "path": "/spec/color", "value": "black" }]);
    let refused = patch(client, &path, "json-patch", &body).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.message().contains("black is forever not to be"));
    let refused = patch(client, &path, "strategic-merge-patch", &json!({})).await;
    assert_eq!(refused.status, 415);
}

#[tokio::test]
async fn status_and_scale_are_written_apart() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    define(client, shirts()).await;
    let path = format!("{SHIRTS}/a");
    let mut made = shirt("a", json!({ "color": "red" }));
    made["status"] = json!({ "replicas": 9 });
    let made = post(client, SHIRTS, &made).await;
    assert_eq!(made.body.get("status"), None, "{made:?}");

    let body =
        json!({ "spec": { "color": "blue" }, "status": { "replicas": 1, "selector": "app=a" } });
    let status = patch(client, &format!("{path}/status"), "merge-patch", &body).await;
    assert_eq!(status.body["spec"]["color"], "red", "{status:?}");
    assert_eq!(status.body["status"]["replicas"], 1);
    assert_eq!(status.body["metadata"]["generation"], 1);
    let main = patch(client, &path, "merge-patch", &json!({ "status": null })).await;
    assert_eq!(main.body["status"]["replicas"], 1, "{main:?}");

    let scale = get(client, &format!("{path}/scale")).await;
    assert_eq!(scale.body["kind"], "Scale");
    assert_eq!(scale.body["spec"]["replicas"], 1);
    assert_eq!(
        scale.body["status"],
        json!({ "replicas": 1, "selector": "app=a" })
    );
    let body = json!({ "spec": { "replicas": 3 } });
    let scaled = patch(client, &format!("{path}/scale"), "merge-patch", &body).await;
    assert_eq!(scaled.body["spec"]["replicas"], 3, "{scaled:?}");
    let object = get(client, &path).await;
    assert_eq!(object.body["spec"]["replicas"], 3);
    assert_eq!(object.body["metadata"]["generation"], 2);
    let body = json!({ "spec": { "replicas": 7 } });
    let refused = patch(client, &format!("{path}/scale"), "merge-patch", &body).await;
    assert_eq!(refused.status, 422, "{refused:?}");
}

#[tokio::test]
async fn objects_are_shown_selected_and_watched_in_every_version() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    define(client, shirts()).await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        post(client, SHIRTS, &shirt(name, json!({ "color": color }))).await;
    }
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let shown = send_accepting(client, "GET", SHIRTS, "application/json", table, "").await;
    let columns: Vec<&str> = (shown.body["columnDefinitions"].as_array().unwrap().iter())
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Name", "Color", "Ready", "Age"]);
    let cells = &shown.body["rows"][0]["cells"];
    assert_eq!(
        (&cells[0], &cells[1], &cells[2]),
        (&json!("a"), &json!("red"), &Value::Null)
    );

    let beta = SHIRTS.replace("/v1/", "/v1beta1/");
    let found = get(client, &format!("{beta}?fieldSelector=spec.color%3Dblue")).await;
    assert_eq!(found.body["kind"], "ShirtList", "{found:?}");
    assert_eq!(found.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        found.body["items"][0]["apiVersion"],
        "stable.example.com/v1beta1"
    );
    let refused = get(client, &format!("{beta}?fieldSelector=spec.size%3DM")).await;
    assert_eq!(refused.message(), "field label not supported: spec.size");

    let gvk = GroupVersionKind::gvk("stable.example.com", "v1beta1", "Shirt");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "shirts");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let params = WatchParams::default().fields("spec.color=red");
    let mut events = pin!(api.watch(&params, "0").await.unwrap());
    let mut next = async || events.try_next().await.unwrap().unwrap();
    let WatchEvent::Added(first) = next().await else {
        panic!("no event")
    };
    assert_eq!(first.name_any(), "a");
    // By the other version.
    let body = json!({ "spec": { "color": "red" } });
    patch(client, &format!("{SHIRTS}/b"), "merge-patch", &body).await;
    let WatchEvent::Added(second) = next().await else {
        panic!("no event")
    };
    assert_eq!(
        second.types.unwrap().api_version,
        "stable.example.com/v1beta1"
    );
    send(
        client,
        "DELETE",
        &format!("{SHIRTS}/b"),
        "application/json",
        "",
    )
    .await;
    assert!(matches!(next().await, WatchEvent::Deleted(gone) if gone.name_any() == "b"));
}

#[tokio::test]
async fn a_definition_that_goes_takes_its_objects_along() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    define(client, shirts()).await;
    let mut held = shirt("held", json!({ "color": "red" }));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    post(client, SHIRTS, &held).await;
    post(client, SHIRTS, &shirt("free", json!({ "color": "red" }))).await;

    let name = "shirts.stable.example.com";
    definitions(client)
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    until("the free object is gone", || async {
        let answer = get(client, &format!("{SHIRTS}/free")).await;
        if answer.status == 404 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
    let definition = definitions(client).get(name).await.unwrap();
    let conditions = definition.status.unwrap().conditions.unwrap();
    let told = |of: &str| conditions.iter().find(|c| c.type_ == of).unwrap().clone();
    assert_eq!(
        told("Terminating").reason.as_deref(),
        Some("InstanceDeletionInProgress")
    );
    assert_eq!(told("Established").status, "True");
    let refused = post(client, SHIRTS, &shirt("late", json!({ "color": "red" }))).await;
    assert_eq!(refused.status, 405, "{refused:?}");
    assert!(
        refused
            .message()
            .contains("create not allowed while custom resource definition is terminating")
    );

    let body = json!({ "metadata": { "finalizers": null } });
    patch(client, &format!("{SHIRTS}/held"), "merge-patch", &body).await;
    until("the definition is gone", || async {
        match definitions(client).get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(left) => Err(format!("{:?}", left.status)),
        }
    })
    .await;
    until("nothing is served", || async {
        let answer = get(client, SHIRTS).await;
        if answer.status == 404 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
    define(client, shirts()).await;
    assert_eq!(get(client, SHIRTS).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_changed_definition_is_served_with_the_objects_that_are_there() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    define(client, shirts()).await;
    post(client, SHIRTS, &shirt("a", json!({ "color": "red" }))).await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/shirts.stable.example.com";
    let fabric = json!({ "type": "string", "default": "wool" });
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/fabric";
    let body = json!([{ "op": "add", "path": at, "value": fabric }]);
    let changed = patch(client, path, "json-patch", &body).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    until("the default is read", || async {
        let answer = get(client, &format!("{SHIRTS}/a")).await;
        match answer.body["spec"]["fabric"].as_str() {
            Some("wool") => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    let body = json!([
        { "op": "replace", "path": "/spec/versions/0/storage", "value": false },
        { "op": "replace", "path": "/spec/versions/1/storage", "value": true },
    ]);
    let changed = patch(client, path, "json-patch", &body).await;
    assert_eq!(
        changed.body["status"]["storedVersions"],
        json!(["v1", "v1beta1"]),
        "{changed:?}"
    );
    let read = get(client, &format!("{SHIRTS}/a")).await;
    assert_eq!(read.body["apiVersion"], "stable.example.com/v1");
}

#[tokio::test]
async fn of_two_definitions_that_want_a_name_the_first_keeps_it() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    define(client, shirts()).await;
    let mut second = shirts();
    second["metadata"]["name"] = "jerseys.stable.example.com".into();
    second["spec"]["names"] = json!({ "plural": "jerseys", "kind": "Shirt" });
    let second: CustomResourceDefinition = serde_json::from_value(second).unwrap();
    definitions(client)
        .create(&PostParams::default(), &second)
        .await
        .unwrap();
    let conditions = until("the names are judged", || async {
        let found = definitions(client)
            .get("jerseys.stable.example.com")
            .await
            .unwrap();
        let conditions = found.status.and_then(|s| s.conditions).unwrap_or_default();
        if conditions.is_empty() {
            Err("no conditions".to_owned())
        } else {
            Ok(conditions)
        }
    })
    .await;
    let told: Vec<(&str, &str)> = conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str()))
        .collect();
    assert_eq!(told, [("NamesAccepted", "False"), ("Established", "False")]);
    let jerseys = SHIRTS.replace("shirts", "jerseys");
    assert_eq!(get(client, &jerseys).await.status, 404);
    definitions(client)
        .delete("shirts.stable.example.com", &DeleteParams::default())
        .await
        .unwrap();
    until("the second is served", || async {
        let answer = get(client, &jerseys).await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn discovery_and_openapi_tell_of_custom_kinds_and_forget_them() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let index = async || get(client, "/openapi/v3").await.body["paths"].clone();
    let before = index().await;
    define(client, shirts()).await;
    let after = index().await;
    assert_eq!(before["api/v1"], after["api/v1"]);
    let url = after["apis/stable.example.com/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let document = get(client, &url).await.body;
    let schema = &document["components"]["schemas"]["com.example.stable.v1.Shirt"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["color"]["description"], "What it looks like.",
        "{document}"
    );
    let item =
        &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/shirts/{name}"];
    let parameters = item["patch"]["parameters"].as_array().unwrap();
    for wanted in ["fieldValidation", "dryRun"] {
        assert!(parameters.iter().any(|p| p["name"] == wanted), "{wanted}");
    }
    let v2 = get(client, "/openapi/v2").await.body;
    let in_v2 = &v2["definitions"]["com.example.stable.v1.Shirt"];
    assert_eq!(in_v2["properties"]["spec"]["type"], "object");

    let group = get(client, "/apis/stable.example.com").await.body;
    assert_eq!(group["preferredVersion"]["version"], "v1", "{group}");
    let list = get(client, "/apis/stable.example.com/v1").await.body;
    let names: Vec<&str> = (list["resources"].as_array().unwrap().iter())
        .map(|r| r["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["shirts", "shirts/status", "shirts/scale"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["shi"]));

    let name = "shirts.stable.example.com";
    let patch = Patch::Json::<()>(
        serde_json::from_value(
            json!([{ "op": "replace", "path": "/spec/versions/1/served", "value": false }]),
        )
        .unwrap(),
    );
    definitions(client)
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    until("the version is no longer told of", || async {
        match index().await.get("apis/stable.example.com/v1beta1") {
            None => Ok(()),
            Some(left) => Err(left.to_string()),
        }
    })
    .await;
    definitions(client)
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    until("the group is no longer told of", || async {
        let answer = get(client, "/apis/stable.example.com").await;
        if answer.status == 404 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
    assert_eq!(index().await, before);
}

#[tokio::test]
async fn a_version_that_only_a_webhook_could_convert_says_so() {
    let plane = ControlPlane::start().await;
    let client = &plane.client;
    let mut definition = shirts();
    definition["spec"]["conversion"] = json!({ "strategy": "Webhook", "webhook": {
        "clientConfig": { "url": "https://127.0.0.1:1" }, "conversionReviewVersions": ["v1"],
    } });
    define(client, definition).await;
    let made = post(client, SHIRTS, &shirt("a", json!({ "color": "red" }))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let refused = get(client, &SHIRTS.replace("/v1/", "/v1beta1/")).await;
    assert_eq!(refused.status, 500);
    assert!(
        refused
            .message()
            .contains("conversion webhook for stable.example.com/v1beta1, Kind=Shirt failed"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_unsound_definition_is_refused_with_everything_that_is_wrong() {
    let plane = ControlPlane::start().await;
    let mut definition = shirts();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["color"]["type"] = "colour".into();
    schema["properties"]["spec"]["x-kubernetes-validations"][0]["rule"] = "self.replicas <".into();
    definition["spec"]["scope"] = "Everywhere".into();
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let refused = post(&plane.client, path, &definition).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let fields = refused.fields();
    assert!(fields.contains(&"spec.scope"), "{fields:?}");
    assert!(
        fields
            .iter()
            .any(|f| f.ends_with("properties[spec].properties[color].type")),
        "{fields:?}"
    );
}
