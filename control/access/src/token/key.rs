//! The key pair that signs service accounts' tokens: ECDSA P-256, as JSON Web Signatures (RFC 7515, RFC 7518 `ES256`).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// What comes before the 65 bytes of a P-256 point in its SubjectPublicKeyInfo (RFC 5480).
const SPKI_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The only algorithm: a token that names another one is not looked at further.
const ALGORITHM: &str = "ES256";

/// The longest token that is looked at, in bytes. Ours have about 1,200.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Signs tokens, and tells whether it did.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    id: String,
    random: SystemRandom,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a key cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[error("the key for service accounts' tokens: {0}")]
pub struct KeyError(String);

/// Why a text is no token of this key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not three parts of base64 and JSON, or far too long.
    #[error("it is no signed token")]
    NoToken,
    /// Signed in another way, or with another key.
    #[error("its signature is not this cluster's")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

impl SigningKey {
    /// A new key as PKCS #8, for [`open`](Self::open). Secret.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map(|document| document.as_ref().to_vec())
            .map_err(|e| KeyError(format!("cannot be made: {e}")))
    }

    /// Opens a key that [`generate`](Self::generate) made.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|e| KeyError(format!("cannot be read: {e}")))?;
        let spki = [SPKI_PREFIX, pair.public_key().as_ref()].concat();
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, &spki));
        Ok(SigningKey { pair, id, random })
    }

    /// Signs a JSON object.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn sign(&self, payload: &[u8]) -> Result<String, KeyError> {
        let header = json!({ "alg": ALGORITHM, "kid": self.id }).to_string();
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self
            .pair
            .sign(&self.random, token.as_bytes())
            .map_err(|e| KeyError(format!("cannot sign: {e}")))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The payload of a token that this key signed.
    ///
    /// # Errors
    /// If it did not.
    pub fn verify(&self, token: &str) -> Result<Vec<u8>, Malformed> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Malformed::NoToken);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Malformed::NoToken)?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed::NoToken)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::NoToken);
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| Malformed::NoToken)?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        if header.alg != ALGORITHM || header.kid != self.id {
            return Err(Malformed::Signature);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Malformed::Signature)?;
        Ok(payload)
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub fn key_set(&self) -> Value {
        // An uncompressed point: a tag, then the two coordinates.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({
            "keys": [{
                "use": "sig",
                "kty": "EC",
                "kid": self.id,
                "crv": "P-256",
                "alg": ALGORITHM,
                "x": URL_SAFE_NO_PAD.encode(x),
                "y": URL_SAFE_NO_PAD.encode(y),
            }]
        })
    }
}

/// The document that others find the keys with (OpenID Connect Discovery 1.0). `keys_url` is where the key set is.
pub fn discovery(issuer: &str, keys_url: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": keys_url,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn key() -> SigningKey {
        SigningKey::open(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn what_a_key_signs_it_knows_and_nothing_else() {
        let (ours, theirs) = (key(), key());
        let token = ours.sign(b"{\"a\":1}").unwrap();
        assert_eq!(ours.verify(&token), Ok(b"{\"a\":1}".to_vec()));
        assert_eq!(theirs.verify(&token), Err(Malformed::Signature));
        let parts: Vec<&str> = token.split('.').collect();
        let other = ours.sign(b"{\"a\":2}").unwrap();
        let others: Vec<&str> = other.split('.').collect();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let check = |token: String, expect: Malformed| {
            assert_eq!(ours.verify(&token), Err(expect), "{token}");
        };
        check(
            format!("{}.{}.{}", parts[0], others[1], parts[2]),
            Malformed::Signature,
        );
        check(
            format!("{}.{}.{}", parts[0], parts[1], others[2]),
            Malformed::Signature,
        );
        check(format!("{}.{}.", parts[0], parts[1]), Malformed::Signature);
        check(format!("{}.{}", parts[0], parts[1]), Malformed::NoToken);
        check(format!("{token}."), Malformed::NoToken);
        check(format!("{token}="), Malformed::NoToken);
        for header in [
            r#"{"alg":"none"}"#.to_owned(),
            format!(r#"{{"alg":"none","kid":"{}"}}"#, ours.id),
            format!(r#"{{"alg":"HS256","kid":"{}"}}"#, ours.id),
            r#"{"alg":"ES256","kid":"other"}"#.to_owned(),
            r#"{"alg":"ES256"}"#.to_owned(),
        ] {
            let token = format!("{}.{}.{}", encode(&header), parts[1], parts[2]);
            check(token, Malformed::Signature);
        }
        for token in ["", ".", "..", "a.b.c", "e30.e30.e30", "hello"] {
            check(token.to_owned(), Malformed::NoToken);
        }
        check("a".repeat(TOKEN_BYTES_MAX + 1), Malformed::NoToken);
    }

    #[test]
    fn the_key_set_holds_the_public_key() {
        let key = key();
        let set = key.key_set();
        let shown = &set["keys"][0];
        assert_eq!(shown["kid"], key.id);
        let coordinate = |name: &str| {
            URL_SAFE_NO_PAD
                .decode(shown[name].as_str().unwrap())
                .unwrap()
        };
        let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
        assert_eq!(point, key.pair.public_key().as_ref());
        assert!(SigningKey::open(b"no key").is_err());
    }
}
