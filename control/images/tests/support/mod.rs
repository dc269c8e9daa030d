//! A cluster of registries in one process: a catalogue in memory, and a network that can fail.

// Each test binary uses its part; clippy.toml exempts test functions, and these are their helpers.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use euston_images::{
    Catalog, CatalogError, Digest, HttpSiblings, Limits, Registry, SiblingBody, Stored, Swap,
};
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Until something that must come about has come about.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Random numbers from a seed (SplitMix64).
#[derive(Debug)]
pub struct Dice(Mutex<u64>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// A number below `n`.
    pub fn below(&self, n: usize) -> usize {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not arrive.
    Refuse,
    /// It is done, and the answer does not arrive.
    LoseAnswer,
    /// Nothing happens, for ever.
    Hang,
    /// The answer's body has other bytes.
    Lie,
    /// The answer's body ends early.
    Break,
}

/// Decides what goes wrong: for calls of the catalogue with no path, for others with theirs.
pub type Faults = Arc<dyn Fn(&str, &Method, &str) -> Option<Fault> + Send + Sync>;

pub fn no_faults() -> Faults {
    Arc::new(|_, _, _| None)
}

/// A catalogue in memory.
pub struct Memory {
    state: Mutex<(u64, BTreeMap<String, Stored>)>,
    changes: watch::Sender<u64>,
    pub faults: Mutex<Faults>,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            faults: Mutex::new(no_faults()),
        })
    }

    /// What it holds, past all faults.
    pub fn contents(&self) -> BTreeMap<String, Value> {
        let state = self.state.lock().unwrap();
        let decode = |s: &Stored| serde_json::from_slice(&s.value).unwrap();
        let decoded = state.1.iter().map(|(name, s)| (name.clone(), decode(s)));
        decoded.collect()
    }

    /// Every digest that it refers to.
    pub fn references(&self) -> Vec<Digest> {
        let mut found = Vec::new();
        for repository in self.contents().values() {
            for (digest, entry) in repository["manifests"].as_object().unwrap() {
                found.push(digest.parse().unwrap());
                for reference in entry["references"].as_array().unwrap() {
                    found.push(reference.as_str().unwrap().parse().unwrap());
                }
            }
        }
        found
    }

    /// Lets everybody look again.
    pub fn nudge(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    async fn with_faults<T>(&self, answer: impl FnOnce() -> T) -> Result<T, CatalogError> {
        let fault = (self.faults.lock().unwrap())("catalog", &Method::GET, "");
        let unavailable = || CatalogError::Unavailable("it was made to fail".to_owned());
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::LoseAnswer) => {
                answer();
                Err(unavailable())
            }
            Some(_) => Err(unavailable()),
            None => Ok(answer()),
        }
    }
}

#[async_trait]
impl Catalog for Memory {
    async fn get(&self, name: &str) -> Result<Option<Stored>, CatalogError> {
        self.with_faults(|| self.state.lock().unwrap().1.get(name).cloned())
            .await
    }

    async fn load(&self) -> Result<BTreeMap<String, Stored>, CatalogError> {
        self.with_faults(|| self.state.lock().unwrap().1.clone())
            .await
    }

