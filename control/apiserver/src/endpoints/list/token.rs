//! Continue tokens: where a list goes on. Opaque to clients; the form is Kubernetes' own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Result};

const VERSION: &str = "meta.k8s.io/v1";

/// The revision of a token for a client that accepts a page which does not fit the ones before.
const WHATEVER_IS_NOW: i64 = -1;

/// Where a list goes on.
#[derive(Serialize, Deserialize)]
pub struct Continue {
    v: String,
    rv: i64,
    /// The key of the first object that is still to come.
    pub start: String,
}

impl Continue {
    /// Goes on at `start`, at `revision`; `None` for whatever is true then.
    pub fn encode(revision: Option<u64>, start: &str) -> String {
        let token = Continue {
            v: VERSION.to_owned(),
            rv: revision.map_or(WHATEVER_IS_NOW, u64::cast_signed),
            start: start.to_owned(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// Reads a token for a list of the keys that begin with `within`.
    ///
    /// # Errors
    /// 400 for one that this server did not make, or made for another namespace.
    pub fn decode(text: &str, within: &str) -> Result<Self> {
        let bad = || ApiError::bad_request(format!("continue key is not valid: {text:?}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| bad())?;
        let token: Continue = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let sound = token.v == VERSION
            && (token.rv > 0 || token.rv == WHATEVER_IS_NOW)
            && token.start.starts_with(within);
        if sound { Ok(token) } else { Err(bad()) }
    }

    /// The revision of the pages before, unless it is to be whatever is true now.
    pub fn revision(&self) -> Option<u64> {
        u64::try_from(self.rv).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens_round_trip_and_stay_in_their_namespace() {
        for revision in [Some(7), None] {
            let token = Continue::encode(revision, "a/b");
            let back = Continue::decode(&token, "a/").unwrap();
            assert_eq!((back.revision(), back.start.as_str()), (revision, "a/b"));
            assert!(Continue::decode(&token, "c/").is_err());
            let padded = format!("{token}==");
            assert!(Continue::decode(&padded, "a/").is_ok());
        }
        for bad in [
            "",
            "%%%",
            "e30",
            &Continue::encode(Some(0), "a/b"),
            // -2
            &Continue::encode(Some(u64::MAX - 1), "a/b"),
            &URL_SAFE_NO_PAD.encode(r#"{"v":"v2","rv":7,"start":"a/b"}"#),
        ] {
            assert!(Continue::decode(bad, "a/").is_err(), "{bad}");
        }
    }
}
