//! How the network of a member is set up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::error::PeerError;

/// How members talk to each other. [`PeerConfig::new`] fills in defaults; the fields say what they bound.
#[derive(Clone)]
pub struct PeerConfig {
    /// Where to listen for other members; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Mutual TLS. Without it members speak plain TCP, and `listen` must be a loopback address.
    pub tls: Option<PeerTls>,
    /// Listen in plain TCP on an address that others on the network can reach: whoever reaches it can write to the
    /// store. Default false.
    pub plain_beyond_loopback: bool,
    /// Take frames from members that this one does not know (yet), if they are of the same group and were not removed
    /// from it. Default true: a member that was away while all others were replaced can only learn of them from them.
    pub strangers: bool,
    /// Bytes of frames that may wait for one member. Default 64 MiB. When it is full, frames to that member are
    /// dropped; a frame that is larger is taken when the queue is empty.
    pub queue_bytes: usize,
    /// The largest frame that is taken in. Default 512 MiB: the largest transaction and some more.
    pub frame_bytes_max: usize,
    /// Incoming connections at one time. Default 256: two for each member, and room for those that end slowly.
    pub connections_max: usize,
    /// For a connection to be set up and its first call admitted, and for a call to present itself. Default 1 s.
    pub connect_timeout: Duration,
    /// The pause after a first failure to reach a member; it doubles with every further one. Default 20 ms.
    pub backoff_min: Duration,
    /// The longest such pause. Default 1 s.
    pub backoff_max: Duration,
    /// How often a silent connection is asked whether it is still there. Default 500 ms.
    pub keepalive_interval: Duration,
    /// How long the answer may take. Default 1.5 s.
    pub keepalive_timeout: Duration,
    /// How often the round trip to a member is measured. Default 1 s.
    pub round_trip_interval: Duration,
    /// A snapshot of which nothing moved for so long has failed, on either side. Default 30 s.
    pub snapshot_stall_max: Duration,
    /// How long a receiver may take to check and sync a snapshot that it has got whole. Default 10 min: gigabytes on a
    /// slow disk; that the receiver is alive is known by other means meanwhile.
    pub snapshot_finish_max: Duration,
}

impl PeerConfig {
    /// The default configuration of a member that listens at `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            plain_beyond_loopback: false,
            strangers: true,
            queue_bytes: 64 << 20,
            frame_bytes_max: 512 << 20,
            connections_max: 256,
            connect_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            keepalive_interval: Duration::from_millis(500),
            keepalive_timeout: Duration::from_millis(1500),
            round_trip_interval: Duration::from_secs(1),
            snapshot_stall_max: Duration::from_secs(30),
            snapshot_finish_max: Duration::from_secs(600),
        }
    }

    pub(crate) fn check(&self) -> Result<(), PeerError> {
        if self.tls.is_none() && !self.plain_beyond_loopback && !self.listen.ip().is_loopback() {
            return Err(PeerError::PlainBeyondLoopback {
                address: self.listen,
            });
        }
        let positive = [
            ("queue_bytes", self.queue_bytes > 0),
            ("frame_bytes_max", self.frame_bytes_max > 0),
            ("connections_max", self.connections_max > 0),
            ("connect_timeout", !self.connect_timeout.is_zero()),
            ("backoff_min", !self.backoff_min.is_zero()),
            ("keepalive_interval", !self.keepalive_interval.is_zero()),
            ("keepalive_timeout", !self.keepalive_timeout.is_zero()),
            ("round_trip_interval", !self.round_trip_interval.is_zero()),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, positive)| !positive) {
            return Err(PeerError::Config {
                what: format!("{name} must not be zero"),
            });
        }
        if self.backoff_max < self.backoff_min {
            return Err(PeerError::Config {
                what: format!(
                    "backoff_max is {:?}, must be at least backoff_min ({:?})",
                    self.backoff_max, self.backoff_min
                ),
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerConfig")
            .field("listen", &self.listen)
            .field("tls", &self.tls.is_some())
            .field("strangers", &self.strangers)
            .field("queue_bytes", &self.queue_bytes)
            .finish_non_exhaustive()
    }
}

/// Mutual TLS between members. The protocol (`h2`) is negotiated by this crate, whatever the configurations say of it.
#[derive(Clone)]
pub struct PeerTls {
    /// For connections from other members. A caller without a certificate is refused even where this one would let it
    /// in.
    pub server: Arc<rustls::ServerConfig>,
    /// For connections to other members: shows this member's certificate.
    pub client: Arc<rustls::ClientConfig>,
    /// Decides, when the certificate has been verified, whether it may speak for the member that it says it is; `None`
    /// lets every certificate that the server's configuration accepts speak for every member.
    pub check: Option<CheckCaller>,
}

/// See [`PeerTls::check`]. An error is a reason, for the logs of both sides.
pub type CheckCaller = Arc<dyn Fn(&Caller<'_>) -> Result<(), String> + Send + Sync>;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The member it says it is.
    pub member: u64,
    /// Where it calls from.
    pub address: SocketAddr,
    /// Its certificate, then those it was signed with.
    pub certificates: &'a [CertificateDer<'static>],
}
