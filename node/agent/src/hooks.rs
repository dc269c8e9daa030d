//! Probes and life-cycle hooks: requests that the node itself sends into a container.

use crate::pod::desire::Hook;
use crate::pod::probe::Check;
use euston_network::{PodNet, Undelivered, empty};
use http::{HeaderName, HeaderValue, Request};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

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
            match tokio::time::timeout(timeout, net.deliver_local(to, request)).await {
                Err(_) => Err(format!(
                    "Get \"http://{to}{path}\": no answer within {timeout:?}"
                )),
                Ok(Err(Undelivered::Refused { why, .. })) => Err(format!(
                    "Get \"http://{to}{path}\": connection refused: {why}"
                )),
                Ok(Err(Undelivered::Failed(error))) => {
                    Err(format!("Get \"http://{to}{path}\": {error}"))
                }
                Ok(Ok(response)) if (200..400).contains(&response.status().as_u16()) => Ok(()),
                Ok(Ok(response)) => Err(format!(
                    "HTTP probe failed with statuscode: {}",
                    response.status().as_u16()
                )),
            }
        }
    }
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
