//! Staying a part of the cluster: a certificate that is renewed in time, a list of servers that is up
//! to date.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use euston_client::{Backoff, ServerAddress, Servers};
use euston_tls::{Identity, SigningRequest};
use http::Method;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::JoinError;
use super::contact::{Failure, once};
use super::stored::{IDENTITY, Stored};
use crate::wire::{Addresses, RENEW_PATH, RenewRequest, RenewResponse, SERVERS_PATH};

/// How often the servers are asked for. New servers join while the others still serve, so that a minute is
/// early enough.
const REFRESH: Duration = Duration::from_secs(60);
/// Between attempts to renew. There are months for it: nobody needs to hurry.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What an agent needs to stay in the cluster.
pub struct Renewal {
    /// A client that shows the present certificate (of `euston_client::connect`).
    pub client: Client,
    /// Its servers, which are kept up to date and shown the new certificate.
    pub servers: Servers,
    /// The folder of [`AgentJoin`](super::AgentJoin).
    pub dir: PathBuf,
    /// The present identity. A renewed one is sent here, for whoever serves with it.
    pub identity: watch::Sender<Identity>,
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal")
            .field("servers", &self.servers)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Renews the node's certificate when a third of its life is left, and follows which servers there are, until
/// `shutdown`. Failures are logged and tried again.
pub async fn keep_current(renewal: Renewal, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(run(renewal)).await;
}

async fn run(renewal: Renewal) {
    let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut retry_at = tokio::time::Instant::now();
    loop {
        refresh.tick().await;
        if let Err(why) = follow_servers(&renewal).await {
            tracing::debug!(%why, "cannot ask for the servers");
        }
        if tokio::time::Instant::now() < retry_at || !is_due(&renewal.identity.borrow()) {
            continue;
        }
        match renew(&renewal).await {
            Ok(()) => pause.reset(),
            Err(why) => {
                tracing::warn!(%why, "the node's certificate was not renewed; trying again");
                retry_at = tokio::time::Instant::now() + pause.next_delay();
            }
        }
    }
}

/// Whether a third or less is left. One that cannot be read is no good either.
fn is_due(identity: &Identity) -> bool {
    match identity.validity() {
        Ok((from, to)) => third_is_left(from, to, SystemTime::now()),
        Err(_) => true,
    }
}

fn third_is_left(from: SystemTime, to: SystemTime, now: SystemTime) -> bool {
    let life = to.duration_since(from).unwrap_or_default();
    let left = to.duration_since(now).unwrap_or_default();
    left <= life / 3
}

async fn renew(renewal: &Renewal) -> Result<(), JoinError> {
    let stored = Stored(&renewal.dir);
    let key = SigningRequest::new()?;
    let request = RenewRequest {
        node_secret: stored.node_secret()?.to_string(),
        csr: key.csr_pem.clone(),
    };
    let answer: RenewResponse = once(&renewal.client, Method::POST, RENEW_PATH, Some(&request))
        .await
        .map_err(|e| JoinError::Refused(e.message()))?;
    let identity = key.complete(answer.certificate)?;
    // Used only once it is stored: what is stored must be as good as what is shown.
    identity.save(&renewal.dir, IDENTITY)?;
    renewal.servers.set_identity(&identity)?;
    renewal.identity.send_replace(identity);
    tracing::info!("the node's certificate was renewed");
    Ok(())
}

async fn follow_servers(renewal: &Renewal) -> Result<(), JoinError> {
    let answer: Addresses = once(&renewal.client, Method::GET, SERVERS_PATH, None::<&()>)
        .await
        .map_err(|e: Failure| JoinError::Answer(e.message()))?;
    let servers = answer
        .servers
        .iter()
        .map(|url| url.parse())
        .collect::<Result<Vec<ServerAddress>, _>>()?;
    // None at all is no answer to go by.
    if servers.is_empty() || servers == renewal.servers.list() {
        return Ok(());
    }
    Stored(&renewal.dir).save_servers(&servers)?;
    tracing::info!(?servers, "the cluster's servers have changed");
    renewal.servers.set(servers);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        for (now, expect) in [
            (0, false),
            (100, false),
            (399, false),
            (400, true),
            (900, true),
        ] {
            assert_eq!(third_is_left(at(100), at(550), at(now)), expect, "{now}");
        }
    }
}
