//! The text that lets a machine into a cluster.

use std::fmt;
use std::str::FromStr;

use euston_tls::Fingerprint;

use crate::secret::Secret;

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Joining as a worker.
    Agent,
    /// Joining as a member of the control plane, which gets the CA's key; and as a worker too.
    Server,
}

impl Role {
    /// `agent` or `server`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "agent" => Ok(Self::Agent),
            "server" => Ok(Self::Server),
            _ => Err(format!("{text:?} is no role: it is agent or server")),
        }
    }
}

/// What tells tokens apart, also when they are listed: 10 hexadecimal digits. Not secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenId(String);

const ID_BYTES: usize = 10;

impl TokenId {
    fn generate() -> Self {
        let bits: u64 = rand::random();
        Self(format!("{:010x}", bits >> 24))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == ID_BYTES && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not the id of a token: {ID_BYTES} of the characters 0-9 and a-f, see `euston token list`"
            ))
        }
    }
}

/// A join token: `euston-ROLE.ID.SECRET.CAFINGERPRINT`.
///
/// The fingerprint lets the holder recognise the cluster at first contact, before the secret is
/// sent anywhere. `Display` shows all of it, `Debug` leaves the secret out.
#[derive(Clone, Debug)]
pub struct JoinToken {
    /// What the holder was told that it is good for. The cluster goes by what it noted itself.
    pub role: Role,
    /// Which token this is.
    pub id: TokenId,
    /// What proves it.
    pub secret: Secret,
    /// The CA of the cluster that it is for.
    pub ca: Fingerprint,
}

impl JoinToken {
    /// A new token for the cluster of this CA.
    pub fn generate(role: Role, ca: Fingerprint) -> Self {
        Self {
            role,
            id: TokenId::generate(),
            secret: Secret::generate(),
            ca,
        }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            role,
            id,
            secret,
            ca,
        } = self;
        write!(f, "{PREFIX}{role}.{id}.{secret}.{ca}")
    }
}

const PREFIX: &str = "euston-";

/// A text that is no join token. It does not repeat the text, which may be nearly one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join token: {why}; a token looks like euston-agent.ID.SECRET.CAFINGERPRINT, and on a \
     machine of the cluster `euston token create --role agent` makes one"
)]
pub struct ParseTokenError {
    why: String,
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let wrong = |why: &str| ParseTokenError {
            why: why.to_owned(),
        };
        let text = text.trim();
        let rest = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| wrong("it does not begin with euston-agent. or euston-server."))?;
        let parts: Vec<&str> = rest.splitn(5, '.').collect();
        let [role, id, secret, ca] = parts.as_slice() else {
            return Err(wrong(&format!(
                "it has {} parts between dots where there are 4; was it cut off when it was copied?",
                parts.len()
            )));
        };
        Ok(Self {
            role: role
                .parse()
                .map_err(|_| wrong("its role is neither agent nor server"))?,
            id: id
                .parse()
                .map_err(|_| wrong("its second part is not an id of 10 characters"))?,
            secret: secret
                .parse()
                .map_err(|_| wrong("its third part is not a secret of 32 hexadecimal digits"))?,
            ca: ca.parse().map_err(|_| {
                wrong("its last part is not a fingerprint of 64 hexadecimal digits")
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789";
    const SECRET: &str = "00112233445566778899aabbccddeeff";

    fn ca() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn a_token_comes_back_from_its_text() {
        for role in [Role::Agent, Role::Server] {
            let token = JoinToken::generate(role, ca().parse().unwrap());
            let again: JoinToken = format!(" {token}\n").parse().unwrap();
            assert_eq!(again.to_string(), token.to_string());
            assert!(token.to_string().starts_with(&format!("euston-{role}.")));
        }
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let token: JoinToken = format!("euston-agent.{ID}.{SECRET}.{}", ca())
            .parse()
            .unwrap();
        let shown = format!("{token:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains(ID), "{shown}");
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_reason() {
        let ca = ca();
        for (text, expect) in [
            (String::new(), "does not begin"),
            ("hello".to_owned(), "does not begin"),
            (format!("K10{ca}::server:{SECRET}"), "does not begin"),
            ("euston-".to_owned(), "1 parts"),
            (format!("euston-agent.{ID}.{SECRET}"), "3 parts"),
            (format!("euston-agent.{ID}.{SECRET}.{ca}.x.y.z"), "5 parts"),
            (format!("euston-root.{ID}.{SECRET}.{ca}"), "role"),
            (format!("euston-Agent.{ID}.{SECRET}.{ca}"), "role"),
            (format!("euston-agent.../../etc.{SECRET}.{ca}"), "parts"),
            (format!("euston-agent.../etc/pass.{SECRET}"), "parts"),
            (format!("euston-agent.0123/56789.{SECRET}.{ca}"), "id"),
            (format!("euston-agent.012345678A.{SECRET}.{ca}"), "id"),
            (format!("euston-agent.{ID}.{}.{ca}", &SECRET[1..]), "secret"),
            (
                format!("euston-agent.{ID}.{SECRET}.{}", &ca[1..]),
                "fingerprint",
            ),
            (
                format!("euston-agent.{ID}.{}.{ca}", "é".repeat(16)),
                "secret",
            ),
            (
                format!("euston-agent.{ID}.{SECRET}.{}", "+".repeat(64)),
                "fingerprint",
            ),
        ] {
            let why = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(why.contains(expect), "{text}: {why}");
            assert!(why.contains("euston token create --role agent"), "{why}");
            assert!(!why.contains(SECRET), "{why}");
        }
    }
}
