//! The command line, as clap reads it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::store::StoreArgs;

/// Nodes of a `dev` cluster, at most: one address of 127.0.0.0/24 each, and room for the rest of a
/// laptop.
pub(crate) const NODES_MAX: u8 = 100;

/// Kubernetes for WebAssembly: one binary, stock kubectl.
#[derive(Parser, Debug)]
#[command(
    name = "euston",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Args, Debug, Clone)]
pub(crate) struct Global {
    /// How to print results
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
    /// Kubeconfig of the cluster to talk to; otherwise KUBECONFIG, ~/.kube/config, or the one
    /// `euston dev` that runs
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Log more to stderr: -v what happens, -vv how, -vvv everything. RUST_LOG overrides it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a whole cluster in this process, until Ctrl-C
    Dev(DevArgs),
    /// Run a server of a cluster: API, store, controllers, scheduler, and a node
    Server(ServerArgs),
    /// Run a node of a cluster
    Agent(AgentArgs),
    /// Make, list and delete the tokens that servers and agents join with
    #[command(subcommand)]
    Token(TokenCommand),
    /// List, promote and remove the servers of a cluster
    #[command(subcommand)]
    Member(MemberCommand),
    /// Save a cluster's data, and begin a cluster from saved data
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Run a member of a replicated key-value store that speaks etcd's API, until Ctrl-C
    Store(Box<StoreArgs>),
    /// Push, list, inspect and delete images in the cluster's registry
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print the kubeconfig of a running or stopped cluster
    Kubeconfig(KubeconfigArgs),
    /// Print the versions of this program and of the cluster
    Version(VersionArgs),
    /// Print a completion script, as in: source <(euston completion bash)
    Completion {
        /// Whose script
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug, Clone)]
pub(crate) struct DevArgs {
    /// Apply this manifest, or every manifest in this folder, and wait until its Deployments are
    /// available; may be repeated
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Push this .wasm file to the cluster's registry first; may be repeated
    #[arg(long, value_name = "NAME:TAG=FILE", value_parser = image_file)]
    pub(crate) image: Vec<ImageFile>,
    /// Number of nodes: node-1 on 127.0.0.1, node-2 on 127.0.0.2, and so on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    pub(crate) nodes: u8,
    /// Keep the cluster here, so that it comes back at the next start; otherwise it lives in a
    /// temporary folder and ends with the command
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Port of the Kubernetes API on 127.0.0.1
    #[arg(long, default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) api_port: u16,
    /// Port of every node's own API (logs, traffic between nodes), each on its node's address
    #[arg(long, default_value_t = 10250, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) agent_port: u16,
}

impl DevArgs {
    /// The address of node 1, 2, ...
    pub(crate) fn node_address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, number)
    }
}

#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  The first server prints the tokens and the command lines for all others:
    euston server --name s1 --data-dir /var/lib/euston --address 10.0.0.1
  Two more, on other machines, for a cluster that survives the loss of one:
    euston server --name s2 --data-dir /var/lib/euston --join https://10.0.0.1:6443 --token TOKEN
    euston server --name s3 --data-dir /var/lib/euston --join https://10.0.0.1:6443 --token TOKEN")]
pub(crate) struct ServerArgs {
    /// This server's name, and its node's; otherwise the machine's host name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where everything is kept. A server that was started before comes back from there, and --join
    /// and --token are then not needed
    #[arg(long, value_name = "DIR", default_value = "euston-data")]
    pub(crate) data_dir: PathBuf,
    /// The address on which other machines reach this one; otherwise the one it uses for the world
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,
    /// Port of the Kubernetes API
    #[arg(long, default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) api_port: u16,
    /// Port for the other servers
    #[arg(long, default_value_t = 2380, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) peer_port: u16,
    /// Port of the node's own API (logs, traffic between nodes)
    #[arg(long, default_value_t = 10250, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) agent_port: u16,
    /// Join the cluster of the server at this URL (several: any of them)
    #[arg(
        long,
        value_name = "URL[,URL]",
        value_delimiter = ',',
        requires = "token"
    )]
    pub(crate) join: Vec<String>,
    /// A token for servers, or the name of a file with one; see `euston token create`
    #[arg(long, env = "EUSTON_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Further names and addresses under which clients reach this API; may be repeated
    #[arg(long, value_name = "NAME|IP", value_delimiter = ',')]
    pub(crate) tls_san: Vec<String>,
    /// Run no pods here
    #[arg(long)]
    pub(crate) no_agent: bool,
}

