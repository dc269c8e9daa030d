//! attach: the streams of a container that runs, from now on.

use super::live::{Live, Stdin};
use super::pipe::Tap;
use super::show;
use euston_streams::{CommandSession, Inbox, Outcome};
use std::sync::Arc;

/// Joins until the container ends or the client leaves.
pub(super) async fn run(mut session: CommandSession, live: Live, tap: Tap, tty: bool) {
    let gone = session.gone();
    let typed = session.stdin.take().zip(live.stdin.clone());
    let stdin = typed.as_ref().map(|(_, stdin)| stdin.clone());
    // Merged only where the container has a terminal, whatever the client has.
    let tty = tty && live.tty;
    let shown = async {
        let shown = show(&session, &tap.pipe, tty);
        let ended = async {
            tokio::select! {
                _ = live.container.wait() => {}
                () = gone.cancelled() => {}
            }
            tap.pipe.close();
        };
        tokio::join!(shown, ended)
    };
    let typing = async {
        if let Some((inbox, stdin)) = typed {
            pass_on(inbox, &stdin).await;
            stdin.leave().await;
        }
        // What is printed afterwards is still shown.
        std::future::pending::<()>().await
    };
    tokio::select! {
        _ = shown => {}
        () = typing => {}
    }
    if let Some(stdin) = stdin {
        stdin.leave().await;
    }
    session.finish(&Outcome::Success).await;
}

async fn pass_on(mut inbox: Inbox, stdin: &Arc<Stdin>) {
    while let Ok(Some(bytes)) = inbox.next().await {
        if !stdin.write(&bytes).await {
            return;
        }
    }
}
