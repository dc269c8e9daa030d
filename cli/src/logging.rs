//! Logs go to stderr; results go to stdout.

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings, unless `-v` or `RUST_LOG` asks for more.
pub(crate) fn start(verbose: u8) {
    // "euston" is a prefix of the name of every crate of ours but one.
    let asked = match verbose {
        0 => "warn",
        1 => "warn,euston=info,raft_store=info",
        2 => "info,euston=debug,raft_store=debug",
        _ => "debug,euston=trace,raft_store=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(asked));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    // Fails only if logging was started before, which nothing else in this program does.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
