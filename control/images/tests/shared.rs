//! A registry of several servers, some of which fail.

// clippy.toml exempts test functions; these are their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use euston_images::{Alone, Digest, HttpSiblings, Limits, Registry, SiblingBody};
use http::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use support::{
    Cluster, Fault, Memory, PATIENCE, delete, get, head, manifest, post_blob, push, put_manifest,
    send, until,
};

const LAYER: &[u8] = b"\0asm\x01\0\0\0";

/// For tests in which nobody hangs: a server that is slow, since the machine is, must not count as down.
fn limits() -> Limits {
    Limits {
        sibling_idle: Duration::from_secs(60),
        ..Limits::default()
    }
}

/// For tests in which somebody hangs.
fn impatient() -> Limits {
    Limits {
        sibling_idle: Duration::from_secs(1),
        ..Limits::default()
    }
}

fn big() -> Vec<u8> {
    (0..9_000_000_u32).map(|i| (i / 7) as u8).collect()
}

#[tokio::test]
async fn a_push_is_on_most_servers_and_seen_through_all_when_it_is_answered() {
    for servers in [1, 2, 3, 5, 7] {
        let cluster = Cluster::start(servers, limits()).await;
        // Nobody may fetch by himself, so that all copies there are were brought by the push.
        cluster.set_net(|_, method, _| (method == Method::GET).then_some(Fault::Refuse));
        let answer = push(cluster.router(0), "app", "v1", LAYER).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        let digest = answer.headers["docker-content-digest"].to_str().unwrap();
        for blob in cluster.catalog.references() {
            let copies = cluster.copies(&blob);
            assert!(copies > servers / 2, "{copies} of {servers} have {blob}");
        }
        for index in 0..servers {
            let found = cluster.send(index, head("/v2/app/manifests/v1")).await;
            assert_eq!(found.status, StatusCode::OK, "{index}: {found:?}");
            assert_eq!(found.headers["docker-content-digest"], digest);
        }
    }
}

