//! exec: another instance of the container's image, with the arguments of the client.

use super::live::Live;
use super::pipe::Pipe;
use super::show;
use euston_sandbox::{Container, Exec, Exit, Input, StartError};
use euston_streams::{CommandSession, Outcome};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs the command, and tells the client how it ended. It is killed when the client, or the
/// container that it runs in, goes away.
pub(super) async fn run(mut session: CommandSession, live: Live, args: Vec<String>, tty: bool) {
    let pipe = Pipe::default();
    let exec = Exec {
        args,
        input: session.stdin.take().map(Input::new).unwrap_or_default(),
        output: Arc::new(pipe.clone()),
    };
    let outcome = match live.container.exec(exec) {
        Err(error) => Outcome::Failed(format!(
            "error executing command in container: {}",
            explain(&error)
        )),
        Ok(command) => {
            let shown = show(&session, &pipe, tty);
            let ended = async {
                let exit = end(&command, &live.container, &session.gone()).await;
                pipe.close();
                exit
            };
            let (_, exit) = tokio::join!(shown, ended);
            match exit.code {
                0 => Outcome::Success,
                code => Outcome::Exit(code),
            }
        }
    };
    session.finish(&outcome).await;
}

async fn end(command: &Container, container: &Container, gone: &CancellationToken) -> Exit {
    tokio::select! {
        exit = command.wait() => return exit,
        _ = container.wait() => {}
        () = gone.cancelled() => {}
    }
    command.kill();
    command.wait().await
}

fn explain(error: &StartError) -> String {
    match error {
        StartError::NoSuchEntry { .. } => format!(
            "{error}. exec starts the image once more as a command, with the arguments given; one \
             that exports no wasi:cli/run has none. Its volumes can be copied with kubectl cp"
        ),
        error => error.to_string(),
    }
}
