//! Which wire a client wants, from the head of its request, and the head of the answer.
//!
//! Follows RFC 6455 (section 4.2) for WebSocket, and `k8s.io/apimachinery/pkg/util/httpstream` for
//! SPDY.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::ws::channel::Form;
use crate::ws::connection::Dialect;

/// The versions of the protocol inside SPDY that a client offers, and the one that is taken.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Those that the server knows, where it knows none of the client's.
const ACCEPTED_PROTOCOLS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";
/// The protocol of port-forwards in SPDY.
const PORT_FORWARD: &str = "portforward.k8s.io";
/// The same, in SPDY in a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Browsers cannot set headers, so tokens travel as subprotocols. They are for the API server.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// exec and attach.
    Command,
    /// Port-forward.
    PortForward,
    /// One stream that only the server writes: a log.
    Reading,
}

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Channels(Dialect),
    Spdy,
    /// SPDY in the messages of a WebSocket.
    Tunnel,
}

/// How an upgraded connection is to be spoken on. Made by [`negotiate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    pub(crate) wire: Wire,
    /// The error stream carries a `Status`, rather than a sentence (v4).
    pub(crate) status: bool,
    /// The size of terminals is told (v3).
    pub(crate) resize: bool,
}

/// An upgrade that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: StatusCode,
    /// Why.
    pub message: String,
    /// Headers of the answer, by which clients find what would have been accepted.
    pub headers: HeaderMap,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            headers: HeaderMap::new(),
        }
    }
}

struct Version {
    name: &'static str,
    agreed: Agreed,
}

const fn ws(name: &'static str, form: Form, version: u8) -> Version {
    let closes = version >= 5;
    Version {
        name,
        agreed: Agreed {
            wire: Wire::Channels(Dialect { form, closes }),
            status: version >= 4,
            // The channel is there in every version.
            resize: true,
        },
    }
}

const fn spdy(name: &'static str, version: u8) -> Version {
    Version {
        name,
        agreed: Agreed {
            wire: Wire::Spdy,
            status: version >= 4,
            resize: version >= 3,
        },
    }
}

/// Subprotocols of WebSockets for commands. The nameless one is for clients that name none.
const COMMAND_WS: &[Version] = &[
    ws("v5.channel.k8s.io", Form::Binary, 5),
    ws("v4.channel.k8s.io", Form::Binary, 4),
    ws("v4.base64.channel.k8s.io", Form::Base64, 4),
    ws("channel.k8s.io", Form::Binary, 1),
    ws("base64.channel.k8s.io", Form::Base64, 1),
    ws("", Form::Binary, 1),
];

const COMMAND_SPDY: &[Version] = &[
    spdy("v4.channel.k8s.io", 4),
    spdy("v3.channel.k8s.io", 3),
    spdy("v2.channel.k8s.io", 2),
    spdy("channel.k8s.io", 1),
];

const FORWARD_WS: &[Version] = &[
    Version {
        name: TUNNEL,
        agreed: Agreed {
            wire: Wire::Tunnel,
            status: false,
            resize: false,
        },
    },
    ws("v4.channel.k8s.io", Form::Binary, 4),
    ws("v4.base64.channel.k8s.io", Form::Base64, 4),
    ws("", Form::Binary, 4),
];

const READING_WS: &[Version] = &[
    ws("binary.k8s.io", Form::Plain, 1),
    ws("base64.binary.k8s.io", Form::PlainBase64, 1),
    ws("", Form::Plain, 1),
];

const FORWARD_SPDY: &[Version] = &[spdy(PORT_FORWARD, 1)];

/// Whether a request asks for an upgrade at all, and to what, in lower case.
pub fn wanted_upgrade(headers: &HeaderMap) -> Option<String> {
    let upgrades = values(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let to = headers.get(UPGRADE)?.to_str().ok()?;
    upgrades.then(|| to.to_ascii_lowercase())
}

/// Removes the bearer token that a browser sent as a subprotocol: it was for the API server, and
/// must not reach whoever stands behind it.
pub fn strip_token(headers: &mut HeaderMap) {
    let offered: Vec<String> = values(headers, &SEC_WEBSOCKET_PROTOCOL)
        .map(str::to_owned)
        .collect();
    if !offered.iter().any(|protocol| protocol.starts_with(TOKEN)) {
        return;
    }
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    let kept: Vec<&str> = offered
        .iter()
        .map(String::as_str)
        .filter(|protocol| !protocol.starts_with(TOKEN))
        .collect();
    // They came out of a header, so they fit into one.
    if let Ok(kept) = HeaderValue::from_str(&kept.join(","))
        && !kept.is_empty()
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, kept);
    }
}

