//! What a service account's token says, and whether that is good now.
//! Follows `k8s.io/kubernetes/pkg/serviceaccount/claims.go`.

use serde::{Deserialize, Serialize};

use crate::user::service_account_name;

/// How far the clocks of servers may differ, in seconds.
const LEEWAY: i64 = 60;

/// An object, as a token names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its uid: another object of the same name is another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What Kubernetes adds to the registered claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// The service account's namespace, and that of pod and secret.
    pub namespace: String,
    /// The node that the pod is on, or that the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Named>,
    /// The pod that the token lives as long as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    /// The secret that the token lives as long as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    /// Whose token it is.
    #[serde(rename = "serviceaccount")]
    pub service_account: Named,
    /// After this second it should have been renewed, though it is good for longer.
    #[serde(rename = "warnafter", default, skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<i64>,
}

/// What a token says (RFC 7519). Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is.
    #[serde(rename = "aud")]
    pub audiences: Vec<String>,
    /// When it ends.
    #[serde(rename = "exp")]
    pub expires: i64,
    /// When it was made.
    #[serde(rename = "iat")]
    pub issued: i64,
    /// Who made it.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// Its own name.
    #[serde(rename = "jti", default)]
    pub id: String,
    /// About whom, and bound to what.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
    /// When it begins.
    #[serde(rename = "nbf")]
    pub not_before: i64,
    /// The user.
    #[serde(rename = "sub")]
    pub subject: String,
}

/// Why a well-signed token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The payload is none of ours.
    #[error("token claims are not valid: {0}")]
    Unreadable(String),
    /// Made by somebody else with the same key.
    #[error("token is issued by {0:?}")]
    Issuer(String),
    /// For somebody else.
    #[error("token audiences {0:?} is invalid for the target audiences {1:?}")]
    Audience(Vec<String>, Vec<String>),
    /// Too late.
    #[error("service account token has expired")]
    Expired,
    /// Too early.
    #[error("service account token is not valid yet")]
    NotYet,
    /// The user is not the service account.
    #[error("token subject {0:?} is not its service account")]
    Subject(String),
}

impl Claims {
    /// Reads the payload of a token whose signature is good.
    ///
    /// # Errors
    /// If it holds something else.
    pub fn read(payload: &[u8]) -> Result<Self, Rejected> {
        let claims: Claims = serde_json::from_slice(payload)
            .map_err(|error| Rejected::Unreadable(error.to_string()))?;
        let account = &claims.kubernetes.service_account.name;
        if claims.subject != service_account_name(&claims.kubernetes.namespace, account) {
            return Err(Rejected::Subject(claims.subject));
        }
        Ok(claims)
    }

    /// Checks issuer and times; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, issuer: &str, now: i64) -> Result<(), Rejected> {
        if self.issuer != issuer {
            return Err(Rejected::Issuer(self.issuer.clone()));
        }
        if now >= self.expires {
            return Err(Rejected::Expired);
        }
        if now + LEEWAY < self.not_before || now + LEEWAY < self.issued {
            return Err(Rejected::NotYet);
        }
        Ok(())
    }

    /// Those of `wanted` that the token is for.
    ///
    /// # Errors
    /// If there are none.
    pub fn audiences_of(&self, wanted: &[String]) -> Result<Vec<String>, Rejected> {
        let shared: Vec<String> = wanted
            .iter()
            .filter(|w| self.audiences.contains(w))
            .cloned()
            .collect();
        if shared.is_empty() {
            return Err(Rejected::Audience(self.audiences.clone(), wanted.to_vec()));
        }
        Ok(shared)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::token::ISSUER;
    use serde_json::{Value, json};

    pub(crate) fn claims() -> Value {
        json!({
            "aud": [ISSUER],
            "exp": 2000, "iat": 1000, "nbf": 1000,
            "iss": ISSUER,
            "jti": "j",
            "kubernetes.io": {
                "namespace": "ns",
                "node": { "name": "n", "uid": "nu" },
                "pod": { "name": "p", "uid": "pu" },
                "serviceaccount": { "name": "sa", "uid": "su" },
                "warnafter": 1500,
            },
            "sub": "system:serviceaccount:ns:sa",
        })
    }

    fn changed(pointer: &str, value: Value) -> Value {
        let mut claims = claims();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = claims.pointer_mut(parent).unwrap();
        match value {
            Value::Null => drop(parent.as_object_mut().unwrap().remove(name)),
            value => parent[name] = value,
        }
        claims
    }

    #[test]
    fn claims_are_written_as_they_are_read() {
        let read = Claims::read(claims().to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), claims());
    }

    #[test]
    fn claims_are_good_for_whom_and_when_they_say() {
        let check = |claims: Value, now: i64, expect: Result<(), &str>| {
            let got = Claims::read(claims.to_string().as_bytes()).and_then(|claims| {
                claims.check(ISSUER, now)?;
                claims.audiences_of(&[ISSUER.to_owned()]).map(drop)
            });
            match (got, expect) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(expect)) => {
                    assert!(
                        error.to_string().contains(expect),
                        "{claims} at {now}: {error}"
                    );
                }
                (got, _) => panic!("{claims} at {now}: {got:?}"),
            }
        };
        let at = |now: i64, expect: Result<(), &str>| check(claims(), now, expect);
        at(1000, Ok(()));
        at(1999, Ok(()));
        at(2000, Err("has expired"));
        at(2001, Err("has expired"));
        at(940, Ok(()));
        at(939, Err("not valid yet"));
        let with = |pointer: &str, value: Value, expect: Result<(), &str>| {
            check(changed(pointer, value), 1500, expect);
        };
        with("/nbf", json!(1561), Err("not valid yet"));
        with("/iat", json!(1561), Err("not valid yet"));
        with(
            "/aud",
            json!(["other"]),
            Err("is invalid for the target audiences"),
        );
        with("/aud", json!(["other", ISSUER]), Ok(()));
        with(
            "/aud",
            json!([]),
            Err("is invalid for the target audiences"),
        );
        with("/aud", json!(ISSUER), Err("not valid"));
        with("/iss", json!("somebody"), Err("issued by \"somebody\""));
        with(
            "/sub",
            json!("system:serviceaccount:ns:other"),
            Err("is not its service account"),
        );
        with("/sub", json!("root"), Err("is not its service account"));
        with(
            "/kubernetes.io/namespace",
            json!("other"),
            Err("is not its service account"),
        );
        with("/kubernetes.io/pod", Value::Null, Ok(()));
        with("/kubernetes.io/warnafter", Value::Null, Ok(()));
        for lacking in [
            "/exp",
            "/iat",
            "/nbf",
            "/iss",
            "/sub",
            "/aud",
            "/kubernetes.io",
            "/kubernetes.io/serviceaccount",
        ] {
            with(
                lacking,
                Value::Null,
                Err("token claims are not valid: missing field"),
            );
        }
        with("/exp", json!("2000"), Err("not valid"));
    }
}
