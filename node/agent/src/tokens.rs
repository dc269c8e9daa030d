//! Tokens of service accounts in volumes: asked for, and renewed long before they end.
//!
//! Nothing is kept in memory: a token says itself when it was made and when it should be renewed, and the file that
//! holds it outlives the agent.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, PodSpec, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// What is asked for if the pod does not say, in seconds.
const SECONDS_DEFAULT: i64 = 3_600;
/// A token is renewed after so much of its life, as the kubelet does; and a day after it was made at the latest.
const RENEW_AFTER: f64 = 0.8;
const AGE_MAX: i64 = 24 * 3_600;
/// How much of a token's life renewals of tokens that were made together are spread over.
const SPREAD: f64 = 0.1;
/// A renewal that failed is tried again after this long: the old token is still good for a while.
pub(crate) const RETRY: Duration = Duration::from_secs(30);

/// A token that a volume wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) volume: String,
    /// Its file in the volume.
    pub(crate) path: String,
    audience: Option<String>,
    seconds: i64,
}

/// Tokens by volume and file.
pub(crate) type Tokens = HashMap<(String, String), Bytes>;

/// The tokens that the volumes of a pod are made from.
pub(crate) fn wanted(spec: &PodSpec) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        let sources = volume
            .projected
            .iter()
            .flat_map(|p| p.sources.iter().flatten());
        for token in sources.filter_map(|s| s.service_account_token.as_ref()) {
            wanted.push(Wanted {
                volume: volume.name.clone(),
                path: token.path.clone(),
                audience: token.audience.clone().filter(|a| !a.is_empty()),
                seconds: token.expiration_seconds.unwrap_or(SECONDS_DEFAULT),
            });
        }
    }
    wanted
}

/// When a token was made, and when it should be replaced.
#[derive(Deserialize)]
struct Times {
    iat: i64,
    exp: i64,
    #[serde(rename = "kubernetes.io", default)]
    kubernetes: Warning,
}

#[derive(Default, Deserialize)]
struct Warning {
    warnafter: Option<i64>,
}

/// The second since 1970 at which a token is renewed; `None` for what is no token. `seed` spreads renewals.
fn renewal(token: &[u8], seed: u64) -> Option<i64> {
    let token = std::str::from_utf8(token).ok()?;
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let times: Times = serde_json::from_slice(&payload).ok()?;
    let end = times.kubernetes.warnafter.unwrap_or(times.exp);
    let life = end.saturating_sub(times.iat).max(0);
    let spread = (seed % 1_000) as f64 / 1_000.0 * SPREAD;
    let after = (life as f64 * (RENEW_AFTER - spread)) as i64;
    Some(times.iat + after.min(AGE_MAX))
}

/// The tokens that a pod's volumes want: those that are there already, and new ones where those are missing or old.
/// And how long until the next one is due.
///
/// # Errors
/// A sentence for the pod's status, if the API gives none.
pub(crate) async fn get(
    client: &kube::Client,
    pod: &Pod,
    spec: &PodSpec,
    file: impl Fn(&Wanted) -> std::path::PathBuf,
) -> Result<(Tokens, Option<Duration>), String> {
    let seed = seed(pod);
    let mut tokens = Tokens::new();
    let mut due: Option<Duration> = None;
    for want in wanted(spec) {
        let now = jiff::Timestamp::now().as_second();
        let there = read(&file(&want)).await;
        let token = match there.filter(|t| renewal(t, seed).is_some_and(|at| at > now)) {
            Some(token) => token,
            None => request(client, pod, spec, &want).await?,
        };
        let left = renewal(&token, seed).map_or(0, |at| at.saturating_sub(now));
        let left = Duration::from_secs(u64::try_from(left).unwrap_or_default()).max(RETRY);
        due = Some(due.map_or(left, |due| due.min(left)));
        tokens.insert((want.volume, want.path), token);
    }
    Ok((tokens, due))
}

fn seed(pod: &Pod) -> u64 {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    uid.bytes()
        .fold(0, |h: u64, b| h.wrapping_mul(31).wrapping_add(b.into()))
}

async fn read(path: &Path) -> Option<Bytes> {
    tokio::fs::read(path).await.ok().map(Bytes::from)
}

async fn request(
    client: &kube::Client,
    pod: &Pod,
    spec: &PodSpec,
    want: &Wanted,
) -> Result<Bytes, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account = spec.service_account_name.as_deref().unwrap_or("default");
    let ask = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: want.audience.clone().map(|audience| vec![audience]),
            expiration_seconds: Some(want.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let made = accounts
        .create_token_request(account, &PostParams::default(), &ask)
        .await
        .map_err(|error| {
            format!("cannot get a token of the service account {namespace}/{account}: {error}")
        })?;
    made.status
        .and_then(|status| status.token)
        .map(Bytes::from)
        .ok_or_else(|| format!("the API server gave no token of {namespace}/{account}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn token(payload: &Value) -> Vec<u8> {
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(payload.to_string())).into_bytes()
    }

    #[test]
    fn a_token_is_renewed_in_good_time() {
        let check = |payload: Value, seed: u64, expect: Option<i64>| {
            assert_eq!(renewal(&token(&payload), seed), expect, "{payload}");
        };
        check(json!({"iat": 1000, "exp": 2000}), 0, Some(1800));
        check(json!({"iat": 1000, "exp": 2000}), 500, Some(1750));
        check(json!({"iat": 1000, "exp": 2000}), 1_999, Some(1700));
        // Good for a year, and a warning after an hour.
        let year = json!({"iat": 1000, "exp": 31_536_000, "kubernetes.io": {"warnafter": 5000}});
        check(year, 0, Some(4200));
        check(json!({"iat": 0, "exp": 31_536_000}), 0, Some(86_400));
        check(json!({"iat": 2000, "exp": 1000}), 0, Some(2000));
        check(json!({"exp": 1000}), 0, None);
        assert_eq!(renewal(b"", 0), None);
        assert_eq!(renewal(b"\xff.\xff", 0), None);
    }

    #[test]
    fn volumes_say_which_tokens_they_want() {
        let spec: PodSpec = serde_json::from_value(json!({
            "containers": [],
            "volumes": [
                {"name": "a", "emptyDir": {}},
                {"name": "b", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "x"}},
                    {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}},
                ]}},
            ],
        }))
        .unwrap();
        let want = |path: &str, audience: Option<&str>, seconds| Wanted {
            volume: "b".to_owned(),
            path: path.to_owned(),
            audience: audience.map(str::to_owned),
            seconds,
        };
        assert_eq!(
            wanted(&spec),
            [
                want("token", None, 3_600),
                want("vault", Some("vault"), 600)
            ]
        );
    }
}
