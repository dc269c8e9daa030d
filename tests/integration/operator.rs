//! An operator as others write them: `kube`'s Controller over a kind of its own, with children and a status.

use std::sync::Arc;
use std::time::Duration;

use euston_tests::control_plane::ControlPlane;
use euston_tests::wait::until;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde_json::json;

fn greetings() -> ApiResource {
    let gvk = GroupVersionKind::gvk("example.com", "v1", "Greeting");
    ApiResource::from_gvk_with_plural(&gvk, "greetings")
}

struct Context {
    client: Client,
}

/// Makes the ConfigMap that a greeting asks for, and says so in its status.
async fn reconcile(
    greeting: Arc<DynamicObject>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    let (name, namespace) = (greeting.name_any(), greeting.namespace().unwrap());
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let child = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "ownerReferences": [{
            "apiVersion": "example.com/v1", "kind": "Greeting", "name": name, "uid": greeting.uid().unwrap(), "controller": true,
        }] },
        "data": { "text": format!("hello {}", greeting.data["spec"]["who"].as_str().unwrap()) },
    });
    let child: ConfigMap = serde_json::from_value(child).unwrap();
    match maps.create(&PostParams::default(), &child).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let patch = Patch::Merge(json!({ "data": child.data }));
            maps.patch(&name, &PatchParams::default(), &patch).await?;
        }
        other => {
            other?;
        }
    }
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &namespace, &greetings());
    let status = json!({ "status": { "observedGeneration": greeting.metadata.generation } });
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(Action::await_change())
}

#[tokio::test]
async fn an_operator_sees_its_objects_and_its_children() {
    let plane = ControlPlane::start().await;
    let client = plane.client.clone();
    let definition = json!({
        "metadata": { "name": "greetings.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "greetings", "kind": "Greeting" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": { "who": { "type": "string" } } },
                    "status": { "type": "object", "properties": { "observedGeneration": { "type": "integer" } } },
                } } },
            }],
        },
    });
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &definition)
        .await
        .unwrap();
    let established = await_condition(
        definitions,
        "greetings.example.com",
        conditions::is_crd_established(),
    );
    tokio::time::timeout(euston_tests::wait::PATIENCE, established)
        .await
        .unwrap()
        .unwrap();

    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &greetings());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let controller = Controller::new_with(api.clone(), watcher::Config::default(), greetings())
        .owns(maps.clone(), watcher::Config::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_millis(50)),
            Arc::new(Context { client }),
        )
        .for_each(|_| async {});
    let controller = tokio::spawn(controller);

    let greeting = DynamicObject::new("a", &greetings()).data(json!({ "spec": { "who": "Kate" } }));
    until("the kind is served", || async {
        api.create(&PostParams::default(), &greeting)
            .await
            .map_err(|e| e.to_string())
    })
    .await;
    let text = async |expect: &str| {
        until(expect, || async {
            let map = maps.get_opt("a").await.unwrap();
            let text = map
                .and_then(|m| m.data)
                .and_then(|d| d.get("text").cloned());
            if text.as_deref() == Some(expect) {
                Ok(())
            } else {
                Err(format!("{text:?}"))
            }
        })
        .await;
    };
    text("hello Kate").await;
    let patch = Patch::Merge(json!({ "spec": { "who": "Euston" } }));
    api.patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    text("hello Euston").await;
    // What it owns comes back.
    maps.delete("a", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    text("hello Euston").await;
    until("the status is seen", || async {
        let status = api.get_status("a").await.unwrap().data["status"].clone();
        if status["observedGeneration"] == 2 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    controller.abort();
}
