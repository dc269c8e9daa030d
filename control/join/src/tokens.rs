//! The tokens that a cluster knows: a Secret for each, with the hash of what only the holder has.

use std::time::Duration;

use euston_client::errors;
use euston_tls::Fingerprint;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::secret::SecretHash;
use crate::token::{JoinToken, Role, TokenId};

pub(crate) const NAMESPACE: &str = "kube-system";
const TYPE: &str = "euston.dev/join-token";
const NAME_PREFIX: &str = "euston-token-";

/// Longer than any plan, and small enough that no sum with it leaves the calendar.
const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// A note for people.
const NOTE_BYTES_MAX: usize = 1024;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it is good for.
    pub role: Role,
    /// How long; for ever if `None`.
    pub ttl: Option<Duration>,
    /// For people; may be empty.
    pub description: String,
    /// Who made it; may be empty.
    pub created_by: String,
}

/// What the cluster knows of a token. The token itself it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Which.
    pub id: TokenId,
    /// What it is good for.
    pub role: Role,
    /// For people.
    pub description: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
}

impl TokenInfo {
    /// Whether it is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// Why something about tokens failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The cluster's API did not do it.
    #[error("cannot {action}: {source}")]
    Api {
        /// What was attempted, on which token.
        action: String,
        /// The API's answer.
        source: kube::Error,
    },
    /// A wish that cannot be met.
    #[error("cannot create a token: {0}")]
    Wish(String),
    /// There is no such token.
    #[error("there is no token {0}; `euston token list` shows those that there are")]
    NotFound(TokenId),
}

/// Why a token does not let anybody in.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// Unknown, or with another secret: one answer for both, so that ids cannot be guessed.
    Wrong,
    /// It was right once.
    Expired(Timestamp),
    /// Somebody changed its Secret.
    Damaged(String),
    /// The cluster cannot look.
    Api(kube::Error),
}

/// Makes a token, for the cluster whose CA has the fingerprint `ca`. This is the only time that its
/// secret is seen. Tokens that are over are removed on the way, since nothing else does that.
///
/// # Errors
/// [`TokenError::Wish`] for a time or text out of bounds; [`TokenError::Api`].
pub async fn create(
    client: &Client,
    new: &NewToken,
    ca: Fingerprint,
    now: Timestamp,
) -> Result<JoinToken, TokenError> {
    let wish = |why: String| Err(TokenError::Wish(why));
    if new.description.len() > NOTE_BYTES_MAX || new.created_by.len() > NOTE_BYTES_MAX {
        return wish(format!("a description has at most {NOTE_BYTES_MAX} bytes"));
    }
    let expires = match new.ttl {
        None => None,
        Some(ttl) if ttl.is_zero() || ttl > TTL_MAX => {
            return wish(format!(
                "its time to live is {ttl:?}, and must be more than nothing and at most ten years"
            ));
        }
        Some(ttl) => SignedDuration::try_from(ttl)
            .ok()
            .and_then(|ttl| now.checked_add(ttl).ok()),
    };
    for old in list(client).await?.iter().filter(|t| t.is_expired(now)) {
        match delete(client, &old.id).await {
            Err(TokenError::NotFound(_)) | Ok(()) => {}
            Err(e) => return Err(e),
        }
    }
    let token = JoinToken::generate(new.role, ca);
    let info = TokenInfo {
        id: token.id.clone(),
        role: new.role,
        description: new.description.clone(),
        created_by: new.created_by.clone(),
        created: Some(now),
        expires,
    };
    let object = encode(&info, &token.secret.hash());
    secrets(client)
        .create(&PostParams::default(), &object)
        .await
        .map_err(|source| TokenError::Api {
            action: format!("store the token {}", token.id),
            source,
        })?;
    Ok(token)
}

/// The tokens that there are, the newest first. Secrets of this type that hold no token are left out.
///
/// # Errors
/// [`TokenError::Api`].
pub async fn list(client: &Client) -> Result<Vec<TokenInfo>, TokenError> {
    let of_this_type = ListParams::default().fields(&format!("type={TYPE}"));
    let found = secrets(client)
        .list(&of_this_type)
        .await
        .map_err(|source| TokenError::Api {
            action: "list the tokens".to_owned(),
            source,
        })?;
    let mut infos: Vec<TokenInfo> = found
        .iter()
        .filter_map(|object| match decode(object) {
            Ok((info, _)) => Some(info),
            Err(why) => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!(%name, %why, "a Secret holds no token, though its type says so");
                None
            }
        })
        .collect();
    infos.sort_by(|a, b| (b.created, &a.id).cmp(&(a.created, &b.id)));
    Ok(infos)
}

/// Makes a token good for nothing. Who joined with it stays.
///
/// # Errors
/// [`TokenError::NotFound`], [`TokenError::Api`].
pub async fn delete(client: &Client, id: &TokenId) -> Result<(), TokenError> {
    let name = object_name(id);
    match secrets(client)
        .delete(&name, &DeleteParams::default())
        .await
    {
        Ok(_) => Ok(()),
        Err(e) if errors::is_not_found(&e) => Err(TokenError::NotFound(id.clone())),
        Err(source) => Err(TokenError::Api {
            action: format!("delete the token {id}"),
            source,
        }),
    }
}

