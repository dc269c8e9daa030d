//! The garbage collector over every kind that is served: what an owner's deletion does to
//! what it owns, whatever the kinds are.

use euston_tests::control_plane::ControlPlane;
use euston_tests::samples::sample;
use euston_tests::wait::until;
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, PropagationPolicy,
};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::every_kind::{api, every_kind, object};
use crate::raw;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An API server with the controllers beside it.
struct Plane {
    plane: ControlPlane,
    _stop: DropGuard,
}

impl Plane {
    async fn start() -> Self {
        let plane = ControlPlane::start().await;
        let stop = CancellationToken::new();
        let (client, options) = (plane.client.clone(), euston_controllers::Options::default());
        tokio::spawn(euston_controllers::run(client, options, stop.clone()));
        Plane {
            plane,
            _stop: stop.drop_guard(),
        }
    }

    async fn map(&self, namespace: &str, name: &str, extra: Value) -> Value {
        let mut object = sample("ConfigMap", name);
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let made = raw::json(&self.plane.client, "POST", &path, &object).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body
    }

    async fn delete(&self, path: &str, policy: &str) {
        let options = json!({ "propagationPolicy": policy });
        let got = raw::json(&self.plane.client, "DELETE", path, &options).await;
        assert_eq!(got.status, 200, "{path}: {got:?}");
    }

    async fn gone(&self, path: &str) {
        until(&format!("{path} is gone"), || async {
            let got = raw::get(&self.plane.client, path).await;
            if got.status == 404 {
                Ok(())
            } else {
                Err(got.body["metadata"].to_string())
            }
        })
        .await;
    }
}

fn owner(of: &Value, blocks: bool) -> Value {
    json!({ "ownerReferences": [{
        "apiVersion": of["apiVersion"], "kind": of["kind"], "name": of["metadata"]["name"],
        "uid": of["metadata"]["uid"], "blockOwnerDeletion": blocks,
    }] })
}

/// What can be owned and is deleted by nothing else.
async fn ownable(plane: &Plane) -> Vec<(ApiResource, bool)> {
    let mut kinds = every_kind(&plane.plane.client).await;
    kinds.retain(|(resource, namespaced)| {
        *namespaced && resource.kind != "Event" && resource.group != "events.k8s.io"
    });
    kinds
}

async fn dependent(
    plane: &Plane,
    (resource, namespaced): &(ApiResource, bool),
    name: &str,
    owner: &Value,
    finalizers: &[&str],
) -> Api<DynamicObject> {
    let api = api(&plane.plane.client, resource, *namespaced);
    let mut made = object(resource, name);
    let owners = self::owner(owner, true)["ownerReferences"].clone();
    made.metadata.owner_references = serde_json::from_value(owners).unwrap();
    made.metadata.finalizers = Some(finalizers.iter().map(|&f| f.to_owned()).collect());
    if resource.kind == "Deployment" {
        // Its own controller is not the matter here.
        made.data["spec"]["paused"] = json!(true);
    }
    api.create(&PostParams::default(), &made)
        .await
        .unwrap_or_else(|e| panic!("{}: {e}", resource.kind));
    api
}

