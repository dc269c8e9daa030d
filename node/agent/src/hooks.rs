//! Probes and life-cycle hooks: requests that the node itself sends into a container.

use crate::pod::desire::Hook;
use crate::pod::probe::Check;
use bytes::Bytes;
use euston_network::{Body, PodNet, Undelivered, empty};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// As much of an answer as is read, as in Kubernetes: a longer one is good too, but nobody
/// needs its end.
const BODY_BYTES_MAX: usize = 10 << 10;

/// Asks once.
///
/// # Errors
/// What was wrong, for the event.
pub(crate) async fn check(
    net: &PodNet,
    ip: Option<IpAddr>,
    check: &Check,
    timeout: Duration,
) -> Result<(), String> {
    let ip = ip.ok_or("the pod has no address")?;
    match check {
        Check::Listening { port } => {
            let to = SocketAddr::new(ip, *port);
            if net.is_listening(to) {
                Ok(())
            } else {
                Err(format!("nothing listens on {to}"))
            }
        }
        Check::Http {
            port,
            path,
            host,
            headers,
        } => {
            let to = SocketAddr::new(ip, *port);
            let authority = host.clone().unwrap_or_else(|| to.to_string());
            let mut request = Request::get(format!("http://{to}{path}"))
                .header("user-agent", "kube-probe/1.37")
                .header("accept", "*/*")
                .header("host", authority)
                .body(empty())
                .map_err(|error| format!("the request cannot be made: {error}"))?;
            for (name, value) in headers {
                let name: HeaderName = name
                    .parse()
                    .map_err(|_| format!("{name:?} is not a header"))?;
                let value = HeaderValue::from_str(value)
                    .map_err(|_| format!("the header {name} has an unusable value"))?;
                request.headers_mut().insert(name, value);
            }
            let url = format!("Get \"http://{to}{path}\"");
            match tokio::time::timeout(timeout, ask(net, to, request)).await {
                Err(_) => Err(format!("{url}: no answer within {timeout:?}")),
                Ok(Err(why)) => Err(format!("{url}: {why}")),
                Ok(Ok(status)) if (200..400).contains(&status.as_u16()) => Ok(()),
                Ok(Ok(status)) => Err(format!(
                    "HTTP probe failed with statuscode: {}",
                    status.as_u16()
                )),
            }
        }
    }
}

async fn ask(net: &PodNet, to: SocketAddr, request: Request<Body>) -> Result<StatusCode, String> {
    match net.deliver_local(to, request).await {
        Ok(answer) => finish(answer).await,
        Err(Undelivered::Refused { why, .. }) => Err(format!("connection refused: {why}")),
        Err(Undelivered::Failed(error)) => Err(error.to_string()),
    }
}

/// Reads an answer, so that the guest can finish it.
async fn finish(answer: Response<Body>) -> Result<StatusCode, String> {
    let status = answer.status();
    let mut body = answer.into_body();
    let mut read = 0;
    while read < BODY_BYTES_MAX
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(status)
}

/// Runs a hook, at most this long.
///
/// # Errors
/// What was wrong, for the event.
pub(crate) async fn run(
    net: &PodNet,
    ip: Option<IpAddr>,
    hook: &Hook,
    at_most: Duration,
) -> Result<(), String> {
    match hook {
        Hook::Sleep(time) => {
            tokio::time::sleep((*time).min(at_most)).await;
            Ok(())
        }
        Hook::Http(get) => check(net, ip, get, at_most).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use euston_network::BoxError;
    use futures::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    /// Reads an answer of so many kilobytes, which is whole or breaks off there; returns
    /// how many of them were taken.
    fn check(kilobytes: usize, whole: bool, expect: Result<u16, &str>, taken: usize) {
        let (count, counted) = std::sync::mpsc::channel();
        let chunks = stream::iter(0..kilobytes).map(move |_| {
            let _ = count.send(());
            Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))
        });
        let end = stream::iter((!whole).then(|| Err(BoxError::from("unreachable"))));
        let body = StreamBody::new(chunks.chain(end)).boxed_unsync();
        let answer = Response::builder().status(204).body(body).unwrap();
        let got = futures::executor::block_on(finish(answer)).map(|status| status.as_u16());
        let expect = expect.map_err(|why| format!("the answer broke off: {why}"));
        assert_eq!(got, expect, "{kilobytes} KiB, whole: {whole}");
        assert_eq!(counted.try_iter().count(), taken, "{kilobytes} KiB");
    }

    #[test]
    fn an_answer_is_read_to_its_end_unless_it_is_long() {
        check(0, true, Ok(204), 0);
        check(3, true, Ok(204), 3);
        check(3, false, Err("unreachable"), 3);
        check(10_000, true, Ok(204), 10);
        check(10_000, false, Ok(204), 10);
    }
}
