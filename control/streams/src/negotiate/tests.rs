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
                    (Form::Plain, _) => "plain",
                    (Form::PlainBase64, _) => "plain base64",
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
    use Purpose::{Command, PortForward, Reading};
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
    offer(Reading, "binary.k8s.io", Ok("plain binary.k8s.io resize"));
    offer(
        Reading,
        "base64.binary.k8s.io",
        Ok("plain base64 base64.binary.k8s.io resize"),
    );
    check(Reading, &WS, &[], Ok("plain - resize"));
    check(
        Reading,
        &SPDY_HEAD,
        &["X-Stream-Protocol-Version: v4.channel.k8s.io"],
        Err("403 unable to upgrade"),
    );
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
