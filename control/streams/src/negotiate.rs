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
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const WS: [&str; 4] = [
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    const SPDY_HEAD: [&str; 2] = ["Connection: Upgrade", "Upgrade: SPDY/3.1"];

    fn check(purpose: Purpose, base: &[&str], more: &[&str], expect: Result<&str, &str>) {
        let headers = headers(&[base, more].concat());
        let got = match negotiate(&headers, purpose) {
            Ok((agreed, answer)) => {
                let text = |name: &HeaderName| {
                    let value = answer.get(name).map(|value| value.to_str().unwrap());
                    value.unwrap_or("-").to_owned()
                };
                let wire = match agreed.wire {
                    Wire::Spdy => "spdy",
                    Wire::Tunnel => "tunnel",
                    Wire::Channels(dialect) => match (dialect.form, dialect.closes) {
                        (Form::Binary, true) => "binary closes",
                        (Form::Binary, false) => "binary",
                        (Form::Base64, _) => "base64",
                    },
                };
                let protocol = match agreed.wire {
                    Wire::Spdy => text(&STREAM_PROTOCOL),
                    _ => text(&SEC_WEBSOCKET_PROTOCOL),
                };
                let status = if agreed.status { " status" } else { "" };
                let resize = if agreed.resize { " resize" } else { "" };
                Ok(format!("{wire} {protocol}{status}{resize}"))
            }
            Err(refusal) => Err(format!("{} {}", refusal.status.as_u16(), refusal.message)),
        };
        match (got, expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect, "{more:?}"),
            (Err(got), Err(expect)) => assert!(got.starts_with(expect), "{got} / {expect}"),
            (got, _) => panic!("{more:?}: {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn websockets_are_agreed_on_by_subprotocol() {
        use Purpose::{Command, PortForward};
        let offer = |purpose, protocols: &str, expect| {
            let line = format!("Sec-WebSocket-Protocol: {protocols}");
            check(purpose, &WS, &[&line], expect);
        };
        offer(
            Command,
            "v5.channel.k8s.io",
            Ok("binary closes v5.channel.k8s.io status resize"),
        );
        offer(
            Command,
            "v4.channel.k8s.io, v5.channel.k8s.io",
            Ok("binary v4.channel.k8s.io status resize"),
        );
        offer(
            Command,
            "v9, base64.channel.k8s.io",
            Ok("base64 base64.channel.k8s.io resize"),
        );
        offer(
            Command,
            "base64url.bearer.authorization.k8s.io.c2VjcmV0,v4.base64.channel.k8s.io",
            Ok("base64 v4.base64.channel.k8s.io status resize"),
        );
        offer(
            Command,
            "base64url.bearer.authorization.k8s.io.c2VjcmV0",
            Ok("binary - resize"),
        );
        check(Command, &WS, &[], Ok("binary - resize"));
        offer(
            Command,
            TUNNEL,
            Err("403 unable to upgrade: requested protocol(s) are not"),
        );
        offer(
            PortForward,
            TUNNEL,
            Ok("tunnel SPDY/3.1+portforward.k8s.io"),
        );
        offer(
            PortForward,
            "v5.channel.k8s.io,v4.channel.k8s.io",
            Ok("binary v4.channel.k8s.io status resize"),
        );
        check(PortForward, &WS, &[], Ok("binary - status resize"));
    }

    #[test]
    fn the_answer_has_the_key_of_the_rfc() {
        let (_, answer) = negotiate(&headers(&WS), Purpose::Command).unwrap();
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer[UPGRADE], "websocket");
        assert_eq!(answer[CONNECTION], "Upgrade");
    }

    #[test]
    fn spdy_is_agreed_on_by_version() {
        use Purpose::{Command, PortForward};
        let offer = |purpose, lines: &[&str], expect| check(purpose, &SPDY_HEAD, lines, expect);
        let v = |version| format!("X-Stream-Protocol-Version: {version}");
        offer(
            Command,
            &[
                &v("v5.channel.k8s.io"),
                &v("v4.channel.k8s.io"),
                &v("v3.channel.k8s.io"),
            ],
            Ok("spdy v4.channel.k8s.io status resize"),
        );
        offer(
            Command,
            &[&v("v2.channel.k8s.io")],
            Ok("spdy v2.channel.k8s.io"),
        );
        offer(
            PortForward,
            &[&v(PORT_FORWARD)],
            Ok("spdy portforward.k8s.io"),
        );
        offer(
            Command,
            &[],
            Err("400 unable to upgrade: X-Stream-Protocol-Version is"),
        );
        offer(
            Command,
            &[&v(PORT_FORWARD)],
            Err("403 unable to upgrade: unable to negotiate"),
        );
        let refusal = negotiate(
            &headers(&[&SPDY_HEAD[..], &[&v("v9")]].concat()),
            Purpose::Command,
        )
        .unwrap_err();
        assert_eq!(
            refusal.headers.get_all(ACCEPTED_PROTOCOLS).iter().count(),
            4
        );
    }

    #[test]
    fn requests_that_cannot_be_upgraded_are_refused() {
        use Purpose::Command;
        for (lines, expect) in [
            (vec![], "400 Upgrade request required"),
            (vec!["Upgrade: websocket"], "400 Upgrade request required"),
            (vec!["Connection: Upgrade"], "400 Upgrade request required"),
            (
                vec!["Connection: Upgrade", "Upgrade: h2c"],
                "400 unable to upgrade: the upgrade \"h2c\"",
            ),
            (
                WS[..2].to_vec(),
                "400 unable to upgrade: Sec-WebSocket-Version",
            ),
            (WS[..3].to_vec(), "400 unable to upgrade: Sec-WebSocket-Key"),
            (
                [&WS[..3], &["Sec-WebSocket-Key: short"]].concat(),
                "400 unable to upgrade: Sec-WebSocket-Key",
            ),
        ] {
            check(Command, &lines, &[], Err(expect));
        }
    }

    #[test]
    fn tokens_do_not_travel_on() {
        for (offered, expect) in [
            (
                "a, base64url.bearer.authorization.k8s.io.x , b",
                Some("a,b"),
            ),
            ("base64url.bearer.authorization.k8s.io.x", None),
            ("a, b", Some("a, b")),
        ] {
            let mut headers = headers(&[&format!("Sec-WebSocket-Protocol: {offered}")]);
            strip_token(&mut headers);
            let left = headers.get(SEC_WEBSOCKET_PROTOCOL);
            assert_eq!(left.map(|value| value.to_str().unwrap()), expect);
        }
    }
}
