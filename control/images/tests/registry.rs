//! The registry through its router, as clients on the wire see it, and through [`ImageClient`].

// clippy.toml exempts test functions; these are their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use euston_images::{Digest, ImageClient, ImageError, Kind, Limits, Registry};
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::Cluster;
use tower::ServiceExt;

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    }
}

/// Every test of this file runs with each of these.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// One server with its index in files.
    Files,
    /// One server over a shared index.
    Shared,
    /// Three servers; each request that may go to any of them goes to the next one.
    Three,
}

const MODES: [Mode; 3] = [Mode::Files, Mode::Shared, Mode::Three];

struct Site {
    dir: PathBuf,
    routers: Vec<Router>,
    turn: AtomicUsize,
    /// Goes with the site.
    _held: Box<dyn Any>,
}

async fn site(mode: Mode) -> Site {
    site_with(mode, Limits::default()).await
}

/// Servers that are only slow, since the machine is, must not count as down.
const SLOW: Duration = Duration::from_secs(60);

async fn site_with(mode: Mode, limits: Limits) -> Site {
    // Shown when the test fails.
    println!("{mode:?}");
    let (dir, routers, held): (PathBuf, _, Box<dyn Any>) = match mode {
        Mode::Files => {
            let dir = tempfile::tempdir().unwrap();
            let registry = Registry::open_with(dir.path(), limits).unwrap();
            let path = dir.path().to_owned();
            (path, vec![registry.router()], Box::new((dir, registry)))
        }
        Mode::Shared | Mode::Three => {
            let servers = if mode == Mode::Three { 3 } else { 1 };
            let limits = Limits {
                sibling_idle: SLOW,
                ..limits
            };
            let cluster = Cluster::start(servers, limits).await;
            let routers = (0..servers).map(|i| cluster.router(i)).collect();
            (cluster.servers[0].dir.clone(), routers, Box::new(cluster))
        }
    };
    Site {
        dir,
        routers,
        turn: AtomicUsize::new(0),
        _held: held,
    }
}

/// The server for the next request: uploads stay where they began.
fn next_router(routers: &[Router], turn: &AtomicUsize, path: &str) -> Router {
    let turn = if path.contains("/uploads/") {
        0
    } else {
        turn.fetch_add(1, Ordering::Relaxed)
    };
    routers[turn % routers.len()].clone()
}

impl Site {
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let router = next_router(&self.routers, &self.turn, path);
        let response: Response<Body> = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    async fn push_blob(&self, name: &str, bytes: &'static [u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let pushed = self.send(Method::POST, &path, &[], bytes).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.body);
        digest
    }

    async fn push_manifest(&self, name: &str, reference: &str, manifest: &Value) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        let headers = [(CONTENT_TYPE.as_str(), MANIFEST)];
        self.send(Method::PUT, &path, &headers, manifest.to_string())
            .await
    }

    fn client(&self) -> ImageClient {
        let routers = self.routers.clone();
        let turn = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            next_router(&routers, &turn, request.uri().path()).oneshot(request)
        });
        ImageClient::new(kube::Client::new(service, "default"))
    }
}

fn manifest(config: Digest, layer: Digest) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/wasm", "digest": layer, "size": 8}],
    })
}

