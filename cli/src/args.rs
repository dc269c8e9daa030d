//! The command line, as clap reads it.

use std::net::Ipv4Addr;
use std::path::PathBuf;

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
    /// Run a member of a replicated key-value store that speaks etcd's API, until Ctrl-C
    Store(Box<StoreArgs>),
    /// Push, list, inspect and delete images in the cluster's registry
    #[command(subcommand)]
    Image(ImageCommand),
    /// Print the kubeconfig of a running or stopped `euston dev`
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
    /// The folder that `euston dev --data-dir` keeps its cluster in; otherwise the one that runs
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
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }

    #[test]
    fn help_lists_only_what_works() {
        let help = Cli::command().render_help().to_string();
        for command in [
            "dev",
            "store",
            "image",
            "kubeconfig",
            "version",
            "completion",
        ] {
            assert!(help.contains(command), "{help}");
        }
        for later in ["server", "agent", "snapshot", "token"] {
            assert!(!help.contains(&format!("\n  {later}")), "{help}");
        }
    }
}