/// Comma-separated values of a header that may be there several times.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// Agrees on a wire. The headers are those of the answer, whose status is 101.
///
/// # Errors
/// The answer to a client that asks for no upgrade, or for none that is spoken here.
pub fn negotiate(headers: &HeaderMap, purpose: Purpose) -> Result<(Agreed, HeaderMap), Refusal> {
    let upgrade = wanted_upgrade(headers)
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "Upgrade request required"))?;
    if upgrade == "websocket" {
        websocket(headers, purpose)
    } else if upgrade == "spdy/3.1" {
        spdy_upgrade(headers, purpose)
    } else {
        Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("unable to upgrade: the upgrade {upgrade:?} is neither websocket nor {SPDY}"),
        ))
    }
}

fn websocket(headers: &HeaderMap, purpose: Purpose) -> Result<(Agreed, HeaderMap), Refusal> {
    let known = match purpose {
        Purpose::Command => COMMAND_WS,
        Purpose::PortForward => FORWARD_WS,
        Purpose::Reading => READING_WS,
    };
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        let mut refusal = Refusal::new(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: Sec-WebSocket-Version must be 13",
        );
        let version = HeaderValue::from_static("13");
        refusal.headers.insert(SEC_WEBSOCKET_VERSION, version);
        return Err(refusal);
    }
    // 16 bytes in base64 (RFC 6455, 4.2.1).
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24)
        .ok_or_else(|| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "unable to upgrade: Sec-WebSocket-Key must be 16 bytes in base64",
            )
        })?;
    let offered: Vec<&str> = values(headers, &SEC_WEBSOCKET_PROTOCOL)
        .filter(|protocol| !protocol.starts_with(TOKEN))
        .collect();
    let chosen = choose(known, if offered.is_empty() { &[""] } else { &offered }).ok_or_else(|| {
        Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "unable to upgrade: requested protocol(s) are not supported: {offered:?}; supports {:?}",
                names(known)
            ),
        )
    })?;
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::try_from(accept(key.as_bytes()))
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if !chosen.name.is_empty() {
        let name = HeaderValue::from_static(chosen.name);
        answer.insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok((chosen.agreed, answer))
}

/// The proof that the key was understood (RFC 6455, 4.2.2). SHA-1 keeps no secret here.
fn accept(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    STANDARD.encode(proof)
}

fn spdy_upgrade(headers: &HeaderMap, purpose: Purpose) -> Result<(Agreed, HeaderMap), Refusal> {
    let known = match purpose {
        Purpose::Command => COMMAND_SPDY,
        Purpose::PortForward => FORWARD_SPDY,
        Purpose::Reading => &[],
    };
    let offered: Vec<&str> = values(headers, &STREAM_PROTOCOL).collect();
    if offered.is_empty() {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: X-Stream-Protocol-Version is required",
        ));
    }
    let chosen = choose(known, &offered).ok_or_else(|| {
        let mut refusal = Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {:?}",
                names(known)
            ),
        );
        for version in known {
            let name = HeaderValue::from_static(version.name);
            refusal.headers.append(ACCEPTED_PROTOCOLS, name);
        }
        refusal
    })?;
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static(SPDY));
    answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(chosen.name));
    Ok((chosen.agreed, answer))
}

/// The first of the client's that is known.
fn choose<'a>(known: &'a [Version], offered: &[&str]) -> Option<&'a Version> {
    offered
        .iter()
        .find_map(|offer| known.iter().find(|version| version.name == *offer))
}

fn names(known: &[Version]) -> Vec<&'static str> {
    known
        .iter()
        .map(|version| version.name)
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests;
