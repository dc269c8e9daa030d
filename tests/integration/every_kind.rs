//! One suite over every kind that the server registers: what holds for one verb of
//! one kind must hold for all. A new kind needs a sample and nothing else.

use std::pin::pin;

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::{has_generated_names, object_name, sample};
use futures::{StreamExt, TryStreamExt};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::raw;

pub async fn every_kind(client: &Client) -> Vec<(ApiResource, bool)> {
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        if group.name() == "events.k8s.io" {
            continue; // shows the events of core/v1: see versions.rs
        }
        for (resource, capabilities) in group.recommended_resources() {
            // Questions are answered and not kept.
            if !capabilities.supports_operation(verbs::GET) {
                continue;
            }
            for verb in [
                verbs::CREATE,
                verbs::LIST,
                verbs::WATCH,
                verbs::PATCH,
                verbs::DELETE,
            ] {
                assert!(
                    capabilities.supports_operation(verb),
                    "{} {verb}",
                    resource.kind
                );
            }
            // A definition is written by the server as well, and goes when its objects are gone: what
            // follows here has `custom_resources.rs`.
            if resource.kind != "CustomResourceDefinition" {
                kinds.push((resource, capabilities.scope == Scope::Namespaced));
            }
        }
    }
    assert!(kinds.len() >= 30, "{kinds:?}");
    kinds
}

pub fn api(client: &Client, resource: &ApiResource, namespaced: bool) -> Api<DynamicObject> {
    if namespaced {
        Api::namespaced_with(client.clone(), "default", resource)
    } else {
        Api::all_with(client.clone(), resource)
    }
}

pub fn object(resource: &ApiResource, name: &str) -> DynamicObject {
    serde_json::from_value(sample(&resource.kind, name)).unwrap()
}

pub fn path(resource: &ApiResource, namespaced: bool, name: &str) -> String {
    let root = if resource.group.is_empty() {
        "/api/v1".to_owned()
    } else {
        format!("/apis/{}", resource.api_version)
    };
    let namespace = if namespaced {
        "/namespaces/default"
    } else {
        ""
    };
    let tail = if name.is_empty() {
        String::new()
    } else {
        format!("/{name}")
    };
    format!("{root}{namespace}/{}{tail}", resource.plural)
}