/// What the holder of `token` may do. Reads from the cluster each time, so that a deleted token is no
/// good from that moment on.
pub(crate) async fn check(
    client: &Client,
    token: &JoinToken,
    now: Timestamp,
) -> Result<Role, CheckError> {
    let object = match secrets(client).get(&object_name(&token.id)).await {
        Ok(object) => object,
        Err(e) if errors::is_not_found(&e) => return Err(CheckError::Wrong),
        Err(e) => return Err(CheckError::Api(e)),
    };
    let (info, hash) = decode(&object).map_err(CheckError::Damaged)?;
    if !hash.matches(&token.secret) {
        return Err(CheckError::Wrong);
    }
    match info.expires {
        Some(end) if info.is_expired(now) => Err(CheckError::Expired(end)),
        _ => Ok(info.role),
    }
}

fn secrets(client: &Client) -> Api<SecretObject> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn object_name(id: &TokenId) -> String {
    format!("{NAME_PREFIX}{id}")
}

fn encode(info: &TokenInfo, hash: &SecretHash) -> SecretObject {
    let mut data = vec![
        ("role", info.role.to_string()),
        ("hash", hash.to_string()),
        ("description", info.description.clone()),
        ("created-by", info.created_by.clone()),
    ];
    data.extend(info.created.map(|at| ("created", at.to_string())));
    data.extend(info.expires.map(|at| ("expires", at.to_string())));
    SecretObject {
        metadata: ObjectMeta {
            name: Some(object_name(&info.id)),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        string_data: Some(data.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        // A token is made, used and deleted; nobody has a reason to change one.
        immutable: Some(true),
        ..SecretObject::default()
    }
}

/// Reads a token's Secret; says what is wrong with it.
fn decode(object: &SecretObject) -> Result<(TokenInfo, SecretHash), String> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if object.type_.as_deref() != Some(TYPE) {
        return Err(format!("the type of the Secret {name} is not {TYPE}"));
    }
    let id = name.strip_prefix(NAME_PREFIX).unwrap_or_default().parse()?;
    let text = |key: &str| -> Result<Option<&str>, String> {
        let Some(bytes) = object.data.as_ref().and_then(|data| data.get(key)) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes.0)
            .map_err(|_| format!("{key} of the Secret {name} is no text"))?;
        Ok(Some(text))
    };
    let needed = |key: &str| text(key)?.ok_or_else(|| format!("the Secret {name} has no {key}"));
    let time = |key: &str| -> Result<Option<Timestamp>, String> {
        text(key)?
            .map(|t| {
                t.parse()
                    .map_err(|e| format!("{key} of the Secret {name}: {e}"))
            })
            .transpose()
    };
    let info = TokenInfo {
        id,
        role: needed("role")?.parse()?,
        description: text("description")?.unwrap_or_default().to_owned(),
        created_by: text("created-by")?.unwrap_or_default().to_owned(),
        created: time("created")?,
        expires: time("expires")?,
    };
    Ok((info, needed("hash")?.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use k8s_openapi::ByteString;

    /// What the API server makes of `stringData`.
    fn stored(mut object: SecretObject) -> SecretObject {
        let strings = object.string_data.take().unwrap_or_default();
        let data = strings.into_iter().map(|(k, v)| (k, ByteString(v.into())));
        object.data = Some(data.collect());
        object
    }

    fn info() -> TokenInfo {
        TokenInfo {
            id: "0123456789".parse().unwrap(),
            role: Role::Agent,
            description: "the shop's nodes".to_owned(),
            created_by: "kate".to_owned(),
            created: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            expires: Some("2026-01-02T00:00:00Z".parse().unwrap()),
        }
    }

    #[test]
    fn a_token_is_kept_without_its_secret() {
        let secret = Secret::generate();
        let object = stored(encode(&info(), &secret.hash()));
        let (found, hash) = decode(&object).unwrap();
        assert_eq!(found, info());
        assert!(hash.matches(&secret));
        let all = serde_json::to_string(&object).unwrap();
        assert!(!all.contains(&secret.to_string()));
    }

    #[test]
    fn a_token_ends_at_its_time() {
        for (now, expect) in [
            ("2026-01-01T23:59:59Z", false),
            ("2026-01-02T00:00:00Z", true),
            ("2030-01-01T00:00:00Z", true),
        ] {
            assert_eq!(info().is_expired(now.parse().unwrap()), expect, "{now}");
        }
        let for_ever = TokenInfo {
            expires: None,
            ..info()
        };
        assert!(!for_ever.is_expired(Timestamp::MAX));
    }

    #[test]
    fn a_secret_that_holds_no_token_is_named() {
        let good = stored(encode(&info(), &Secret::generate().hash()));
        let check = |change: &dyn Fn(&mut SecretObject), expect: &str| {
            let mut object = good.clone();
            change(&mut object);
            let why = decode(&object).unwrap_err();
            assert!(why.contains(expect), "{why}");
        };
        let set = |key: &'static str, value: &'static [u8]| {
            move |object: &mut SecretObject| {
                let data = object.data.get_or_insert_default();
                data.insert(key.to_owned(), ByteString(value.to_vec()));
            }
        };
        check(&|o| o.type_ = None, "type");
        check(&|o| o.metadata.name = None, "not the id of a token");
        check(&|o| o.data = None, "has no role");
        check(&set("role", b"root"), "no role");
        check(&set("hash", b"abc"), "64 hexadecimal digits");
        check(&set("hash", b"\xff"), "no text");
        check(&set("expires", b"tomorrow"), "expires of the Secret");
    }
}