#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Example:
    euston agent --name w1 --data-dir /var/lib/euston --server https://10.0.0.1:6443 --token TOKEN")]
pub(crate) struct AgentArgs {
    /// The node's name; otherwise the machine's host name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where everything is kept. A node that was started before comes back from there, and --token is
    /// then not needed
    #[arg(long, value_name = "DIR", default_value = "euston-data")]
    pub(crate) data_dir: PathBuf,
    /// The servers; one is enough to join, further ones are used when it is down
    #[arg(long, value_name = "URL[,URL]", value_delimiter = ',', required = true)]
    pub(crate) server: Vec<String>,
    /// A token, or the name of a file with one; see `euston token create`
    #[arg(long, env = "EUSTON_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The address on which other machines reach this one; otherwise the one it uses for the world
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,
    /// Port of the node's own API (logs, traffic between nodes)
    #[arg(long, default_value_t = 10250, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) agent_port: u16,
}

/// What a token lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    /// Join as a node
    Agent,
    /// Join as a server, which can do everything
    Server,
}

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; it is not shown again
    Create {
        /// What it lets its holder do
        #[arg(long, value_enum, default_value_t = TokenRole::Agent)]
        role: TokenRole,
        /// How long it can be used, as in 1h or 7d; otherwise for ever
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ttl: Option<Duration>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List tokens, without their secrets
    List,
    /// Delete a token; who joined with it stays
    Delete {
        /// As listed
        id: String,
    },
}

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum MemberCommand {
    /// List the servers
    List,
    /// Give a server its vote at once; otherwise it gets it by itself when it has caught up
    Promote {
        /// Name or id
        member: String,
    },
    /// Remove a server for good, for example one whose machine is lost
    Remove {
        /// Name or id
        member: String,
    },
    /// Make a server the leader
    Lead {
        /// Name or id
        member: String,
    },
}

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum SnapshotCommand {
    /// Save everything that the cluster's store holds into a file
    Save {
        /// The new file
        file: PathBuf,
    },
    /// Check a file and say what is in it
    Status {
        /// A file from `euston snapshot save`
        file: PathBuf,
    },
    /// Begin a new cluster of one server from a file, in an empty data directory
    Restore {
        /// A file from `euston snapshot save`
        file: PathBuf,
        /// The new server's name
        #[arg(long)]
        name: String,
        /// The new server's data directory; its `pki` may be there already, nothing else
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Make the one server that is left of a cluster a new cluster, with all it has; it must not run
    ForceNew {
        /// The server's data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
}

/// `90s`, `15m`, `1h`, `7d`
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write a number and s, m, h or d, as in 1h");
    let (number, seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

/// `NAME:TAG=FILE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageFile {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

fn image_file(text: &str) -> Result<ImageFile, String> {
    let (name, file) = text
        .split_once('=')
        .filter(|(_, file)| !file.is_empty())
        .ok_or("NAME:TAG=FILE is expected, for example app:v1=target/app.wasm")?;
    name.parse::<euston_images::Reference>()
        .map_err(|e| e.to_string())?;
    Ok(ImageFile {
        name: name.to_owned(),
        file: file.into(),
    })
}

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum ImageCommand {
    /// Push a .wasm file, as in: euston image push app.wasm app:v1
    Push {
        /// A WebAssembly module or component
        file: PathBuf,
        /// What manifests will call it
        #[arg(value_name = "NAME:TAG")]
        name: String,
    },
    /// List what was pushed
    List,
    /// Show what an image imports and exports, its size and digest
    Inspect {
        /// NAME:TAG or NAME@DIGEST
        #[arg(value_name = "NAME:TAG")]
        name: String,
    },
    /// Delete a tag, and its content when nothing else needs it
    Delete {
        /// NAME:TAG or NAME@DIGEST
        #[arg(value_name = "NAME:TAG")]
        name: String,
    },
}

#[derive(Args, Debug, Clone)]
pub(crate) struct KubeconfigArgs {
    /// The folder that a server, or `euston dev --data-dir`, keeps its data in; otherwise that of the
    /// one `euston dev` that runs
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct VersionArgs {
    /// Do not ask a cluster for its version
    #[arg(long)]
    pub(crate) client: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn dev_has_the_defaults_of_the_design() {
        let Command::Dev(dev) = parse("euston dev").unwrap().command else {
            panic!("dev was parsed as something else")
        };
        assert_eq!((dev.nodes, dev.api_port, dev.data_dir), (1, 6443, None));
        assert!(dev.filename.is_empty() && dev.image.is_empty());
    }

    #[test]
    fn store_has_the_defaults_of_etcd() {
        let line = "euston store --name a --data-dir d --initial-cluster a=127.0.0.1:2380";
        let Command::Store(store) = parse(line).unwrap().command else {
            panic!("store was parsed as something else")
        };
        assert_eq!(store.listen_client.to_string(), "127.0.0.1:2379");
        assert_eq!(store.listen_peer.to_string(), "127.0.0.1:2380");
        assert_eq!(
            (store.max_request_bytes, store.max_txn_ops),
            (1_572_864, 128)
        );
        assert!(store.cert.is_none() && store.advertise_client.is_empty());
    }

    #[test]
    fn dev_takes_files_and_images_repeatedly() {
        let line = "euston dev -f a.yaml -f b --nodes 3 --image app:v1=x.wasm --image t/b=y=z.wasm -o json -vv";
        let cli = parse(line).unwrap();
        assert_eq!((cli.global.output, cli.global.verbose), (Format::Json, 2));
        let Command::Dev(dev) = cli.command else {
            panic!("dev was parsed as something else")
        };
        assert_eq!(dev.filename, [PathBuf::from("a.yaml"), PathBuf::from("b")]);
        let image = |name: &str, file: &str| ImageFile {
            name: name.into(),
            file: file.into(),
        };
        assert_eq!(
            dev.image,
            [image("app:v1", "x.wasm"), image("t/b", "y=z.wasm")]
        );
    }

    #[test]
    fn wrong_arguments_are_refused_with_what_is_expected() {
        for (line, expect) in [
            ("euston dev --nodes 0", "1..=100"),
            ("euston dev --nodes 101", "1..=100"),
            ("euston dev --api-port 0", "1..=65535"),
            ("euston dev --image app:v1", "NAME:TAG=FILE is expected"),
            ("euston dev --image app:v1=", "NAME:TAG=FILE is expected"),
            ("euston dev --image APP=x.wasm", "is not an image reference"),
            ("euston image push app.wasm", "<NAME:TAG>"),
            ("euston store --name a", "--data-dir <DIR>"),
            ("euston -o yaml version", "possible values: text, json"),
            ("euston fly", "unrecognized subcommand"),
            ("euston server --join https://a:6443", "--token"),
            ("euston server --address a", "invalid IP address"),
            ("euston agent --name a", "--server"),
            ("euston token create --ttl 5", "as in 1h"),
            (
                "euston token create --role king",
                "possible values: agent, server",
            ),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }

    #[test]
    fn help_lists_every_command() {
        let help = Cli::command().render_help().to_string();
        for command in [
            "dev",
            "server",
            "agent",
            "token",
            "member",
            "snapshot",
            "store",
            "image",
            "kubeconfig",
            "version",
            "completion",
        ] {
            assert!(help.contains(&format!("\n  {command}")), "{help}");
        }
    }
}