#[tokio::test]
async fn objects_are_created_read_listed_changed_and_deleted() {
    let plane = ControlPlane::start().await;
    for (resource, namespaced) in every_kind(&plane.client).await {
        let named = |name: &str| object_name(&resource.kind, name);
        let kind = &resource.kind;
        let api = api(&plane.client, &resource, namespaced);
        let created = api
            .create(&PostParams::default(), &object(&resource, "one"))
            .await;
        let created = created.unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(
            created.uid().is_some() && created.creation_timestamp().is_some(),
            "{kind}"
        );
        let version: u64 = created.resource_version().unwrap().parse().unwrap();

        let read = api.get(&named("one")).await.unwrap();
        assert_eq!(read, created, "{kind}: read as created");
        let listed = api.list(&ListParams::default()).await.unwrap();
        assert!(
            listed.iter().any(|o| o.name_any() == named("one")),
            "{kind}"
        );
        let list_version: u64 = listed.metadata.resource_version.unwrap().parse().unwrap();
        assert!(list_version >= version, "{kind}");

        let twice = api
            .create(&PostParams::default(), &object(&resource, "one"))
            .await;
        let kube::Error::Api(status) = twice.unwrap_err() else {
            panic!("{kind}")
        };
        assert_eq!(
            (status.code, status.reason.as_str()),
            (409, "AlreadyExists"),
            "{kind}"
        );

        let mut changed = read.clone();
        changed.labels_mut().insert("changed".into(), "yes".into());
        let changed = api
            .replace(&named("one"), &PostParams::default(), &changed)
            .await
            .unwrap();
        let changed_version: u64 = changed.resource_version().unwrap().parse().unwrap();
        assert!(changed_version > version, "{kind}");
        assert_eq!(changed.uid(), read.uid(), "{kind}");

        let stale = api
            .replace(&named("one"), &PostParams::default(), &read)
            .await;
        let kube::Error::Api(status) = stale.unwrap_err() else {
            panic!("{kind}")
        };
        assert_eq!(
            (status.code, status.reason.as_str()),
            (409, "Conflict"),
            "{kind}"
        );

        let same = api
            .replace(&named("one"), &PostParams::default(), &changed)
            .await
            .unwrap();
        assert_eq!(
            same.resource_version(),
            changed.resource_version(),
            "{kind}: no change, no write"
        );

        let deleted = api
            .delete(&named("one"), &DeleteParams::background().grace_period(0))
            .await;
        deleted.unwrap_or_else(|e| panic!("{kind}: {e}"));
        // A namespace stays until its controller has emptied it; none runs here.
        if kind != "Namespace" {
            let gone = api.get_opt(&named("one")).await.unwrap();
            assert!(gone.is_none(), "{kind}: {gone:?}");
        }
        let missing = api.delete(&named("none"), &DeleteParams::default()).await;
        let kube::Error::Api(status) = missing.unwrap_err() else {
            panic!("{kind}")
        };
        assert_eq!(
            (status.code, status.reason.as_str()),
            (404, "NotFound"),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn patches_of_all_types_apply_and_bad_ones_change_nothing() {
    let plane = ControlPlane::start().await;
    for (resource, namespaced) in every_kind(&plane.client).await {
        let named = |name: &str| object_name(&resource.kind, name);
        let kind = &resource.kind;
        let api = api(&plane.client, &resource, namespaced);
        api.create(&PostParams::default(), &object(&resource, "one"))
            .await
            .unwrap();
        let params = PatchParams::default();
        let label = |key: &str| json!({ "metadata": { "labels": { key: "yes" } } });

        let merged = api
            .patch(&named("one"), &params, &Patch::Merge(label("merge")))
            .await
            .unwrap();
        assert_eq!(merged.labels()["merge"], "yes", "{kind}");
        let strategic = api
            .patch(
                &named("one"),
                &params,
                &Patch::Strategic(label("strategic")),
            )
            .await;
        let strategic = strategic.unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert_eq!(strategic.labels()["merge"], "yes", "{kind}");
        assert_eq!(strategic.labels()["strategic"], "yes", "{kind}");

        let target = path(&resource, namespaced, &named("one"));
        let ops = json!([
            { "op": "test", "path": "/metadata/labels/merge", "value": "yes" },
            { "op": "replace", "path": "/metadata/labels/merge", "value": "no" },
        ]);
        let json_type = "application/json-patch+json";
        let good = raw::send(&plane.client, "PATCH", &target, json_type, ops.to_string()).await;
        assert_eq!(
            good.body["metadata"]["labels"]["merge"], "no",
            "{kind}: {good:?}"
        );
        let bad = raw::send(&plane.client, "PATCH", &target, json_type, ops.to_string()).await;
        assert_eq!(bad.status, 422, "{kind}: {bad:?}");

        let stale = json!({ "metadata": { "resourceVersion": "1", "labels": { "x": "y" } } });
        let merge_type = "application/merge-patch+json";
        let bad = raw::send(
            &plane.client,
            "PATCH",
            &target,
            merge_type,
            stale.to_string(),
        )
        .await;
        assert_eq!(
            (bad.status.as_u16(), bad.reason()),
            (409, "Conflict"),
            "{kind}: {bad:?}"
        );
        let bad = raw::send(&plane.client, "PATCH", &target, merge_type, "{").await;
        assert_eq!(
            (bad.status.as_u16(), bad.reason()),
            (400, "BadRequest"),
            "{kind}: {bad:?}"
        );
        let bad = raw::send(&plane.client, "PATCH", &target, "text/plain", "{}").await;
        assert_eq!(bad.status, 415, "{kind}: {bad:?}");
        let now = api.get(&named("one")).await.unwrap();
        assert_eq!(
            now.resource_version().as_deref(),
            good.body["metadata"]["resourceVersion"].as_str()
        );
    }
}

#[tokio::test]
async fn watches_see_every_change_once_and_in_order() {
    let plane = ControlPlane::start().await;
    for (resource, namespaced) in every_kind(&plane.client).await {
        let named = |name: &str| object_name(&resource.kind, name);
        let kind = resource.kind.clone();
        let api = api(&plane.client, &resource, namespaced);
        let from = api
            .list(&ListParams::default())
            .await
            .unwrap()
            .metadata
            .resource_version
            .unwrap();
        let params = WatchParams::default().labels("watched=yes").timeout(30);
        let mut stream = pin!(api.watch(&params, &from).await.unwrap().boxed());

        let mut wanted = object(&resource, "one");
        wanted.labels_mut().insert("watched".into(), "yes".into());
        api.create(&PostParams::default(), &wanted).await.unwrap();
        let mut unwanted = object(&resource, "two");
        unwanted.labels_mut().insert("watched".into(), "no".into());
        api.create(&PostParams::default(), &unwanted).await.unwrap();
        let set = |value: &str| {
            Patch::Merge(json!({ "metadata": { "labels": { "watched": value, "v": "1" } } }))
        };
        api.patch(&named("one"), &PatchParams::default(), &set("yes"))
            .await
            .unwrap();
        api.patch(&named("two"), &PatchParams::default(), &set("yes"))
            .await
            .unwrap();
        api.patch(&named("one"), &PatchParams::default(), &set("no"))
            .await
            .unwrap();

        let mut seen = Vec::new();
        while seen.len() < 4 {
            match stream
                .try_next()
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("{kind}: ended at {seen:?}"))
            {
                WatchEvent::Added(o) => seen.push(format!("+{}", o.name_any())),
                WatchEvent::Modified(o) => seen.push(format!("~{}", o.name_any())),
                WatchEvent::Deleted(o) => seen.push(format!("-{}", o.name_any())),
                other => panic!("{kind}: {other:?}"),
            }
        }
        let (one, two) = (named("one"), named("two"));
        let expected = [
            format!("+{one}"),
            format!("~{one}"),
            format!("+{two}"),
            format!("-{one}"),
        ];
        assert_eq!(seen, expected, "{kind}");
    }
}

#[tokio::test]
async fn dry_runs_and_generated_names_and_tables() {
    let plane = ControlPlane::start().await;
    for (resource, namespaced) in every_kind(&plane.client).await {
        let named = |name: &str| object_name(&resource.kind, name);
        let kind = &resource.kind;
        let api = api(&plane.client, &resource, namespaced);
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        api.create(&dry, &object(&resource, "dry"))
            .await
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(
            api.get_opt(&named("dry")).await.unwrap().is_none(),
            "{kind}"
        );

        if has_generated_names(kind) {
            let mut generated = object(&resource, "x");
            generated.metadata.name = None;
            generated.metadata.generate_name = Some("gen-".into());
            let made = api
                .create(&PostParams::default(), &generated)
                .await
                .unwrap();
            assert!(
                made.name_any().starts_with("gen-") && made.name_any().len() == 9,
                "{kind}"
            );
        }

        let collection = path(&resource, namespaced, "");
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        let table = raw::send_accepting(
            &plane.client,
            "GET",
            &collection,
            "application/json",
            accept,
            "",
        )
        .await;
        assert_eq!(table.body["kind"], "Table", "{kind}: {table:?}");
        let columns = table.body["columnDefinitions"].as_array().unwrap();
        for row in table.body["rows"].as_array().unwrap() {
            assert_eq!(
                row["cells"].as_array().unwrap().len(),
                columns.len(),
                "{kind}"
            );
            assert_eq!(row["object"]["kind"], "PartialObjectMetadata", "{kind}");
        }
    }
}

#[tokio::test]
async fn finalizers_hold_a_deletion_until_they_are_gone() {
    let plane = ControlPlane::start().await;
    for (resource, namespaced) in every_kind(&plane.client).await {
        let named = |name: &str| object_name(&resource.kind, name);
        let kind = &resource.kind;
        if kind == "Namespace" {
            continue; // has a finalizer of its own besides
        }
        let api = api(&plane.client, &resource, namespaced);
        let mut held = object(&resource, "held");
        held.metadata.finalizers = Some(vec!["example.com/hold".into()]);
        api.create(&PostParams::default(), &held).await.unwrap();
        api.delete(&named("held"), &DeleteParams::background().grace_period(0))
            .await
            .unwrap();
        let waiting = api.get(&named("held")).await.unwrap();
        assert!(waiting.metadata.deletion_timestamp.is_some(), "{kind}");
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        api.patch(&named("held"), &PatchParams::default(), &free)
            .await
            .unwrap();
        assert!(
            api.get_opt(&named("held")).await.unwrap().is_none(),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn empty_lists_and_maps_are_absent_and_no_change() {
    let plane = ControlPlane::start().await;
    let empty = json!({ "metadata": { "labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": [] } });
    for (resource, namespaced) in every_kind(&plane.client).await {
        let named = |name: &str| object_name(&resource.kind, name);
        let kind = &resource.kind;
        let api = api(&plane.client, &resource, namespaced);
        let mut made = object(&resource, "plain");
        made.metadata.labels = None;
        let made = api.create(&PostParams::default(), &made).await.unwrap();
        // Kinds that label their objects by themselves keep those labels: a merge adds nothing.
        let same = api
            .patch(
                &named("plain"),
                &PatchParams::default(),
                &Patch::Merge(&empty),
            )
            .await
            .unwrap();
        assert_eq!(same, made, "{kind}");
    }
    let mut deployment = sample("Deployment", "deep");
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({});
    deployment["spec"]["template"]["spec"]["tolerations"] = json!([]);
    deployment["spec"]["template"]["spec"]["volumes"] =
        json!([{ "name": "scratch", "emptyDir": {} }]);
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = deployment.to_string();
    let made = raw::send(&plane.client, "POST", path, "application/json", body).await;
    let spec = &made.body["spec"]["template"]["spec"];
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({}), "{made:?}");
    for field in ["nodeSelector", "tolerations"] {
        assert!(spec.get(field).is_none(), "{field}: {made:?}");
    }
    let path = format!("{path}/deep");
    let body = deployment.to_string();
    let same = raw::send(&plane.client, "PUT", &path, "application/json", body).await;
    assert_eq!(same.body, made.body);
}
