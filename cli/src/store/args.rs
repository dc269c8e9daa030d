//! The flags of `euston store`, named as etcd names them where it has them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug, Clone)]
pub(crate) struct StoreArgs {
    /// This member's name, as --initial-cluster has it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Where this member keeps its log, snapshots and identity; created if missing
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Where to serve clients; without certificates, a loopback address
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:2379")]
    pub(crate) listen_client: SocketAddr,
    /// Where to serve other members; without certificates, a loopback address
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:2380")]
    pub(crate) listen_peer: SocketAddr,
    /// All members with their peer addresses, this one among them, as in: n1=10.0.0.1:2380,n2=10.0.0.2:2380
    #[arg(long, value_name = "NAME=IP:PORT,...")]
    pub(crate) initial_cluster: String,
    /// Tells apart clusters that are started with the same list
    #[arg(long, value_name = "TEXT", default_value = "euston-store")]
    pub(crate) initial_cluster_token: String,
    /// Whether a new data directory begins as part of a new cluster, or joins the running one that was told of
    /// this member (etcdctl member add); an existing directory goes on as what it is
    #[arg(long, value_enum, default_value_t = State::New)]
    pub(crate) initial_cluster_state: State,
    /// Where clients reach this member, as a url; may be repeated. Default: where it listens
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) advertise_client: Vec<String>,
    /// This member's certificate (PEM), for clients and for other members
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key (PEM, PKCS #8)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// The CA that signed the certificates of members and clients (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Let clients connect without a certificate: whoever reaches the port may read and write everything
    #[arg(long, requires = "ca")]
    pub(crate) anonymous_clients: bool,
    /// Bytes of keys, values and history beyond which writes are refused until space is made; 0 for no bound
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 30)]
    pub(crate) quota_backend_bytes: u64,
    /// The largest request, in bytes of keys and values
    #[arg(long, value_name = "BYTES", default_value_t = 1536 << 10)]
    pub(crate) max_request_bytes: usize,
    /// The most conditions, or steps of a branch, in a transaction
    #[arg(long, value_name = "COUNT", default_value_t = 128)]
    pub(crate) max_txn_ops: usize,
    /// Bytes of log after which a snapshot is written
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub(crate) snapshot_log_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    New,
    Existing,
}