    async fn swap(
        &self,
        name: &str,
        expected: u64,
        value: Option<Bytes>,
    ) -> Result<Swap, CatalogError> {
        self.with_faults(|| {
            let mut state = self.state.lock().unwrap();
            if state.1.get(name).map_or(0, |s| s.version) != expected {
                return Swap::Moved;
            }
            state.0 += 1;
            let version = state.0;
            match value {
                Some(value) => state.1.insert(name.to_owned(), Stored { version, value }),
                None => state.1.remove(name),
            };
            self.nudge();
            Swap::Done
        })
        .await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Whatever carries requests from one server to another.
pub struct Net {
    /// `http://NAME` is where a server is; those without a router are down.
    servers: Mutex<BTreeMap<String, Option<Router>>>,
    pub faults: Mutex<Faults>,
}

impl Net {
    async fn send(&self, request: Request<SiblingBody>) -> Result<Response<Body>, String> {
        let to = format!("http://{}", request.uri().host().unwrap());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let fault = (self.faults.lock().unwrap())(&to, &method, &path);
        match fault {
            Some(Fault::Refuse) => return Err("connection refused, as was planned".to_owned()),
            Some(Fault::Hang) => std::future::pending().await,
            _ => {}
        }
        let router = self.servers.lock().unwrap().get(&to).cloned().flatten();
        let router = router.ok_or("connection refused, for it is down")?;
        let response = router.oneshot(request.map(Body::new)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = match fault {
            None => body,
            Some(Fault::LoseAnswer) => return Err("connection reset".to_owned()),
            Some(fault) => {
                let mut bytes = body.collect().await.unwrap().to_bytes().to_vec();
                let half = bytes.len() / 2;
                if fault == Fault::Break {
                    let broken = Err("connection reset in the middle".to_owned());
                    bytes.truncate(half);
                    let pieces = stream::iter([Ok(Bytes::from(bytes)), broken]);
                    return Ok(Response::from_parts(parts, Body::from_stream(pieces)));
                }
                if let Some(byte) = bytes.get_mut(half) {
                    *byte ^= 1;
                }
                // In pieces, as a network delivers them.
                let pieces: Vec<_> = bytes.chunks(1 << 20).map(<[u8]>::to_vec).collect();
                Body::from_stream(stream::iter(pieces).map(Ok::<_, String>))
            }
        };
        Ok(Response::from_parts(parts, body))
    }
}

pub struct Server {
    pub url: String,
    pub dir: PathBuf,
    /// `None` while it is down.
    pub registry: Option<Registry>,
}

/// Several servers that are one registry.
pub struct Cluster {
    pub catalog: Arc<Memory>,
    pub net: Arc<Net>,
    pub servers: Vec<Server>,
    limits: Limits,
    dir: tempfile::TempDir,
}

impl Cluster {
    pub async fn start(servers: usize, limits: Limits) -> Self {
        let mut cluster = Self {
            catalog: Memory::new(),
            net: Arc::new(Net {
                servers: Mutex::default(),
                faults: Mutex::new(no_faults()),
            }),
            servers: Vec::new(),
            limits,
            dir: tempfile::tempdir().unwrap(),
        };
        for _ in 0..servers {
            cluster.add();
        }
        for index in 0..servers {
            cluster.revive(index).await;
        }
        cluster
    }

    /// A new server, which is down.
    pub fn add(&mut self) -> usize {
        let index = self.servers.len();
        let url = format!("http://s{index}");
        self.net.servers.lock().unwrap().insert(url.clone(), None);
        self.servers.push(Server {
            url,
            dir: self.dir.path().join(index.to_string()),
            registry: None,
        });
        index
    }

    /// Stops a server without notice.
    pub fn kill(&mut self, index: usize) {
        let server = &mut self.servers[index];
        let url = server.url.clone();
        server.registry = None;
        self.net.servers.lock().unwrap().insert(url, None);
    }

    pub async fn revive(&mut self, index: usize) {
        let url = self.servers[index].url.clone();
        let (net, own) = (Arc::clone(&self.net), url.clone());
        let list = move || {
            let servers = net.servers.lock().unwrap();
            servers.keys().filter(|url| **url != own).cloned().collect()
        };
        let net = Arc::clone(&self.net);
        let send = move |request| {
            let net = Arc::clone(&net);
            async move { net.send(request).await }
        };
        let siblings = Arc::new(HttpSiblings::new(list, send));
        let dir = &self.servers[index].dir;
        let registry = Registry::open_shared_with(dir, self.catalog.clone(), siblings, self.limits);
        let registry = registry.await.unwrap();
        let router = registry.sibling_router(|_| true);
        self.net.servers.lock().unwrap().insert(url, Some(router));
        self.servers[index].registry = Some(registry);
    }

    pub fn router(&self, index: usize) -> Router {
        self.servers[index].registry.as_ref().unwrap().router()
    }

    pub fn blob(&self, index: usize, digest: &Digest) -> PathBuf {
        let dir = self.servers[index].dir.join("blobs/sha256");
        dir.join(digest.hex())
    }

    /// How many servers have a blob, with the right bytes, whether they run or not.
    pub fn copies(&self, digest: &Digest) -> usize {
        let has = |index: &usize| {
            let bytes = std::fs::read(self.blob(*index, digest));
            bytes.is_ok_and(|bytes| Digest::of(&bytes) == *digest)
        };
        (0..self.servers.len()).filter(has).count()
    }

    /// Makes all blobs of a server look as if nobody had relied on them for a day.
    pub fn age(&self, index: usize) {
        let dir = self.servers[index].dir.join("blobs/sha256");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(24 * 3600);
        for entry in std::fs::read_dir(dir).unwrap() {
            // It may be swept at this moment.
            if let Ok(file) = std::fs::File::options()
                .append(true)
                .open(entry.unwrap().path())
            {
                file.set_modified(long_ago).unwrap();
            }
        }
    }

    pub fn set_net(
        &self,
        faults: impl Fn(&str, &Method, &str) -> Option<Fault> + Send + Sync + 'static,
    ) {
        *self.net.faults.lock().unwrap() = Arc::new(faults);
    }

    pub async fn send(&self, index: usize, request: Request<Body>) -> Answer {
        send(self.router(index), request).await
    }
}

/// An answer, as far as it arrived.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    /// `Err` if the body broke off.
    pub body: Result<Bytes, String>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_ref().unwrap()).into_owned()
    }
}

pub async fn send(router: Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await;
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.map(|b| b.to_bytes()).map_err(|e| e.to_string()),
    }
}

pub fn get(path: impl AsRef<str>) -> Request<Body> {
    Request::get(path.as_ref()).body(Body::empty()).unwrap()
}

pub fn head(path: impl AsRef<str>) -> Request<Body> {
    Request::head(path.as_ref()).body(Body::empty()).unwrap()
}

pub fn delete(path: impl AsRef<str>) -> Request<Body> {
    Request::delete(path.as_ref()).body(Body::empty()).unwrap()
}

/// Pushes a blob in one request.
pub fn post_blob(name: &str, bytes: impl Into<Bytes>) -> Request<Body> {
    let bytes = bytes.into();
    let path = format!("/v2/{name}/blobs/uploads/?digest={}", Digest::of(&bytes));
    Request::post(path).body(bytes.into()).unwrap()
}

pub fn put_manifest(name: &str, tag: &str, manifest: &Value) -> Request<Body> {
    let request = Request::put(format!("/v2/{name}/manifests/{tag}"));
    let request = request.header("content-type", MANIFEST);
    request.body(manifest.to_string().into()).unwrap()
}

/// A manifest of an empty config and a layer.
pub fn manifest(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": Digest::of(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/wasm", "digest": Digest::of(layer), "size": layer.len()}],
    })
}

/// Pushes an image through one server; the answer to its manifest, or to the blob that was refused.
pub async fn push(router: Router, name: &str, tag: &str, layer: &[u8]) -> Answer {
    for blob in [b"{}", layer] {
        let blob = Bytes::copy_from_slice(blob);
        let answer = send(router.clone(), post_blob(name, blob)).await;
        if answer.status != StatusCode::CREATED {
            return answer;
        }
    }
    send(router, put_manifest(name, tag, &manifest(layer))).await
}

/// Waits until `done` says so.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    assert!(waited.is_ok(), "not within {PATIENCE:?}: {what}");
}
