//! Talking to servers: learning whom to trust, and asking until one answers.

use std::time::{Duration, Instant};

use euston_client::{Backoff, ServerAddress, errors};
use euston_tls::{FetchCaError, Fingerprint, fetch_ca};
use http::{Method, Request, header};
use kube::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::JoinError;
use crate::wire::CA_PATH;

/// How long a machine may try to get in: servers that start together are there in seconds, and a supervisor
/// can try again after that.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For one attempt; the service's own limit is 30 s.
const ATTEMPT: Duration = Duration::from_secs(35);

/// The certificate of the CA that has the fingerprint, from the first server that shows it.
pub(super) async fn learn_ca(
    servers: &[ServerAddress],
    ca: Fingerprint,
    patience: Duration,
) -> Result<String, JoinError> {
    if servers.is_empty() {
        let why = "no server was named; give the URL of one".to_owned();
        return Err(JoinError::NoContact(vec![why]));
    }
    let start = Instant::now();
    let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let mut failures = Vec::new();
        for server in servers {
            match fetch_ca(&server.to_string(), CA_PATH, ca).await {
                Ok(pem) => return Ok(pem),
                Err(e) => failures.push(e),
            }
        }
        let wrong_everywhere = failures
            .iter()
            .all(|e| matches!(e, FetchCaError::WrongCa { .. }));
        if wrong_everywhere || start.elapsed() > patience {
            let said = failures.iter().map(ToString::to_string);
            return Err(JoinError::NoContact(said.collect()));
        }
        tokio::time::sleep(pause.next_delay()).await;
    }
}

/// Sends a request until some server takes it. A refusal is final, anything else is tried again: all of
/// them may be repeated without harm.
pub(super) async fn ask<Q: Serialize, A: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &Q,
    patience: Duration,
) -> Result<A, JoinError> {
    let start = Instant::now();
    let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let last = match once(client, Method::POST, path, Some(body)).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Final(why)) => return Err(JoinError::Refused(why)),
            Err(Failure::Passing(why)) => why,
        };
        if start.elapsed() > patience {
            return Err(JoinError::Timeout { patience, last });
        }
        tracing::debug!(%path, why = %last, "trying again");
        tokio::time::sleep(pause.next_delay()).await;
    }
}

/// How an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The cluster refuses.
    Final(String),
    /// It could not be asked, or cannot answer now.
    Passing(String),
}

impl Failure {
    pub(super) fn message(self) -> String {
        match self {
            Self::Final(why) | Self::Passing(why) => why,
        }
    }
}

/// Sends a request once.
pub(super) async fn once<Q: Serialize, A: DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<&Q>,
) -> Result<A, Failure> {
    let bytes = match body {
        Some(body) => serde_json::to_vec(body).map_err(|e| Failure::Final(e.to_string()))?,
        None => Vec::new(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(bytes)
        .map_err(|e| Failure::Final(e.to_string()))?;
    match tokio::time::timeout(ATTEMPT, client.request(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(match errors::status(&e) {
            Some(status) if status.code == 429 || status.code >= 500 => {
                Failure::Passing(status.message.clone())
            }
            Some(status) => Failure::Final(status.message.clone()),
            None => Failure::Passing(e.to_string()),
        }),
        Err(_) => Err(Failure::Passing(format!("no answer within {ATTEMPT:?}"))),
    }
}
