//! The agents of nodes, which are asked for what only they have: logs, streams, pods' ports.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use euston_tls::{ClientBody, HttpsClient};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::held;
use crate::error::{ApiError, Result};
use crate::registry::Registry;
use crate::storage::ObjectKey;

/// How long an agent may take to begin its answer to a question about itself.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a node's error message is passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// How long a client may take to take up the upgrade that it asked for.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
/// When one side has said all: how long the other may go on.
const LINGER: Duration = Duration::from_secs(10);
/// The port of agents that have not said theirs.
const PORT: u16 = 10250;

/// The agent of one node.
pub struct Agent<'a> {
    client: &'a HttpsClient,
    address: SocketAddr,
    node: &'a str,
}

impl<'a> Agent<'a> {
    /// Finds where the agent of a node listens.
    ///
    /// # Errors
    /// 503 with the reason why it cannot be asked.
    pub fn of(registry: &Registry, client: Option<&'a HttpsClient>, node: &'a str) -> Result<Self> {
        let missing =
            |why: &str| ApiError::unavailable(format!("node {node:?} cannot be asked: {why}"));
        let client = client.ok_or_else(|| {
            missing("this API server has no client certificate to ask nodes with")
        })?;
        let nodes = registry
            .resource("", "v1", "nodes")
            .ok_or_else(|| missing("unknown kind"))?;
        let entry = nodes
            .resource()
            .cache
            .get(&ObjectKey::new(None, node))
            .ok_or_else(|| missing("it is not registered any more"))?;
        let status = serde_json::from_slice::<Node>(&entry.value)
            .map_err(ApiError::internal)?
            .status
            .unwrap_or_default();
        let address = status
            .addresses
            .iter()
            .flatten()
            .find(|a| a.type_ == "InternalIP")
            .and_then(|a| a.address.parse().ok())
            .ok_or_else(|| missing("it has reported no address yet"))?;
        let port = status
            .daemon_endpoints
            .and_then(|d| d.kubelet_endpoint)
            .and_then(|e| u16::try_from(e.port).ok())
            .unwrap_or(PORT);
        Ok(Agent {
            client,
            address: SocketAddr::new(address, port),
            node,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request, whose URI is path and query, and waits for the answer's head.
    ///
    /// # Errors
    /// 503 and 504, with `what` was to be done. Answers of any status are no errors.
    pub async fn send(
        &self,
        request: Request<ClientBody>,
        within: Duration,
        what: &str,
    ) -> Result<http::Response<Incoming>> {
        let request = self.addressed(request)?;
        self.answer(self.client.send(request), within, what).await
    }

    /// The same for a request that asks for an upgrade.
    ///
    /// # Errors
    /// As for [`Agent::send`].
    pub async fn upgrade(
        &self,
        request: Request<ClientBody>,
        what: &str,
    ) -> Result<http::Response<Incoming>> {
        let request = self.addressed(request)?;
        self.answer(self.client.upgrade(request), ANSWER_TIMEOUT, what)
            .await
    }

    fn addressed(&self, mut request: Request<ClientBody>) -> Result<Request<ClientBody>> {
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        let uri = format!("https://{}{path}", self.address);
        *request.uri_mut() = uri.parse().map_err(ApiError::internal)?;
        Ok(request)
    }

    async fn answer<E: std::fmt::Display>(
        &self,
        answer: impl Future<Output = std::result::Result<http::Response<Incoming>, E>>,
        within: Duration,
        what: &str,
    ) -> Result<http::Response<Incoming>> {
        let node = self.node;
        tokio::time::timeout(within, answer)
            .await
            .map_err(|_| {
                let seconds = within.as_secs();
                ApiError::timeout(format!(
                    "{what}: node {node:?} did not answer within {seconds} s"
                ))
            })?
            .map_err(|error| ApiError::unavailable(format!("{what}: node {node:?}: {error}")))
    }

    /// What an agent says with an answer that is a refusal.
    pub async fn refusal(&self, answer: http::Response<Incoming>, what: &str) -> ApiError {
        let status = answer.status();
        let message = Limited::new(answer.into_body(), MESSAGE_BYTES_MAX).collect();
        let message = match tokio::time::timeout(ANSWER_TIMEOUT, message).await {
            Ok(Ok(message)) => String::from_utf8_lossy(&message.to_bytes())
                .trim()
                .to_owned(),
            // The status alone has to do.
            Ok(Err(_)) | Err(_) => String::new(),
        };
        match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => ApiError::bad_request(message),
            StatusCode::FORBIDDEN => ApiError {
                code: status.as_u16(),
                reason: "Forbidden",
                ..ApiError::bad_request(message)
            },
            StatusCode::TOO_MANY_REQUESTS => ApiError::too_many_requests(message),
            _ => {
                let node = self.node;
                unreachable(format!("{what}: node {node:?}: {status}: {message}"))
            }
        }
    }
}

/// 503 without the advice to try again: clients would repeat the request for seconds, and what
/// keeps it from being answered is not about to change.
pub fn unreachable(message: String) -> ApiError {
    ApiError {
        details: None,
        ..ApiError::unavailable(message)
    }
}

/// The node that a pod runs on; empty while it is on none.
pub fn node_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|s| s.node_name.as_deref())
        .unwrap_or_default()
}

