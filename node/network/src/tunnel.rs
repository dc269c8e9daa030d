//! A request between two nodes: the pod it is for, and its true method and URI, ride in headers of
//! an HTTP/2 request between the agents; bodies and trailers stream as they are.

use crate::error::chain;
use crate::lend::lend;
use crate::{Body, BoxError, SendError, Undelivered, full, plain};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};
use http_body_util::BodyExt;
use std::future::Future;
use std::net::SocketAddr;

/// The path on the agent that takes requests from other nodes.
pub const PATH: &str = "/tunnel/http";

/// Bodies of a known length up to this many bytes are read before sending, so that they can be sent
/// again elsewhere when the pod turns out to be gone. Larger ones stream.
const REPLAY_BYTES_MAX: u64 = 64 * 1024;

static TO: HeaderName = HeaderName::from_static("euston-tunnel-to");
static METHOD: HeaderName = HeaderName::from_static("euston-tunnel-method");
static URI: HeaderName = HeaderName::from_static("euston-tunnel-uri");
/// On a response: the pod did not answer, for this reason. Pods cannot set it.
static OUTCOME: HeaderName = HeaderName::from_static("euston-tunnel-outcome");

const REFUSED: HeaderValue = HeaderValue::from_static("refused");
const FAILED: HeaderValue = HeaderValue::from_static("failed");

/// Headers that belong to one connection and must not travel on (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    HeaderName::from_static("http2-settings"),
];

/// Removes the headers that belong to one connection only.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// How the exchange with the other agent broke.
#[derive(Debug)]
pub enum WireError {
    /// There was no connection, so nothing was sent.
    NotConnected(String),
    /// Afterwards; the other side may have seen the request.
    Broken(String),
}

/// Sends a request to a pod of another node. `send` carries a request to that node's agent.
///
/// # Errors
/// [`Undelivered::Refused`] with the whole request, when no guest has seen it and its body is still
/// at hand.
pub async fn exchange<F>(
    to: SocketAddr,
    request: Request<Body>,
    send: impl FnOnce(Request<Body>) -> F,
) -> Result<Response<Body>, Undelivered>
where
    F: Future<Output = Result<Response<Body>, WireError>>,
{
    let failed = move |why: String| {
        Undelivered::Failed(SendError::Failed {
            to: to.to_string(),
            why,
        })
    };
    let (head, body) = request.into_parts();
    let (body, kept) = keep(body).await.map_err(|e| failed(chain(e.as_ref())))?;
    let mut copy = Request::new(());
    *copy.method_mut() = head.method.clone();
    *copy.uri_mut() = head.uri.clone();
    *copy.headers_mut() = head.headers.clone();
    let wire =
        encode(to, Request::from_parts(head, body)).map_err(|error| failed(error.to_string()))?;
    let why = match send(wire).await {
        Err(WireError::Broken(why)) => return Err(failed(why)),
        Err(WireError::NotConnected(_)) => "the node cannot be reached",
        Ok(mut response) => match response.headers_mut().remove(&OUTCOME) {
            None => return Ok(response),
            Some(outcome) if outcome == REFUSED => "nothing there takes requests now",
            Some(_) => {
                let text = limited_text(response.into_body()).await;
                return Err(failed(text));
            }
        },
    };
    match kept.give_back() {
        Some(body) => Err(Undelivered::Refused {
            request: Box::new(copy.map(|()| body)),
            why,
        }),
        None => Err(Undelivered::Failed(SendError::Refused {
            to: to.to_string(),
            why: why.into(),
        })),
    }
}

/// How much of an error's text is read.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The beginning of an error's text.
async fn limited_text(mut body: Body) -> String {
    let mut text = Vec::new();
    while text.len() < TEXT_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            _ => break,
        }
    }
    text.truncate(TEXT_BYTES_MAX);
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

enum Kept {
    Bytes(Bytes),
    Lent(crate::lend::Lender),
}

impl Kept {
    fn give_back(self) -> Option<Body> {
        match self {
            Kept::Bytes(bytes) => Some(full(bytes)),
            Kept::Lent(lender) => lender.take_back(),
        }
    }
}

async fn keep(body: Body) -> Result<(Body, Kept), BoxError> {
    use http_body::Body as _;
    if body.is_end_stream() {
        return Ok((body, Kept::Bytes(Bytes::new())));
    }
    match body.size_hint().exact() {
        Some(length) if length <= REPLAY_BYTES_MAX => {
            let bytes = match body.collect().await {
                Ok(collected) => collected.to_bytes(),
                Err(error) => return Err(error),
            };
            Ok((full(bytes.clone()), Kept::Bytes(bytes)))
        }
        _ => {
            let (body, lender) = lend(body);
            Ok((body, Kept::Lent(lender)))
        }
    }
}

/// The form in which a request travels. Its URI is [`PATH`] only; the transport adds the agent.
fn encode(to: SocketAddr, request: Request<Body>) -> Result<Request<Body>, http::Error> {
    let (mut head, body) = request.into_parts();
    strip_hop_by_hop(&mut head.headers);
    let headers = &mut head.headers;
    headers.insert(&TO, HeaderValue::try_from(to.to_string())?);
    headers.insert(&METHOD, HeaderValue::from_str(head.method.as_str())?);
    headers.insert(&URI, HeaderValue::try_from(head.uri.to_string())?);
    let mut wire = Request::new(body);
    *wire.method_mut() = Method::POST;
    *wire.uri_mut() = Uri::from_static(PATH);
    *wire.headers_mut() = head.headers;
    Ok(wire)
}