#[tokio::test]
async fn what_lost_its_owner_goes_whatever_its_kind() {
    let plane = Plane::start().await;
    let root = plane.map("default", "root", json!({})).await;
    let mut apis = Vec::new();
    for kind in ownable(&plane).await {
        apis.push((
            kind.0.kind.clone(),
            dependent(&plane, &kind, "owned", &root, &[]).await,
        ));
    }
    plane.delete(&format!("{MAPS}/root"), "Background").await;
    for (kind, api) in apis {
        until(&format!("the {kind} is gone"), || async {
            match api.get_opt("owned").await.unwrap() {
                None => Ok(()),
                Some(left) => Err(format!("{:?}", left.metadata)),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn orphans_stay_and_forget_their_owner_whatever_their_kind() {
    let plane = Plane::start().await;
    let root = plane.map("default", "root", json!({})).await;
    let mut apis = Vec::new();
    for kind in ownable(&plane).await {
        apis.push((
            kind.0.kind.clone(),
            dependent(&plane, &kind, "owned", &root, &[]).await,
        ));
    }
    plane.delete(&format!("{MAPS}/root"), "Orphan").await;
    plane.gone(&format!("{MAPS}/root")).await;
    for (kind, api) in apis {
        let left = api
            .get("owned")
            .await
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(left.owner_references().is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn a_foreground_deletion_waits_for_dependents_of_every_kind() {
    let plane = Plane::start().await;
    let root = plane.map("default", "root", json!({})).await;
    let mut apis = Vec::new();
    for kind in ownable(&plane).await {
        let api = dependent(&plane, &kind, "owned", &root, &["example.com/hold"]).await;
        apis.push((kind.0.kind.clone(), api));
    }
    let path = format!("{MAPS}/root");
    plane.delete(&path, "Foreground").await;
    for (kind, api) in &apis {
        until(&format!("the {kind} is being deleted"), || async {
            let left = api.get("owned").await.unwrap();
            left.metadata
                .deletion_timestamp
                .map(|_| ())
                .ok_or_else(|| "not yet".to_owned())
        })
        .await;
    }
    // One is still there: so is the owner.
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    let (last, others) = apis.split_last().unwrap();
    for (_, api) in others {
        // A pod may still have its grace.
        api.patch("owned", &PatchParams::default(), &free)
            .await
            .unwrap();
    }
    let owner = raw::get(&plane.plane.client, &path).await;
    assert_eq!(
        owner.body["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    last.1
        .patch("owned", &PatchParams::default(), &free)
        .await
        .unwrap();
    plane.gone(&path).await;
}

#[tokio::test]
async fn an_owner_is_meant_by_its_uid_and_looked_for_in_ones_own_namespace() {
    let plane = Plane::start().await;
    let client = plane.plane.client.clone();
    let namespace = sample("Namespace", "other");
    raw::json(&client, "POST", "/api/v1/namespaces", &namespace).await;
    let root = plane.map("default", "root", json!({})).await;
    let mut stranger = root.clone();
    stranger["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    let both = {
        let mut both = owner(&root, true);
        let absent = owner(&stranger, true)["ownerReferences"][0].clone();
        both["ownerReferences"].as_array_mut().unwrap().push(absent);
        both
    };
    plane.map("default", "of-both", both).await;
    plane
        .map("default", "of-a-stranger", owner(&stranger, true))
        .await;
    plane.map("other", "across", owner(&root, true)).await;
    plane.map("default", "right", owner(&root, true)).await;
    plane.gone(&format!("{MAPS}/of-a-stranger")).await;
    plane
        .gone("/api/v1/namespaces/other/configmaps/across")
        .await;
    // Its absence elsewhere says nothing about here.
    for name in ["right", "of-both"] {
        until(&format!("{name} keeps its one real owner"), || async {
            let got = raw::get(&client, &format!("{MAPS}/{name}")).await;
            let owners = &got.body["metadata"]["ownerReferences"];
            let count = owners.as_array().map(Vec::len);
            if count == Some(1) {
                Ok(())
            } else {
                Err(format!("{got:?}"))
            }
        })
        .await;
    }
    until("the reference across namespaces is reported", || async {
        let events = raw::get(&client, "/api/v1/namespaces/other/events").await;
        let text = events.body.to_string();
        if text.contains("OwnerRefInvalidNamespace") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test]
async fn owners_of_one_another_go_in_the_foreground_too() {
    let plane = Plane::start().await;
    let client = plane.plane.client.clone();
    let a = plane.map("default", "a", json!({})).await;
    let b = plane.map("default", "b", owner(&a, true)).await;
    let circle = json!({ "metadata": owner(&b, true) });
    let path = format!("{MAPS}/a");
    let done = raw::json(&client, "PATCH", &path, &circle).await;
    assert_eq!(done.status, 200, "{done:?}");
    plane.delete(&path, "Foreground").await;
    plane.gone(&path).await;
    plane.gone(&format!("{MAPS}/b")).await;
}

#[tokio::test]
async fn a_dependents_own_finalizer_says_how_it_goes() {
    let plane = Plane::start().await;
    let client = plane.plane.client.clone();
    let root = plane.map("default", "root", json!({})).await;
    let mut middle = owner(&root, true);
    middle["finalizers"] = json!(["orphan"]);
    let middle = plane.map("default", "middle", middle).await;
    plane.map("default", "leaf", owner(&middle, true)).await;
    plane.delete(&format!("{MAPS}/root"), "Background").await;
    plane.gone(&format!("{MAPS}/middle")).await;
    let leaf = raw::get(&client, &format!("{MAPS}/leaf")).await;
    assert_eq!(leaf.status, 200);
    assert!(
        leaf.body["metadata"]["ownerReferences"].is_null(),
        "{leaf:?}"
    );
}

#[tokio::test]
async fn a_chain_goes_from_its_end_in_the_foreground() {
    let plane = Plane::start().await;
    let a = plane.map("default", "a", json!({})).await;
    let b = plane.map("default", "b", owner(&a, true)).await;
    let mut held = owner(&b, true);
    held["finalizers"] = json!(["example.com/hold"]);
    plane.map("default", "c", held).await;
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::namespaced(plane.plane.client.clone(), "default");
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    maps.delete("a", &foreground).await.unwrap();
    until("the deletion reaches the end of the chain", || async {
        let c = maps.get("c").await.unwrap();
        c.metadata
            .deletion_timestamp
            .map(|_| ())
            .ok_or_else(|| "not yet".to_owned())
    })
    .await;
    for name in ["a", "b"] {
        let meta = maps.get(name).await.unwrap().metadata;
        assert_eq!(
            meta.finalizers,
            Some(vec!["foregroundDeletion".to_owned()]),
            "{name}"
        );
    }
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("c", &PatchParams::default(), &free)
        .await
        .unwrap();
    plane.gone(&format!("{MAPS}/a")).await;
}
