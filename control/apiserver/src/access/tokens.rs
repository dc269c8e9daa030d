//! Bearer tokens: whose they are, and new ones for service accounts.
//!
//! A signature is verified once. Whether what a token is bound to still exists is looked at with every request, in the
//! caches, and costs a comparison of revisions as long as nothing changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use euston_access::User;
use euston_access::token::{Claims, ISSUER, Named, SigningKey, bootstrap, key, request};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequestSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{ApiError, Result};
use crate::registry::table::Table;
use crate::storage::{Entry, ObjectKey, ResourceCache, Storage};

/// Verified tokens that are remembered, at about 1 KiB each: those of 8,000 pods that talk to the API. When it is
/// full, those that ended go; if none did, all go and are verified again as they come.
const KNOWN_MAX: usize = 8_192;

/// For how long after its deletion an object's tokens are good, in seconds: it takes its leave with them.
const FAREWELL: i64 = 60;

const EXTRA: &str = "authentication.kubernetes.io/";

/// Verifies and makes tokens.
pub struct Tokens {
    key: SigningKey,
    /// Where the key set is published.
    keys_url: String,
    caches: Caches,
    known: Mutex<HashMap<[u8; 32], Arc<Known>>>,
}

struct Caches {
    accounts: Arc<ResourceCache>,
    pods: Arc<ResourceCache>,
    secrets: Arc<ResourceCache>,
    nodes: Arc<ResourceCache>,
}

/// A token whose signature is good.
struct Known {
    claims: Claims,
    user: Arc<User>,
    /// The revisions at which its account, and what it is bound to, were found as they should be.
    account_seen: AtomicU64,
    bound_seen: AtomicU64,
}

/// What is looked at of an object.
#[derive(Deserialize)]
struct Live {
    metadata: LiveMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiveMeta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    deletion_timestamp: Option<Time>,
}

/// What is looked at of a bootstrap token's Secret.
#[derive(Deserialize)]
struct Plain {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    data: Option<BTreeMap<String, ByteString>>,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Tokens {
    /// Reads the cluster's key, or makes it. `keys_url` is where others find its public half.
    ///
    /// # Errors
    /// The store's; 500 for a key that cannot be used.
    pub async fn start(table: &Table, storage: &Storage, keys_url: String) -> Result<Self> {
        let make = || SigningKey::generate().map_err(ApiError::internal);
        let pkcs8 = storage.once("serviceaccounts", make).await?;
        let cache = |plural: &str| {
            let cache = table.row_of("", plural).map(|row| row.cache);
            cache.ok_or_else(|| ApiError::internal(format!("no kind {plural}")))
        };
        Ok(Tokens {
            key: SigningKey::open(&pkcs8).map_err(ApiError::internal)?,
            keys_url,
            caches: Caches {
                accounts: cache("serviceaccounts")?,
                pods: cache("pods")?,
                secrets: cache("secrets")?,
                nodes: cache("nodes")?,
            },
            known: Mutex::default(),
        })
    }

    /// The public keys.
    pub fn key_set(&self) -> Value {
        self.key.key_set()
    }

    /// Where others find them.
    pub fn discovery(&self) -> Value {
        key::discovery(ISSUER, &self.keys_url)
    }

    /// The user whom a token for this API shows.
    ///
    /// # Errors
    /// Why it shows nobody, for logs and reviews: a client learns no more than 401.
    pub fn user(&self, token: &str) -> std::result::Result<Arc<User>, String> {
        self.review(token, None).map(|(user, _)| user)
    }