#[tokio::test]
async fn a_push_that_too_few_servers_can_take_fails_and_leaves_nothing_to_see() {
    for fault in [Fault::Refuse, Fault::Hang, Fault::LoseAnswer] {
        let mut cluster = Cluster::start(3, impatient()).await;
        cluster.set_net(move |_, _, _| Some(fault));
        let answer = push(cluster.router(0), "app", "v1", LAYER).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        let text = answer.text();
        for part in ["UNAVAILABLE", "1 of 3 servers", "http://s1: ", "try again"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let seen = cluster.send(0, get("/v2/app/manifests/v1")).await;
        assert_eq!(seen.status, StatusCode::NOT_FOUND);
        // One of the two others is enough.
        cluster.kill(2);
        cluster.set_net(|_, _, _| None);
        let answer = push(cluster.router(0), "app", "v1", LAYER).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
}

#[tokio::test]
async fn without_the_index_nothing_is_answered_wrongly() {
    let cluster = Cluster::start(1, limits()).await;
    push(cluster.router(0), "app", "v1", LAYER).await;
    *cluster.catalog.faults.lock().unwrap() = Arc::new(|_, _, _| Some(Fault::Refuse));
    for request in [
        get("/v2/_catalog"),
        get("/v2/app/tags/list"),
        get("/v2/app/manifests/v1"),
        delete("/v2/app/manifests/v1"),
        put_manifest("app", "v2", &manifest(LAYER)),
    ] {
        let path = request.uri().to_string();
        let answer = cluster.send(0, request).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let text = answer.text();
        assert!(text.contains("index cannot be reached"), "{path}: {text}");
    }
    // Content is what its digest says, whatever the index may say.
    let blob = format!("/v2/app/blobs/{}", Digest::of(LAYER));
    assert_eq!(cluster.send(0, get(blob)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_push_whose_index_answer_was_lost_can_be_repeated() {
    let cluster = Cluster::start(1, limits()).await;
    let lose = Arc::new(AtomicBool::new(false));
    let losing = lose.clone();
    *cluster.catalog.faults.lock().unwrap() =
        Arc::new(move |_, _, _| losing.load(Ordering::SeqCst).then_some(Fault::LoseAnswer));
    let router = cluster.router(0);
    for blob in [b"{}", LAYER] {
        send(router.clone(), post_blob("app", blob)).await;
    }
    lose.store(true, Ordering::SeqCst);
    let put = || put_manifest("app", "v1", &manifest(LAYER));
    let lost = send(router.clone(), put()).await;
    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE);
    lose.store(false, Ordering::SeqCst);
    assert_eq!(send(router, put()).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_client_that_turns_to_another_server_finds_its_blobs_but_not_its_upload() {
    let cluster = Cluster::start(3, limits()).await;
    let begun = Request::post("/v2/app/blobs/uploads/").body(Body::empty());
    let begun = cluster.send(0, begun.unwrap()).await;
    let upload = begun.headers["location"].to_str().unwrap();
    let go_on = || Request::patch(upload).body(LAYER.into()).unwrap();
    let elsewhere = cluster.send(1, go_on()).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    assert!(elsewhere.text().contains("BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(cluster.send(0, go_on()).await.status, StatusCode::ACCEPTED);

    for blob in [b"{}", LAYER] {
        cluster.send(0, post_blob("app", blob)).await;
    }
    let blob = format!("/v2/app/blobs/{}", Digest::of(LAYER));
    let found = cluster.send(1, head(&blob)).await;
    assert_eq!(
        (found.status, &found.headers["content-length"]),
        (StatusCode::OK, &"8".parse().unwrap())
    );
    let put = put_manifest("app", "v1", &manifest(LAYER));
    let answer = cluster.send(1, put).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
}

#[tokio::test]
async fn a_blob_that_nobody_has_is_unknown_although_a_server_is_down() {
    let mut cluster = Cluster::start(3, impatient()).await;
    let blob = format!("/v2/app/blobs/{}", Digest::of(b"none"));
    cluster.kill(2);
    for fault in [None, Some(Fault::Hang)] {
        cluster.set_net(move |to, _, _| fault.filter(|_| to == "http://s2"));
        for request in [get(&blob), head(&blob)] {
            let answer = cluster.send(0, request).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{fault:?}");
        }
    }
    // With two of three silent nobody knows.
    cluster.set_net(|_, _, _| Some(Fault::Refuse));
    let answer = cluster.send(0, head(&blob)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_blob_that_this_server_lacks_comes_from_another_and_stays() {
    let big = big();
    for layer in [LAYER, &big, b""] {
        let cluster = Cluster::start(3, limits()).await;
        let blob = Digest::of(layer);
        cluster.send(1, post_blob("app", layer.to_vec())).await;
        let path = format!("/v2/app/blobs/{blob}");
        // Many at once, and it is fetched once.
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = fetches.clone();
        cluster.set_net(move |_, method, _| {
            counted.fetch_add(usize::from(method == Method::GET), Ordering::SeqCst);
            None
        });
        let answers = (0..4).map(|_| cluster.send(0, get(&path)));
        for answer in futures::future::join_all(answers).await {
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.headers["content-length"], layer.len().to_string());
            assert!(answer.body.unwrap() == layer);
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        assert!(cluster.blob(0, &blob).exists());
    }
}

#[tokio::test]
async fn wrong_bytes_from_another_server_never_arrive_whole() {
    let big = big();
    for fault in [Fault::Lie, Fault::Break, Fault::Hang, Fault::Refuse] {
        for layer in [LAYER, &big] {
            let cluster = Cluster::start(3, impatient()).await;
            let blob = Digest::of(layer);
            for index in [1, 2] {
                let posted = post_blob("app", layer.to_vec());
                assert_eq!(
                    cluster.send(index, posted).await.status,
                    StatusCode::CREATED
                );
            }
            let path = format!("/v2/app/blobs/{blob}");
            // All of them at first, then one of them.
            cluster.set_net(move |_, method, _| (method == Method::GET).then_some(fault));
            let answer = cluster.send(0, get(&path)).await;
            let failed = answer.status == StatusCode::SERVICE_UNAVAILABLE || answer.body.is_err();
            assert!(failed, "{fault:?}: {:?}", answer.status);
            assert!(!cluster.blob(0, &blob).exists());
            cluster.set_net(move |to, method, _| {
                (method == Method::GET && to == "http://s1").then_some(fault)
            });
            let first = cluster.send(0, get(&path)).await;
            if layer.len() < 100 {
                assert_eq!(first.status, StatusCode::OK, "{fault:?}");
            }
            // What was begun with the wrong server may break; then a client asks again.
            let asking = async {
                let mut answer = first;
                while answer.status != StatusCode::OK || answer.body.is_err() {
                    answer = cluster.send(0, get(&path)).await;
                }
                answer.body.unwrap()
            };
            let body = tokio::time::timeout(PATIENCE, asking).await.unwrap();
            assert!(body == layer, "{fault:?}");
            assert_eq!(cluster.copies(&blob), 3);
        }
    }
}

#[tokio::test]
async fn every_server_gets_every_blob_also_one_that_was_down_and_one_that_is_new() {
    let mut cluster = Cluster::start(3, limits()).await;
    cluster.kill(2);
    for tag in ["v1", "v2", "v3"] {
        let answer = push(cluster.router(0), "app", tag, tag.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    }
    cluster.revive(2).await;
    let new = cluster.add();
    cluster.revive(new).await;
    let blobs = cluster.catalog.references();
    let all = || blobs.iter().all(|blob| cluster.copies(blob) == 4);
    until("all have all", all).await;
    // Then any of them is enough to pull from.
    cluster.kill(0);
    cluster.kill(1);
    cluster.kill(2);
    let blob = format!("/v2/app/blobs/{}", Digest::of(b"v2"));
    for path in ["/v2/app/manifests/v2", &blob] {
        assert_eq!(cluster.send(new, get(path)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_deleted_goes_from_every_server_and_what_is_used_or_young_stays() {
    let cluster = Cluster::start(3, limits()).await;
    for tag in ["old", "kept"] {
        push(cluster.router(0), "app", tag, tag.as_bytes()).await;
    }
    let blobs = cluster.catalog.references();
    until("all have all", || {
        blobs.iter().all(|blob| cluster.copies(blob) == 3)
    })
    .await;
    let deleted = cluster.send(1, head("/v2/app/manifests/old")).await;
    let deleted = deleted.headers["docker-content-digest"].to_str().unwrap();
    let path = format!("/v2/app/manifests/{deleted}");
    for index in 0..3 {
        cluster.age(index);
    }
    // This client has asked for the blob, and may be about to push something with it.
    let layer = Digest::of(b"old");
    let blob = format!("/v2/app/blobs/{layer}");
    assert_eq!(cluster.send(2, head(&blob)).await.status, StatusCode::OK);
    let answer = cluster.send(1, delete(&path)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    for index in 0..3 {
        let gone = cluster.send(index, get("/v2/app/manifests/old")).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
    }
    until("it is swept but where it was asked for", || {
        cluster.copies(&layer) == 1 && cluster.copies(&deleted.parse().unwrap()) == 0
    })
    .await;
    assert!(cluster.blob(2, &layer).exists());
    for blob in cluster.catalog.references() {
        assert_eq!(cluster.copies(&blob), 3);
    }
}

#[tokio::test]
async fn only_servers_get_through_the_door_and_only_with_what_they_say_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open_shared(dir.path(), Memory::new(), Arc::new(Alone));
    let registry = registry.await.unwrap();
    let router = registry.sibling_router(|extensions| extensions.get::<u8>() == Some(&1));
    let digest = Digest::of(LAYER);
    let path = |hex: &str| format!("/euston/v1/blobs/sha256/{hex}");
    let (right, hex) = (path(&digest.hex()), digest.hex());
    let call = async |method: Method, path: &str, body: &'static [u8], server: bool| {
        let mut request = Request::builder().method(method).uri(path);
        if server {
            request = request.extension(1_u8);
        }
        send(router.clone(), request.body(body.into()).unwrap())
            .await
            .status
    };
    for (method, path, body, server, expect) in [
        (Method::PUT, &right, LAYER, false, 403),
        (Method::GET, &right, b"", false, 403),
        (Method::GET, &right, b"", true, 404),
        (Method::HEAD, &right, b"", true, 404),
        (Method::PUT, &right, b"other", true, 400),
        (Method::GET, &right, b"", true, 404),
        (Method::PUT, &path("zz"), LAYER, true, 400),
        (Method::PUT, &path(&hex.to_uppercase()), LAYER, true, 400),
        (Method::GET, &path("..%2f..%2fx"), b"", true, 400),
        (Method::PUT, &right, LAYER, true, 201),
        (Method::HEAD, &right, b"", true, 200),
        (Method::GET, &right, b"", true, 200),
        (Method::DELETE, &right, b"", true, 405),
    ] {
        let status = call(method.clone(), path, body, server).await;
        assert_eq!(status.as_u16(), expect, "{method} {path} {server}");
    }
}

#[tokio::test]
async fn an_index_in_files_moves_to_the_shared_one_once() {
    let dir = tempfile::tempdir().unwrap();
    let alone = Registry::open(dir.path()).unwrap();
    push(alone.router(), "team/app", "v1", LAYER).await;
    push(alone.router(), "team/app", "gone", b"gone").await;
    drop(alone);
    // An image that cannot be whole any more does not come along.
    let gone = Digest::of(b"gone").hex();
    std::fs::remove_file(dir.path().join("blobs/sha256").join(gone)).unwrap();
    let catalog = Memory::new();
    for round in 0..2 {
        let shared = Registry::open_shared(dir.path(), catalog.clone(), Arc::new(Alone));
        let router = shared.await.unwrap().router();
        let found = send(router.clone(), get("/v2/team/app/manifests/v1")).await;
        let expect = [StatusCode::OK, StatusCode::NOT_FOUND][round];
        assert_eq!(found.status, expect);
        let gone = send(router.clone(), get("/v2/team/app/manifests/gone")).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND);
        // If it were moved twice, this would come back.
        send(router, delete("/v2/team/app/manifests/v1")).await;
    }
}

#[tokio::test]
async fn an_index_in_files_of_one_of_several_servers_moves_when_most_have_its_blobs() {
    let mut cluster = Cluster::start(3, limits()).await;
    cluster.kill(0);
    let alone = Registry::open(&cluster.servers[0].dir).unwrap();
    push(alone.router(), "app", "v1", LAYER).await;
    drop(alone);
    cluster.set_net(|_, _, _| Some(Fault::Refuse));
    cluster.revive(0).await;
    let found = cluster.send(0, get("/v2/app/manifests/v1")).await;
    assert_eq!(found.status, StatusCode::NOT_FOUND);
    cluster.set_net(|_, _, _| None);
    cluster.catalog.nudge();
    until("it moved", || !cluster.catalog.contents().is_empty()).await;
    for blob in cluster.catalog.references() {
        assert!(cluster.copies(&blob) >= 2);
    }
    let found = cluster.send(2, get("/v2/app/manifests/v1")).await;
    assert_eq!(found.status, StatusCode::OK);
}

/// Three servers on 127.0.0.1 as they are in production, but for TLS.
#[tokio::test]
async fn three_servers_over_http_are_one_registry() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Memory::new();
    let client: Client<HttpConnector, SiblingBody> =
        Client::builder(TokioExecutor::new()).build_http();
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let address = |l: &tokio::net::TcpListener| format!("http://{}", l.local_addr().unwrap());
    let urls: Vec<String> = listeners.iter().map(address).collect();
    let mut servers = Vec::new();
    for (listener, own) in listeners.into_iter().zip(&urls) {
        let others: Vec<String> = urls.iter().filter(|url| *url != own).cloned().collect();
        let client = client.clone();
        let siblings = HttpSiblings::new(
            move || others.clone(),
            move |request| {
                let client = client.clone();
                async move { client.request(request).await }
            },
        );
        let place = dir.path().join(own.rsplit(':').next().unwrap());
        let registry = Registry::open_shared(&place, catalog.clone(), Arc::new(siblings));
        let registry = registry.await.unwrap();
        let router = registry.router().merge(registry.sibling_router(|_| true));
        let serve = tokio::spawn(async move { axum::serve(listener, router).await });
        servers.push((place, serve, registry));
    }
    let big = big();
    let call = async |method: Method, server: usize, path: &str, body: Vec<u8>| {
        use http_body_util::BodyExt;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", urls[server]))
            .header("content-type", support::MANIFEST);
        let body = Body::from(body).map_err(Into::into).boxed_unsync();
        let answer = client.request(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        (parts.status, body.collect().await.unwrap().to_bytes())
    };
    for blob in [b"{}".to_vec(), big.clone()] {
        let path = format!("/v2/app/blobs/uploads/?digest={}", Digest::of(&blob));
        let (status, text) = call(Method::POST, 0, &path, blob).await;
        assert_eq!(status, StatusCode::CREATED, "{text:?}");
    }
    let text = manifest(&big).to_string().into_bytes();
    let (status, answer) = call(Method::PUT, 0, "/v2/app/manifests/v1", text).await;
    assert_eq!(status, StatusCode::CREATED, "{answer:?}");
    // The one that took the push dies; both others give the image whole.
    servers[0].1.abort();
    let blob = format!("/v2/app/blobs/{}", Digest::of(&big));
    for server in [1, 2] {
        let (status, _) = call(Method::GET, server, "/v2/app/manifests/v1", vec![]).await;
        assert_eq!(status, StatusCode::OK);
        let (status, bytes) = call(Method::GET, server, &blob, vec![]).await;
        assert_eq!(status, StatusCode::OK);
        assert!(bytes == big, "{server}");
    }
    let blobs = catalog.references();
    let has = |place: &std::path::PathBuf, blob: &Digest| {
        place.join("blobs/sha256").join(blob.hex()).exists()
    };
    until("both others have all", || {
        let all = |place| blobs.iter().all(|blob| has(place, blob));
        servers[1..].iter().all(|(place, ..)| all(place))
    })
    .await;
    for (_, serve, _) in &servers {
        serve.abort();
    }
}