/// A request's body that is empty.
pub fn no_body() -> ClientBody {
    Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The container that is asked for, or the only one.
///
/// # Errors
/// 400 if there is none of that name, or it is not clear which is meant.
pub fn container(pod: &Pod, pod_name: &str, asked: Option<&str>) -> Result<String> {
    let Some(spec) = &pod.spec else {
        return Err(ApiError::internal("the pod has no spec"));
    };
    let ordinary: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    let init: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|c| c.name.as_str())
        .collect();
    match asked {
        Some(name) if ordinary.contains(&name) || init.contains(&name) => Ok(name.to_owned()),
        Some(name) => Err(ApiError::bad_request(format!(
            "container {name} is not valid for pod {pod_name}"
        ))),
        None => match ordinary.as_slice() {
            [only] if init.is_empty() => Ok((*only).to_owned()),
            _ => {
                let mut message = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    ordinary.join(" ")
                );
                if !init.is_empty() {
                    message.push_str(&format!(
                        " or one of the init containers: [{}]",
                        init.join(" ")
                    ));
                }
                Err(ApiError::bad_request(message))
            }
        },
    }
}

/// A client that may be connected with a node: its place among the streams, and what it asked for.
pub struct Pipe {
    /// The client's connection, if it can be upgraded.
    pub upgrade: Option<OnUpgrade>,
    /// Its place.
    pub permit: OwnedSemaphorePermit,
    /// Ends it.
    pub shutdown: CancellationToken,
}

impl Pipe {
    /// Looks whether the connection can be upgraded, before anybody is asked for that.
    ///
    /// # Errors
    /// 400 if it cannot.
    pub fn check(&self) -> Result<()> {
        match self.upgrade {
            Some(_) => Ok(()),
            None => Err(ApiError::bad_request(
                "unable to upgrade: the connection is not one of HTTP/1.1",
            )),
        }
    }

    /// Passes an answer on. After 101 that is bytes both ways, whatever they mean.
    pub fn pass(self, mut answer: http::Response<Incoming>) -> Response {
        let Pipe {
            upgrade,
            permit,
            shutdown,
        } = self;
        let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (answer.status(), upgrade) else {
            return held(answer.map(Body::new), permit);
        };
        let agent = hyper::upgrade::on(&mut answer);
        let both = async move { tokio::try_join!(client, agent) };
        upgraded(both, permit, shutdown, |(client, agent)| {
            splice(TokioIo::new(client), TokioIo::new(agent))
        });
        answer.map(|_| Body::empty())
    }

    /// Runs a session with the client, once it has taken up the upgrade that it is answered with.
    ///
    /// # Errors
    /// 400 if its connection cannot be upgraded.
    pub fn run<F>(self, session: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static) -> Result<()>
    where
        F: Future<Output = ()> + Send,
    {
        self.check()?;
        if let Some(client) = self.upgrade {
            upgraded(client, self.permit, self.shutdown, |client| {
                session(TokioIo::new(client))
            });
        }
        Ok(())
    }
}

/// Waits for an upgrade and runs what follows on it, until its end or the server's.
fn upgraded<T, F>(
    upgrade: impl Future<Output = std::result::Result<T, hyper::Error>> + Send + 'static,
    permit: OwnedSemaphorePermit,
    shutdown: CancellationToken,
    then: impl FnOnce(T) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
    T: Send,
{
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        match tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await {
            Ok(Ok(upgraded)) => then(upgraded).await,
            Ok(Err(error)) => tracing::debug!(%error, "an upgrade broke off"),
            Err(_) => tracing::debug!("an upgrade was not taken up"),
        }
        drop(permit);
    }));
}

/// Copies both ways until one side has said all and the other had time to.
async fn splice(
    client: impl AsyncRead + AsyncWrite + Send,
    agent: impl AsyncRead + AsyncWrite + Send,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_agent, mut to_agent) = tokio::io::split(agent);
    let up = async {
        let copied = tokio::io::copy(&mut from_client, &mut to_agent).await;
        // Either side may be gone already.
        let _ = to_agent.shutdown().await;
        copied
    };
    let down = async {
        let copied = tokio::io::copy(&mut from_agent, &mut to_client).await;
        let _ = to_client.shutdown().await;
        copied
    };
    tokio::pin!(up, down);
    tokio::select! {
        copied = &mut up => if copied.is_ok() {
            let _ = tokio::time::timeout(LINGER, down).await;
        },
        copied = &mut down => if copied.is_ok() {
            let _ = tokio::time::timeout(LINGER, up).await;
        },
    }
}