    /// The user whom a token shows, and for which of the `audiences` (this API alone, if none are given) it does.
    ///
    /// # Errors
    /// Why it shows nobody.
    pub fn review(
        &self,
        token: &str,
        audiences: Option<&[String]>,
    ) -> std::result::Result<(Arc<User>, Vec<String>), String> {
        let own = [ISSUER.to_owned()];
        let wanted = audiences.unwrap_or(&own);
        if let Some(parts) = bootstrap::parts(token) {
            let user = self
                .bootstrap_user(parts)
                .ok_or("no such bootstrap token")?;
            // It says of no audience, so it is for this API.
            let shared = wanted.contains(&own[0]).then(|| own.to_vec());
            return Ok((
                Arc::new(user),
                shared.ok_or("a bootstrap token is for the API alone")?,
            ));
        }
        let known = self.known(token)?;
        let now = now();
        known.claims.check(ISSUER, now).map_err(|e| e.to_string())?;
        let shared = known
            .claims
            .audiences_of(wanted)
            .map_err(|e| e.to_string())?;
        self.caches.exists(&known, now)?;
        Ok((known.user.clone(), shared))
    }

    fn known(&self, token: &str) -> std::result::Result<Arc<Known>, String> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.known.lock().get(&hash) {
            return Ok(known.clone());
        }
        let payload = self.key.verify(token).map_err(|e| e.to_string())?;
        let claims = Claims::read(&payload).map_err(|e| e.to_string())?;
        let known = Arc::new(Known {
            user: Arc::new(user_of(&claims)),
            claims,
            account_seen: AtomicU64::new(0),
            bound_seen: AtomicU64::new(0),
        });
        let mut all = self.known.lock();
        if all.len() >= KNOWN_MAX {
            let now = now();
            all.retain(|_, known| known.claims.expires > now);
            if all.len() >= KNOWN_MAX {
                all.clear();
            }
        }
        all.insert(hash, known.clone());
        Ok(known)
    }

    fn bootstrap_user(&self, (id, secret): (&str, &str)) -> Option<User> {
        let name = format!("{}{id}", bootstrap::NAME_PREFIX);
        let key = ObjectKey::new(Some(bootstrap::NAMESPACE), &name);
        let entry = self.caches.secrets.get(&key)?;
        let live: Live = serde_json::from_slice(&entry.value).ok()?;
        if live.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let plain: Plain = serde_json::from_slice(&entry.value).ok()?;
        let ended = |time: &str| {
            let end: jiff::Timestamp = time.parse().ok()?;
            Some(end <= jiff::Timestamp::now())
        };
        bootstrap::user(
            (id, secret),
            &plain.kind,
            &plain.data.unwrap_or_default(),
            ended,
        )
    }

    /// A new token for the service account `name`, and until when its holder should use it. `spec` has its defaults.
    ///
    /// # Errors
    /// 404 for an account or a bound object that is not there, 409 for one of another uid, 400 for one that cannot
    /// be bound to.
    pub fn make(
        &self,
        namespace: &str,
        name: &str,
        spec: &TokenRequestSpec,
    ) -> Result<(String, Time)> {
        let account = self
            .caches
            .accounts
            .get(&ObjectKey::new(Some(namespace), name));
        let account = account.ok_or_else(|| ApiError::not_found("", "serviceaccounts", name))?;
        let account = Named {
            name: name.to_owned(),
            uid: live(&account)?.uid,
        };
        let bound = match &spec.bound_object_ref {
            Some(reference) => self.bound(namespace, name, reference)?,
            None => request::Bound::default(),
        };
        let id = uuid::Uuid::new_v4().to_string();
        let (claims, until) = request::claims(spec, namespace, account, bound, id, now());
        let payload = serde_json::to_vec(&claims).map_err(ApiError::internal)?;
        let token = self.key.sign(&payload).map_err(ApiError::internal)?;
        let until = jiff::Timestamp::from_second(until).map_err(ApiError::internal)?;
        Ok((token, Time(until)))
    }