#[tokio::test]
async fn a_chunked_push_goes_the_way_that_clients_go() {
    for mode in MODES {
        let site = site(mode).await;
        assert_eq!(site.get("/v2/").await.status, StatusCode::OK);
        assert_eq!(
            site.get("/v2/")
                .await
                .header("docker-distribution-api-version"),
            "registry/2.0"
        );

        let digest = Digest::of(MODULE);
        let blob = format!("/v2/team/app/blobs/{digest}");
        let missing = site.send(Method::HEAD, &blob, &[], Body::empty()).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);

        let begun = site
            .send(
                Method::POST,
                "/v2/team/app/blobs/uploads/",
                &[],
                Body::empty(),
            )
            .await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        let upload = begun.header(LOCATION).to_owned();
        let first = site
            .send(
                Method::PATCH,
                &upload,
                &[(CONTENT_RANGE.as_str(), "0-3")],
                &MODULE[..4],
            )
            .await;
        assert_eq!(
            (first.status, first.header(RANGE)),
            (StatusCode::ACCEPTED, "0-3")
        );
        let gap = site
            .send(
                Method::PATCH,
                &upload,
                &[(CONTENT_RANGE.as_str(), "5-7")],
                &MODULE[5..],
            )
            .await;
        assert_eq!(
            (gap.status, gap.code()),
            (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID".into()
            )
        );
        let state = site.get(&upload).await;
        assert_eq!(
            (state.status, state.header(RANGE)),
            (StatusCode::NO_CONTENT, "0-3")
        );
        // The rest without a range, as a streaming client sends it.
        let second = site.send(Method::PATCH, &upload, &[], &MODULE[4..6]).await;
        assert_eq!(second.status, StatusCode::ACCEPTED);
        let done = site
            .send(
                Method::PUT,
                &format!("{upload}?digest={digest}"),
                &[],
                &MODULE[6..],
            )
            .await;
        assert_eq!(done.status, StatusCode::CREATED, "{:?}", done.body);
        assert_eq!(done.header("docker-content-digest"), digest.to_string());
        assert_eq!(done.header(LOCATION), blob);
        let gone = site.get(&upload).await;
        assert_eq!(
            (gone.status, gone.code()),
            (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN".into())
        );

        let head = site.send(Method::HEAD, &blob, &[], Body::empty()).await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (StatusCode::OK, "8")
        );
        assert_eq!(site.get(&blob).await.body, MODULE);

        let config = site.push_blob("team/app", b"{}").await;
        let pushed = site
            .push_manifest("team/app", "v1", &manifest(config, digest))
            .await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.body);
        let manifest_digest = pushed.header("docker-content-digest").to_owned();
        for reference in ["v1", &manifest_digest] {
            let found = site
                .get(&format!("/v2/team/app/manifests/{reference}"))
                .await;
            assert_eq!(found.status, StatusCode::OK, "{reference}");
            assert_eq!(found.header(CONTENT_TYPE), MANIFEST);
            assert_eq!(found.header("docker-content-digest"), manifest_digest);
            assert_eq!(Digest::of(&found.body).to_string(), manifest_digest);
        }
    }
}

#[tokio::test]
async fn bad_requests_get_the_code_that_the_specification_names() {
    for mode in MODES {
        let limits = Limits {
            blob_bytes_max: 16,
            manifest_bytes_max: 1000,
            uploads_max: 2,
            ..Limits::default()
        };
        let site = site_with(mode, limits).await;
        let config = site.push_blob("a", b"{}").await;
        let layer = site.push_blob("a", MODULE).await;
        site.push_manifest("a", "v1", &manifest(config, layer))
            .await;
        let unknown = Digest::of(b"unknown");
        let big = vec![b' '; 1001];
        let put = Method::PUT;
        for (method, path, body, status, code) in [
            (
                Method::GET,
                "/v2/none/tags/list".to_owned(),
                vec![],
                404,
                "NAME_UNKNOWN",
            ),
            (
                Method::GET,
                "/v2/none/manifests/v1".into(),
                vec![],
                404,
                "NAME_UNKNOWN",
            ),
            (
                Method::GET,
                "/v2/a/manifests/v2".into(),
                vec![],
                404,
                "MANIFEST_UNKNOWN",
            ),
            (
                Method::GET,
                format!("/v2/a/manifests/{unknown}"),
                vec![],
                404,
                "MANIFEST_UNKNOWN",
            ),
            (
                Method::DELETE,
                "/v2/a/manifests/v2".into(),
                vec![],
                404,
                "MANIFEST_UNKNOWN",
            ),
            (
                Method::GET,
                format!("/v2/a/blobs/{unknown}"),
                vec![],
                404,
                "BLOB_UNKNOWN",
            ),
            (
                Method::GET,
                "/v2/a/blobs/sha256:zz".into(),
                vec![],
                400,
                "DIGEST_INVALID",
            ),
            (
                Method::GET,
                "/v2/A/tags/list".into(),
                vec![],
                400,
                "NAME_INVALID",
            ),
            (
                Method::GET,
                "/v2/a/tags/list?n=x".into(),
                vec![],
                400,
                "PAGINATION_NUMBER_INVALID",
            ),
            (
                Method::GET,
                "/v2/a/nothing".into(),
                vec![],
                404,
                "UNSUPPORTED",
            ),
            (
                Method::DELETE,
                format!("/v2/a/blobs/{layer}"),
                vec![],
                405,
                "UNSUPPORTED",
            ),
            (
                Method::PATCH,
                "/v2/a/blobs/uploads/none".into(),
                vec![],
                404,
                "BLOB_UPLOAD_UNKNOWN",
            ),
            (
                put.clone(),
                "/v2/a/blobs/uploads/none?digest=x".into(),
                vec![],
                400,
                "DIGEST_INVALID",
            ),
            (
                put.clone(),
                "/v2/a/manifests/v2".into(),
                b"{".to_vec(),
                400,
                "MANIFEST_INVALID",
            ),
            (
                put.clone(),
                "/v2/a/manifests/v2".into(),
                b"{\"schemaVersion\":1}".to_vec(),
                400,
                "MANIFEST_INVALID",
            ),
            (
                put.clone(),
                "/v2/a/manifests/v2".into(),
                big,
                413,
                "SIZE_INVALID",
            ),
            (
                put.clone(),
                "/v2/a/manifests/v2".into(),
                manifest(unknown, layer).to_string().into(),
                404,
                "MANIFEST_BLOB_UNKNOWN",
            ),
            (
                put.clone(),
                format!("/v2/a/manifests/{unknown}"),
                manifest(config, layer).to_string().into(),
                400,
                "DIGEST_INVALID",
            ),
            (
                Method::POST,
                format!("/v2/a/blobs/uploads/?digest={unknown}"),
                b"other".to_vec(),
                400,
                "DIGEST_INVALID",
            ),
            (
                Method::POST,
                format!("/v2/a/blobs/uploads/?digest={unknown}"),
                vec![0; 17],
                413,
                "SIZE_INVALID",
            ),
        ] {
            let answer = site.send(method.clone(), &path, &[], body).await;
            let found = (answer.status.as_u16(), answer.code());
            assert_eq!(
                found,
                (status, code.to_owned()),
                "{method} {path}: {:?}",
                answer.body
            );
        }
        let mismatch = [(
            CONTENT_TYPE.as_str(),
            "application/vnd.oci.image.index.v1+json",
        )];
        let body = manifest(config, layer).to_string();
        let answer = site.send(put, "/v2/a/manifests/v3", &mismatch, body).await;
        assert_eq!(answer.code(), "MANIFEST_INVALID");
    }
}

