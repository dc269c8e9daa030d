//! Paging, resourceVersion rules, initial events, compaction.

use std::pin::pin;

use euston_tests::control_plane::ControlPlane;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::raw;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(api: &Api<ConfigMap>, names: impl Iterator<Item = String>) {
    for name in names {
        let object = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
}

#[tokio::test]
async fn pages_are_one_snapshot_while_writes_go_on() {
    let plane = ControlPlane::start().await;
    let api: Api<ConfigMap> = Api::namespaced(plane.client.clone(), "default");
    make(&api, (0..25).map(|i| format!("c{i:02}"))).await;
    let mut params = ListParams::default().limit(10);
    let mut names = Vec::new();
    let mut version = None;
    loop {
        let page = api.list(&params).await.unwrap();
        assert!(page.items.len() <= 10);
        let this = page.metadata.resource_version.clone();
        assert_eq!(*version.get_or_insert(this.clone()), this);
        names.extend(page.iter().map(ResourceExt::name_any));
        // Between the pages the world moves on; the list does not.
        make(&api, std::iter::once(format!("c00-late-{}", names.len()))).await;
        if names.len() == 10 {
            api.delete("c24", &Default::default()).await.unwrap();
        }
        match page.metadata.continue_.filter(|t| !t.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    let wanted: Vec<String> = (0..25).map(|i| format!("c{i:02}")).collect();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn an_expired_page_says_so_and_offers_to_go_on() {
    let plane = ControlPlane::start().await;
    let api: Api<ConfigMap> = Api::namespaced(plane.client.clone(), "default");
    make(&api, (0..5).map(|i| format!("c{i}"))).await;
    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    let token = page.metadata.continue_.unwrap();
    make(&api, std::iter::once("later".to_owned())).await;
    plane.store.compact(plane.store.revision()).await.unwrap();
    let gone = raw::send(
        &plane.client,
        "GET",
        &format!("{CONFIG_MAPS}?limit=2&continue={token}"),
        "",
        "",
    )
    .await;
    assert_eq!(
        (gone.status.as_u16(), gone.reason()),
        (410, "Expired"),
        "{gone:?}"
    );
    let token = gone.body["metadata"]["continue"].as_str().unwrap();
    let rest = raw::send(
        &plane.client,
        "GET",
        &format!("{CONFIG_MAPS}?continue={token}"),
        "",
        "",
    )
    .await;
    let names: Vec<_> = rest.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["c2", "c3", "c4", "later"]);
}

#[tokio::test]
async fn initial_events_end_with_their_bookmark() {
    let plane = ControlPlane::start().await;
    let api: Api<ConfigMap> = Api::namespaced(plane.client.clone(), "default");
    make(&api, ["a", "b"].map(str::to_owned).into_iter()).await;
    let params = WatchParams::default().initial_events().timeout(30);
    let mut stream = pin!(api.watch(&params, "0").await.unwrap().boxed());
    let mut seen = Vec::new();
    loop {
        match stream.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(o) => seen.push(o.name_any()),
            WatchEvent::Bookmark(mark) => {
                assert_eq!(
                    mark.metadata.annotations["k8s.io/initial-events-end"],
                    "true"
                );
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["a", "b"]);
}

#[tokio::test]
async fn versions_of_the_future_and_the_past_are_refused_as_kubernetes_does() {
    let plane = ControlPlane::start().await;
    let future = raw::send(
        &plane.client,
        "GET",
        &format!("{CONFIG_MAPS}?resourceVersion=99999999"),
        "",
        "",
    )
    .await;
    assert_eq!(
        (future.status.as_u16(), future.reason()),
        (504, "Timeout"),
        "{future:?}"
    );
    assert_eq!(
        future.body["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );

    let api: Api<ConfigMap> = Api::namespaced(plane.client.clone(), "default");
    make(&api, (0..3).map(|i| format!("c{i}"))).await;
    plane.store.compact(plane.store.revision()).await.unwrap();
    let exact = raw::send(
        &plane.client,
        "GET",
        &format!("{CONFIG_MAPS}?resourceVersion=1&resourceVersionMatch=Exact"),
        "",
        "",
    )
    .await;
    assert_eq!(
        (exact.status.as_u16(), exact.reason()),
        (410, "Expired"),
        "{exact:?}"
    );
    let mut stream = pin!(
        api.watch(&WatchParams::default().timeout(30), "1")
            .await
            .unwrap()
            .boxed()
    );
    // What the ring still holds may come first; a gap is an error, never silence.
    let first = stream.try_next().await.unwrap().unwrap();
    match first {
        WatchEvent::Error(status) => assert_eq!(status.code, 410),
        WatchEvent::Added(object) => assert_eq!(object.name_any(), "c0"),
        other => panic!("{other:?}"),
    }
}
