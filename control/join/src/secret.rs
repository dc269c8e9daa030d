//! Random bits that prove something, and what is kept to recognise them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// 128 random bits. Shown as 32 hexadecimal digits, and never by `Debug`.
#[derive(Clone)]
pub struct Secret([u8; BYTES]);

const BYTES: usize = 16;

impl Secret {
    /// A new one, from the system's source of randomness.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// What the cluster keeps. It needs no salt and no slow function: nobody finds 128 random bits by
    /// trying, whoever may read this.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text itself stays out of the message.
        unhex(text)
            .map(Self)
            .ok_or_else(|| format!("a secret has {} hexadecimal digits", 2 * BYTES))
    }
}

/// The SHA-256 of a [`Secret`].
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Whether this is the hash of `secret`. Takes the same time whatever the answer.
    pub fn matches(&self, secret: &Secret) -> bool {
        let other = secret.hash();
        let difference = self.0.iter().zip(other.0);
        difference.fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

impl FromStr for SecretHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        unhex(text)
            .map(Self)
            .ok_or_else(|| "a hash has 64 hexadecimal digits".to_owned())
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_back_from_its_text_and_matches_its_hash_alone() {
        let secret = Secret::generate();
        let again: Secret = secret.to_string().parse().unwrap();
        let hash: SecretHash = secret.hash().to_string().parse().unwrap();
        assert!(hash.matches(&again));
        assert!(!hash.matches(&Secret::generate()));
        assert!(!hash.to_string().contains(&secret.to_string()));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn a_text_that_is_no_secret_is_refused_without_repeating_it() {
        for text in ["", "abc", &"g".repeat(32), &"a".repeat(33), &"é".repeat(16)] {
            let why = text.parse::<Secret>().unwrap_err();
            assert!(text.is_empty() || !why.contains(text), "{why}");
        }
    }
}