    fn bound(
        &self,
        namespace: &str,
        account: &str,
        reference: &BoundObjectReference,
    ) -> Result<request::Bound> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (kind, name) = (text(&reference.kind), text(&reference.name));
        let (cache, plural, place) = match (text(&reference.api_version).as_str(), kind.as_str()) {
            ("v1", "Pod") => (&self.caches.pods, "pods", Some(namespace)),
            ("v1", "Secret") => (&self.caches.secrets, "secrets", Some(namespace)),
            ("v1", "Node") => (&self.caches.nodes, "nodes", None),
            (version, kind) => {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {version}, Kind={kind}"
                )));
            }
        };
        let entry = cache
            .get(&ObjectKey::new(place, &name))
            .ok_or_else(|| ApiError::not_found("", plural, &name))?;
        let uid = live(&entry)?.uid;
        let wanted = text(&reference.uid);
        if !wanted.is_empty() && wanted != uid {
            return Err(ApiError::conflict(
                "",
                plural,
                &name,
                &format!(
                    "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ));
        }
        let mut bound = request::Bound::default();
        let named = Named { name, uid };
        match plural {
            "secrets" => bound.secret = Some(named),
            "nodes" => bound.node = Some(named),
            _ => {
                let pod: Pod = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
                let spec = pod.spec.unwrap_or_default();
                if spec.service_account_name.as_deref() != Some(account) {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                bound.node = spec.node_name.filter(|n| !n.is_empty()).map(|name| Named {
                    uid: self.node_uid(&name),
                    name,
                });
                bound.pod = Some(named);
            }
        }
        Ok(bound)
    }

    fn node_uid(&self, name: &str) -> String {
        let entry = self.caches.nodes.get(&ObjectKey::new(None, name));
        entry
            .and_then(|e| live(&e).ok())
            .map(|l| l.uid)
            .unwrap_or_default()
    }
}

fn live(entry: &Entry) -> Result<LiveMeta> {
    let live: Live = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
    Ok(live.metadata)
}

fn user_of(claims: &Claims) -> User {
    let about = &claims.kubernetes;
    let account = &about.service_account;
    let mut user = User::service_account(&about.namespace, &account.name, &account.uid);
    let mut say = |name: &str, value: &str| {
        if !value.is_empty() {
            user.extra
                .insert(format!("{EXTRA}{name}"), vec![value.to_owned()]);
        }
    };
    if !claims.id.is_empty() {
        say("credential-id", &format!("JTI={}", claims.id));
    }
    for (kind, named) in [("pod", &about.pod), ("node", &about.node)] {
        if let Some(named) = named {
            say(&format!("{kind}-name"), &named.name);
            say(&format!("{kind}-uid"), &named.uid);
        }
    }
    user
}

impl Caches {
    /// Refuses a token whose account, or what it is bound to, is gone or another by now.
    fn exists(&self, known: &Known, now: i64) -> std::result::Result<(), String> {
        let about = &known.claims.kubernetes;
        let place = Some(about.namespace.as_str());
        let account = (&about.service_account, place, "service account");
        unchanged(&self.accounts, account, &known.account_seen, now)?;
        let (cache, named, place, what) = match (&about.pod, &about.secret, &about.node) {
            (Some(pod), ..) => (&self.pods, pod, place, "pod"),
            (None, Some(secret), _) => (&self.secrets, secret, place, "secret"),
            (None, None, Some(node)) => (&self.nodes, node, None, "node"),
            (None, None, None) => return Ok(()),
        };
        unchanged(cache, (named, place, what), &known.bound_seen, now)
    }
}

fn unchanged(
    cache: &ResourceCache,
    (named, namespace, what): (&Named, Option<&str>, &str),
    seen: &AtomicU64,
    now: i64,
) -> std::result::Result<(), String> {
    let gone = || format!("the {what} {:?} of the token has been deleted", named.name);
    let entry = cache
        .get(&ObjectKey::new(namespace, &named.name))
        .ok_or_else(gone)?;
    if entry.revision == seen.load(Ordering::Relaxed) {
        return Ok(());
    }
    let live = live(&entry).map_err(|e| e.to_string())?;
    if live.uid != named.uid {
        return Err(gone());
    }
    match live.deletion_timestamp {
        Some(end) if end.0.as_second() + FAREWELL < now => Err(gone()),
        Some(_) => Ok(()),
        None => {
            seen.store(entry.revision, Ordering::Relaxed);
            Ok(())
        }
    }
}
