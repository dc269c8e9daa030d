//! The `euston` command: parses arguments, wires the crates together, shuts them down.

mod agent;
mod args;
mod cluster;
mod dev;
mod image;
mod kubeconfig;
mod logging;
mod machine;
mod member;
mod node;
mod output;
mod place;
mod plane;
mod server;
mod sessions;
mod signals;
mod snapshot;
mod store;
mod token;
mod version;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.global.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: cannot start the threads that everything runs on: {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli));
    // Blocking work that is left (a compilation, a name lookup) must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {}", output::sentence(&e));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Dev(options) => Box::pin(dev::run(options, global.output)).await,
        Command::Server(options) => Box::pin(server::run(options, global.output)).await,
        Command::Agent(options) => Box::pin(agent::run(options, global.output)).await,
        Command::Token(command) => token::run(command, &global).await,
        Command::Member(command) => member::run(command, &global).await,
        Command::Snapshot(command) => snapshot::run(command, &global).await,
        Command::Store(options) => Box::pin(store::run(*options, global.output)).await,
        Command::Image(command) => image::run(command, &global).await,
        Command::Kubeconfig(options) => kubeconfig::print(&options, &global),
        Command::Version(options) => version::run(&options, &global).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "euston", &mut std::io::stdout());
            Ok(())
        }
    }
}
