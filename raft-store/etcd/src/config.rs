//! How a server for clients of etcd is set up.

use std::sync::Arc;
use std::time::Duration;

/// What a message may have beyond the request itself; as in etcd.
pub(crate) const OVERHEAD_BYTES: usize = 512 << 10;

/// How clients are served. [`EtcdConfig::default`] fills in what etcd has; the fields say what they bound.
#[derive(Clone)]
pub struct EtcdConfig {
    /// TLS; `None` serves plain connections, on a loopback address only. Whether clients must show a certificate is in the
    /// configuration; the protocols (`h2`, `http/1.1`) are negotiated by this crate, whatever it says of them.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The largest request, in bytes of keys and values. Default 1.5 MiB. The store's own bound
    /// ([`raft_store::Config::request_bytes_max`]) holds as well, and should be the same.
    pub request_bytes_max: usize,
    /// Conditions, or steps of a branch, in one transaction; what is nested in it has what is left. Default 128. The
    /// store's own bound ([`raft_store::Config::txn_ops_max`]) holds as well.
    pub txn_ops_max: usize,
    /// Connections at one time. Default 10,000; when full, further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Calls at one time on a connection. Default 4,096: a client with a thousand watches on streams of their own fits;
    /// further calls wait at the client.
    pub streams_max: u32,
    /// Watches on one stream. Default 10,000, each of which costs some KiB and, if its client lags, the bounded queue of a
    /// [`raft_store::Watcher`]. Further ones are refused.
    pub watches_per_stream_max: usize,
    /// How often a watch that wants it, and to which nothing happens, is told how far it is. Default 10 min.
    pub progress_interval: Duration,
    /// For a connection's TLS handshake, and its first bytes. Default 10 s.
    pub handshake_timeout: Duration,
    /// How often a silent connection is asked whether it is still there. Default 30 s.
    pub keepalive_interval: Duration,
    /// How long the answer may take. Default 20 s.
    pub keepalive_timeout: Duration,
    /// For calls under way to be answered when the server stops. Default 5 s; what is left then is cut.
    pub shutdown_timeout: Duration,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            tls: None,
            request_bytes_max: 1536 << 10,
            txn_ops_max: 128,
            connections_max: 10_000,
            streams_max: 4_096,
            watches_per_stream_max: 10_000,
            progress_interval: Duration::from_secs(600),
            handshake_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdConfig")
            .field("tls", &self.tls.is_some())
            .field("request_bytes_max", &self.request_bytes_max)
            .field("txn_ops_max", &self.txn_ops_max)
            .finish_non_exhaustive()
    }
}
