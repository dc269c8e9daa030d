//! What clients do with pods of this node through the API server: commands, streams, ports, files.
//!
//! The API server passes upgraded connections through, so this is where the client's protocol is
//! spoken (`euston_streams`). Paths and queries are the kubelet's.
//!
//! - [`exec`] runs a command beside a container, [`attach`] joins the one that runs, [`copy`] answers
//!   the commands of `kubectl cp`, [`forward`] connects with ports, [`proxy`] passes requests on.
//! - [`live`] is what can be reached of a container that runs; [`pipe`] is between a guest that
//!   prints and a client that reads.

// The errors here are the responses to send, made once per request that is refused.
#![allow(clippy::result_large_err)]

mod attach;
mod copy;
mod exec;
mod forward;
pub(crate) mod live;
pub(crate) mod pipe;
mod proxy;

use crate::server::{Api, MASTERS, refusal};
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use euston_sandbox::StdStream;
use euston_streams::{Agreed, Asked, Channel, CommandSession, ForwardSession, Purpose, negotiate};
use euston_tls::PeerIdentity;
use futures::future::BoxFuture;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use live::Live;
use pipe::Pipe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sessions of one node at one time; more are told to come back. Each may hold a message of 4 MiB
/// and some hundred KiB of what is under way.
const SESSIONS_MAX: usize = 256;
/// How long the API server may take to take up an upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);

/// The places for sessions.
#[derive(Clone)]
pub(crate) struct Sessions(Arc<Semaphore>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SESSIONS_MAX)))
    }
}

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/exec/{namespace}/{pod}/{container}", any(exec_in))
        .route("/attach/{namespace}/{pod}/{container}", any(attach_to))
        .route("/portForward/{namespace}/{pod}", any(forward_to))
        .route("/proxy/{namespace}/{pod}/{port}/", any(proxy::pass_on))
        .route(
            "/proxy/{namespace}/{pod}/{port}/{*rest}",
            any(proxy::pass_on),
        )
}

/// What the query of exec and attach asks for.
#[derive(Debug, Default)]
struct Wanted {
    command: Vec<String>,
    input: bool,
    output: bool,
    error: bool,
    tty: bool,
    port: Vec<String>,
}

impl Wanted {
    fn of(request: &Request) -> Self {
        let mut wanted = Self::default();
        let query = request.uri().query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let on = matches!(&*value, "1" | "true");
            match &*name {
                "command" => wanted.command.push(value.into_owned()),
                "input" => wanted.input = on,
                "output" => wanted.output = on,
                "error" => wanted.error = on,
                "tty" => wanted.tty = on,
                "port" => wanted.port.push(value.into_owned()),
                _ => {}
            }
        }
        wanted
    }

    fn asked(&self) -> Result<Asked, Response> {
        Asked::new(self.input, self.output, self.error, self.tty).map_err(bad_request)
    }
}

fn bad_request(why: impl Into<String>) -> Response {
    (StatusCode::BAD_REQUEST, why.into()).into_response()
}

type Peer = Option<Extension<PeerIdentity>>;
type Target = Path<(String, String, String)>;

async fn exec_in(
    State(api): State<Api>,
    peer: Peer,
    Path((namespace, pod, container)): Target,
    request: Request,
) -> Response {
    let wanted = Wanted::of(&request);
    let begun = (|| {
        check(peer.as_ref())?;
        let asked = wanted.asked()?;
        let live = api.manager.live(&namespace, &pod, &container);
        let live = live.map_err(IntoResponse::into_response)?;
        if wanted.command.is_empty() {
            return Err(bad_request(
                "you must specify at least one command for the container",
            ));
        }
        let (door, response) = Door::open(&api, request, Purpose::Command)?;
        door.command(&api, asked, move |session| {
            match copy::parse(&wanted.command) {
                Some(task) => Box::pin(copy::run(session, live, task)),
                None => Box::pin(exec::run(session, live, wanted.command, asked.tty)),
            }
        });
        Ok(response)
    })();
    begun.unwrap_or_else(|refused: Response| refused)
}