#[tokio::test]
async fn a_finished_or_failed_upload_frees_its_slot_and_too_many_are_refused() {
    for mode in MODES {
        let site = site_with(
            mode,
            Limits {
                uploads_max: 2,
                upload_idle: Duration::from_secs(3600),
                ..Limits::default()
            },
        )
        .await;
        let begin = async || {
            site.send(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty())
                .await
        };
        let (first, second) = (begin().await, begin().await);
        let third = begin().await;
        assert_eq!(
            (third.status, third.code()),
            (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS".into())
        );
        let cancelled = site
            .send(Method::DELETE, first.header(LOCATION), &[], Body::empty())
            .await;
        assert_eq!(cancelled.status, StatusCode::NO_CONTENT);
        assert_eq!(begin().await.status, StatusCode::ACCEPTED);
        let wrong = format!("{}?digest={}", second.header(LOCATION), Digest::of(b"x"));
        assert_eq!(
            site.send(Method::PUT, &wrong, &[], "y").await.status,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(begin().await.status, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn an_idle_upload_makes_room_for_the_next_one() {
    for mode in MODES {
        let site = site_with(
            mode,
            Limits {
                uploads_max: 1,
                upload_idle: Duration::ZERO,
                ..Limits::default()
            },
        )
        .await;
        let begin = async || {
            site.send(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty())
                .await
        };
        let first = begin().await;
        assert_eq!(begin().await.status, StatusCode::ACCEPTED);
        let late = site
            .send(Method::PATCH, first.header(LOCATION), &[], "x")
            .await;
        assert_eq!(late.code(), "BLOB_UPLOAD_UNKNOWN");
    }
}

#[tokio::test]
async fn lists_are_paged() {
    for mode in MODES {
        let site = site(mode).await;
        for name in ["a", "b/c", "d"] {
            let config = site.push_blob(name, b"{}").await;
            let layer = site.push_blob(name, MODULE).await;
            for tag in ["v1", "v2", "v3"] {
                site.push_manifest(name, tag, &manifest(config, layer))
                    .await;
            }
        }
        let page = site.get("/v2/_catalog?n=2").await;
        assert_eq!(page.json(), json!({"repositories": ["a", "b/c"]}));
        let link = page.header(LINK);
        let next = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(next.1, "; rel=\"next\"");
        let page = site.get(next.0).await;
        assert_eq!(
            (page.json(), page.header(LINK)),
            (json!({"repositories": ["d"]}), "")
        );
        let tags = site.get("/v2/b/c/tags/list?n=1&last=v1").await;
        assert_eq!(tags.json(), json!({"name": "b/c", "tags": ["v2"]}));
        assert_eq!(
            site.get("/v2/d/tags/list").await.json()["tags"],
            json!(["v1", "v2", "v3"])
        );
    }
}

#[tokio::test]
async fn what_was_pushed_is_there_after_a_restart() {
    let site = site(Mode::Files).await;
    let pushed = site
        .client()
        .push("team/app:v1", Bytes::from_static(COMPONENT))
        .await
        .unwrap();
    std::fs::write(site.dir.join("uploads").join("left-over"), "x").unwrap();
    let again = Registry::open(&site.dir).unwrap();
    let client = ImageClient::new(kube::Client::new(again.router(), "default"));
    let pulled = client.pull("team/app:v1").await.unwrap();
    assert_eq!(
        (pulled.digest, &pulled.wasm[..]),
        (pushed.digest, COMPONENT)
    );
    let uploads = std::fs::read_dir(site.dir.join("uploads")).unwrap();
    assert_eq!(uploads.count(), 0);

    let file = site.dir.join("repositories").join("team+app.json");
    for (text, why) in [
        ("{", "cannot understand"),
        (
            r#"{"version":7,"tags":{},"manifests":{}}"#,
            "its format is 7",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Registry::open(&site.dir).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(error.contains("team+app.json"), "{error}");
    }
}

#[tokio::test]
async fn the_client_pushes_pulls_lists_inspects_and_deletes() {
    for mode in MODES {
        let site = site(mode).await;
        let client = site.client();
        let pushed = client
            .push("app:v1", Bytes::from_static(COMPONENT))
            .await
            .unwrap();
        assert_eq!(
            client
                .push("app:v2", Bytes::from_static(MODULE))
                .await
                .unwrap()
                .size,
            8
        );

        let by_digest = format!("app@{}", pushed.digest);
        for reference in ["app:v1", &by_digest] {
            let pulled = client.pull(reference).await.unwrap();
            assert_eq!(
                (pulled.digest, &pulled.wasm[..]),
                (pushed.digest, COMPONENT)
            );
        }
        let listed = client.list().await.unwrap();
        let names: Vec<_> = listed
            .iter()
            .map(|l| format!("{}:{}", l.name, l.tag))
            .collect();
        assert_eq!(names, ["app:v1", "app:v2"]);
        assert!(listed[0].created.is_some());
        let inspected = client.inspect("app:v1").await.unwrap();
        assert_eq!(
            (inspected.contents.kind, inspected.size),
            (Kind::Component, 8)
        );

        client.delete("app:v1").await.unwrap();
        for reference in ["app:v1", &by_digest] {
            let error = client.pull(reference).await.unwrap_err();
            assert!(matches!(error, ImageError::NotFound { .. }), "{error}");
        }
        client.delete("app:v2").await.unwrap();
        assert!(client.list().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn deleting_one_of_two_tags_keeps_the_image_of_the_other() {
    for mode in MODES {
        let site = site(mode).await;
        let config = site.push_blob("app", b"{}").await;
        let layer = site.push_blob("app", MODULE).await;
        for tag in ["v1", "v2"] {
            site.push_manifest("app", tag, &manifest(config, layer))
                .await;
        }
        site.client().delete("app:v1").await.unwrap();
        assert!(site.client().pull("app:v1").await.is_err());
        assert_eq!(
            &site.client().pull("app:v2").await.unwrap().wasm[..],
            MODULE
        );
    }
}

#[tokio::test]
async fn errors_of_the_client_say_what_to_do() {
    for mode in MODES {
        let site = site(mode).await;
        let linux = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": site.push_blob("nginx", b"{}").await, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": site.push_blob("nginx", MODULE).await, "size": 8}],
        });
        site.push_manifest("nginx", "latest", &linux).await;
        let client = site.client();
        for (reference, expect) in [
            ("nginx", "is a Linux container image"),
            ("app:v9", "push it with `euston image push FILE app:v9`"),
            ("ghcr.io/a/app:v1", "is in the registry ghcr.io"),
            ("UPPER", "is not an image reference"),
        ] {
            let error = client.pull(reference).await.unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
        let error = client
            .push("app:v1", Bytes::from_static(b"\x7fELF..."))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("a Linux program"), "{error}");
        let at = format!("app@{}", Digest::of(b""));
        let error = client
            .push(&at, Bytes::from_static(MODULE))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("not to a digest"), "{error}");
    }
}

#[tokio::test]
async fn a_blob_damaged_on_disk_is_not_handed_on() {
    for mode in [Mode::Files, Mode::Shared] {
        let site = site(mode).await;
        site.client()
            .push("app:v1", Bytes::from_static(MODULE))
            .await
            .unwrap();
        let blob = site.dir.join("blobs/sha256").join(Digest::of(MODULE).hex());
        std::fs::write(blob, b"\0asm\x02\0\0\0").unwrap();
        let error = site.client().pull("app:v1").await.unwrap_err().to_string();
        assert!(error.contains("arrived with the digest"), "{error}");
    }
}