/// Reads a request from another node: the pod it is for, and the request as its sender made it.
///
/// # Errors
/// A 400 response that names the header that is missing or wrong.
#[allow(clippy::result_large_err)] // the error is the response to send, made once per broken peer
pub fn decode(wire: Request<Body>) -> Result<(SocketAddr, Request<Body>), Response<Body>> {
    let (mut head, body) = wire.into_parts();
    let mut take = |name: &HeaderName| {
        head.headers
            .remove(name)
            .and_then(|value| value.to_str().ok().map(str::to_owned))
            .ok_or_else(|| bad_request(name))
    };
    let to = take(&TO)?.parse().map_err(|_| bad_request(&TO))?;
    let method = take(&METHOD)?.parse().map_err(|_| bad_request(&METHOD))?;
    let uri: Uri = take(&URI)?.parse().map_err(|_| bad_request(&URI))?;
    if uri.authority().is_none() {
        return Err(bad_request(&URI));
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = head.headers;
    Ok((to, request))
}

fn bad_request(name: &HeaderName) -> Response<Body> {
    plain(
        StatusCode::BAD_REQUEST,
        &format!("the header {name} is missing or cannot be read"),
    )
}

/// The response to send back for what a pod of this node did with a request.
pub fn answer(outcome: Result<Response<Body>, Undelivered>) -> Response<Body> {
    let (value, text) = match outcome {
        Ok(mut response) => {
            response.headers_mut().remove(&OUTCOME);
            strip_hop_by_hop(response.headers_mut());
            return response;
        }
        Err(Undelivered::Refused { why, .. }) => (REFUSED, why.to_owned()),
        Err(Undelivered::Failed(error)) => (FAILED, error.to_string()),
    };
    let mut response = plain(StatusCode::BAD_GATEWAY, &text);
    response.headers_mut().insert(&OUTCOME, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::empty;

    fn to() -> SocketAddr {
        "10.128.64.7:8080".parse().unwrap()
    }

    fn request(body: Body) -> Request<Body> {
        Request::builder()
            .method("PUT")
            .uri("http://backend.shop:8080/cookies?kind=oat")
            .header("x-trace", "1")
            .header("connection", "close")
            .body(body)
            .unwrap()
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_sent() {
        let response = exchange(to(), request(full("abc")), |wire| async {
            assert_eq!((wire.method(), wire.uri().path()), (&Method::POST, PATH));
            let (target, request) = decode(wire).unwrap();
            assert_eq!(target, to());
            assert_eq!(request.method(), "PUT");
            assert_eq!(request.uri(), "http://backend.shop:8080/cookies?kind=oat");
            assert_eq!(request.headers().get("x-trace").unwrap(), "1");
            assert_eq!(request.headers().len(), 1, "{:?}", request.headers());
            let echoed = request.into_body();
            let mut response = Response::new(echoed);
            response
                .headers_mut()
                .insert(&OUTCOME, HeaderValue::from_static("forged"));
            Ok(answer(Ok(response)))
        })
        .await
        .unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "abc");
    }

    #[tokio::test]
    async fn refused_requests_come_back_whole_unless_a_long_body_was_read() {
        let long = || full(vec![7; REPLAY_BYTES_MAX as usize + 1]);
        for (name, body, read, expect) in [
            ("empty", empty(), true, Some(0)),
            ("short", full("abc"), true, Some(3)),
            ("long unread", long(), false, Some(REPLAY_BYTES_MAX + 1)),
            ("long read", long(), true, None),
        ] {
            let outcome = exchange(to(), request(body), |wire| async move {
                let (_, request) = decode(wire).unwrap();
                if read {
                    request.into_body().collect().await.unwrap();
                }
                Ok(answer(Err(Undelivered::Refused {
                    request: Box::new(Request::new(empty())),
                    why: "draining",
                })))
            })
            .await;
            match (outcome, expect) {
                (Err(Undelivered::Refused { request, .. }), Some(length)) => {
                    assert_eq!(request.uri().path(), "/cookies", "{name}");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body.len() as u64, length, "{name}");
                }
                (Err(Undelivered::Failed(SendError::Refused { .. })), None) => {}
                (other, _) => panic!("{name}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn failures_carry_the_other_nodes_words() {
        let outcome = exchange(to(), request(empty()), |_| async {
            Ok(answer(Err(Undelivered::Failed(SendError::Timeout {
                what: "the guest",
                after: std::time::Duration::from_secs(1),
            }))))
        })
        .await;
        let Err(Undelivered::Failed(error)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            error.to_string(),
            "the exchange with 10.128.64.7:8080 failed: the guest timed out after 1000 ms"
        );
        let lost = exchange(to(), request(empty()), |_| async {
            Err(WireError::NotConnected("no route".into()))
        })
        .await;
        assert!(matches!(lost, Err(Undelivered::Refused { .. })));
    }

    #[test]
    fn wire_requests_without_their_headers_are_refused() {
        for missing in [&TO, &METHOD, &URI] {
            let mut wire = encode(to(), request(empty())).unwrap();
            wire.headers_mut().remove(missing);
            let response = decode(wire).unwrap_err();
            assert_eq!(response.status(), 400, "{missing}");
        }
    }
}