async fn attach_to(
    State(api): State<Api>,
    peer: Peer,
    Path((namespace, pod, container)): Target,
    request: Request,
) -> Response {
    let wanted = Wanted::of(&request);
    let begun = (|| {
        check(peer.as_ref())?;
        let asked = wanted.asked()?;
        let live = api.manager.live(&namespace, &pod, &container);
        let live: Live = live.map_err(IntoResponse::into_response)?;
        // Joined before the client is answered, so that it sees what is printed from then on.
        let tap = live.taps.join().ok_or_else(|| {
            let why = format!("too many clients are attached to container {container:?} already");
            (StatusCode::TOO_MANY_REQUESTS, why).into_response()
        })?;
        let (door, response) = Door::open(&api, request, Purpose::Command)?;
        door.command(&api, asked, move |session| {
            Box::pin(attach::run(session, live, tap, asked.tty))
        });
        Ok(response)
    })();
    begun.unwrap_or_else(|refused: Response| refused)
}

async fn forward_to(
    State(api): State<Api>,
    peer: Peer,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Response {
    let wanted = Wanted::of(&request);
    let begun = (|| {
        check(peer.as_ref())?;
        let ip = api
            .manager
            .address(&namespace, &pod)
            .map_err(IntoResponse::into_response)?;
        let ports = wanted.port.iter().map(String::as_str);
        let ports = euston_streams::ports(ports).map_err(bad_request)?;
        let (door, response) = Door::open(&api, request, Purpose::PortForward)?;
        if ports.is_empty() && ForwardSession::needs_ports(door.agreed) {
            return Err(bad_request("query parameter \"port\" is required"));
        }
        let net = api.node.net.clone();
        door.run(&api, move |io, agreed| async move {
            match ForwardSession::begin(io, agreed, &ports).await {
                Ok(session) => {
                    forward::run(session, net, ip, format!("{namespace}/{pod}")).await;
                }
                Err(error) => tracing::debug!(%error, "a port-forward did not begin"),
            }
        });
        Ok(response)
    })();
    begun.unwrap_or_else(|refused: Response| refused)
}

/// The API server and administrators may.
fn check(peer: Option<&Extension<PeerIdentity>>) -> Result<(), Response> {
    refusal(peer, MASTERS).map_or(Ok(()), Err)
}

/// A connection that is about to be upgraded.
struct Door {
    upgrade: OnUpgrade,
    agreed: Agreed,
    permit: OwnedSemaphorePermit,
}

impl Door {
    /// Agrees with the client on a protocol, and answers so.
    fn open(
        api: &Api,
        mut request: Request,
        purpose: Purpose,
    ) -> Result<(Self, Response), Response> {
        let (agreed, headers) = negotiate(request.headers(), purpose).map_err(|refusal| {
            let mut response = (refusal.status, refusal.message).into_response();
            response.headers_mut().extend(refusal.headers);
            response
        })?;
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let upgrade =
            upgrade.ok_or_else(|| bad_request("unable to upgrade: this needs HTTP/1.1"))?;
        let permit = api.sessions.0.clone().try_acquire_owned().map_err(|_| {
            let why = format!("{SESSIONS_MAX} sessions are open on this node already");
            (StatusCode::TOO_MANY_REQUESTS, why).into_response()
        })?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        let door = Self {
            upgrade,
            agreed,
            permit,
        };
        Ok((door, response))
    }

    /// Runs a session on the connection, until it ends or the agent shuts down.
    fn run<F>(
        self,
        api: &Api,
        session: impl FnOnce(TokioIo<Upgraded>, Agreed) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let shutdown = api.node.shutdown.clone();
        let Self {
            upgrade,
            agreed,
            permit,
        } = self;
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            match tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await {
                Ok(Ok(upgraded)) => session(TokioIo::new(upgraded), agreed).await,
                Ok(Err(error)) => tracing::debug!(%error, "an upgrade broke off"),
                Err(_) => tracing::debug!("an upgrade was not taken up"),
            }
            drop(permit);
        }));
    }

    fn command(
        self,
        api: &Api,
        asked: Asked,
        run: impl FnOnce(CommandSession) -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        self.run(api, move |io, agreed| async move {
            match CommandSession::begin(io, agreed, asked).await {
                Ok(session) => run(session).await,
                Err(error) => tracing::debug!(%error, "a session did not begin"),
            }
        });
    }
}

/// Shows the client what comes out of a pipe, until that is closed or the client gone.
async fn show(session: &CommandSession, pipe: &Pipe, tty: bool) {
    while let Some((stream, bytes)) = pipe.next().await {
        let channel = match stream {
            StdStream::Stderr if !tty => Channel::Stderr,
            // A terminal has one screen.
            _ => Channel::Stdout,
        };
        if session.output(channel, bytes).await.is_err() {
            // Whoever prints must not wait for a reader that is gone.
            pipe.close();
            return;
        }
    }
}
