//! exec and attach.

use crate::{spdy, spdy_client, within, ws, ws_client};
use bytes::Bytes;
use euston_streams::spdy::frame::Frame;
use euston_streams::{Asked, Channel, CommandSession, Outcome, Purpose, SessionError};
use futures::SinkExt;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

const ALL: Asked = Asked {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// Repeats standard input on standard output until it ends, and then says so on standard error.
async fn echo(mut session: CommandSession) {
    let mut stdin = session.stdin.take().unwrap();
    loop {
        match stdin.next().await {
            Ok(Some(bytes)) => session.output(Channel::Stdout, bytes).await.unwrap(),
            Ok(None) => break,
            Err(gone) => panic!("{gone}"),
        }
    }
    let done = Bytes::from_static(b"done");
    session.output(Channel::Stderr, done).await.unwrap();
    session.finish(&Outcome::Exit(3)).await;
}

fn serve<F: Future<Output = ()> + Send + 'static>(
    agreed: euston_streams::Agreed,
    asked: Asked,
    run: impl FnOnce(CommandSession) -> F + Send + 'static,
) -> (DuplexStream, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let task = tokio::spawn(async move {
        let session = CommandSession::begin(far, agreed, asked).await.unwrap();
        run(session).await;
    });
    (near, task)
}

fn exit_code(status: &str) -> String {
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    status["details"]["causes"][0]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_websocket_v5_carries_streams_the_end_of_stdin_and_the_exit_code() {
    let (io, task) = serve(ws(Purpose::Command, "v5.channel.k8s.io"), ALL, echo);
    let mut client = ws_client::Client::new(io).await;
    client
        .until("the greeting", |client| !client.messages.is_empty())
        .await;
    assert_eq!(
        client.messages[0],
        Message::Binary(Bytes::from_static(b"\x01"))
    );
    client.send(0, b"hello ").await;
    client.send(0, b"").await;
    client.send(9, b"nowhere").await;
    client.send(4, br#"{"Width":80,"Height":24}"#).await;
    client.send(0, b"world").await;
    client.send(255, &[0]).await;
    client.read_to_the_end().await;
    assert_eq!(client.text(1), "hello world");
    assert_eq!(client.text(2), "done");
    assert_eq!(exit_code(&client.text(3)), "3");
    assert_eq!(client.closed, Some((1000, String::new())));
    drop(client);
    within("the session's end", task).await.unwrap();
}

#[tokio::test]
async fn old_websockets_are_spoken_too() {
    let (io, _task) = serve(
        ws(Purpose::Command, "base64.channel.k8s.io"),
        ALL,
        |mut session| async move {
            let mut stdin = session.stdin.take().unwrap();
            let typed = stdin.next().await.unwrap().unwrap();
            session.output(Channel::Stdout, typed).await.unwrap();
            session.finish(&Outcome::Exit(1)).await;
        },
    );
    let mut client = ws_client::Client::new(io).await;
    client.ws.send(Message::text("0YWJj")).await.unwrap();
    client.read_to_the_end().await;
    let texts: Vec<_> = client
        .messages
        .iter()
        .map(|message| message.to_text().unwrap().to_owned())
        .collect();
    assert_eq!(&texts[..2], ["1", "1YWJj"]);
    // Before v4 the error channel has a sentence.
    assert!(texts[2].starts_with('3'), "{texts:?}");
}

#[tokio::test]
async fn spdy_carries_streams_the_end_of_stdin_and_the_exit_code() {
    let (io, task) = serve(spdy(Purpose::Command, "v4.channel.k8s.io"), ALL, echo);
    let mut client = spdy_client::Client::new(io);
    let error = client.open([("streamType", "error")]).await;
    let stdin = client.open([("streamType", "stdin")]).await;
    let stdout = client.open([("streamType", "stdout")]).await;
    let stderr = client.open([("streamType", "stderr")]).await;
    let other = client.open([("streamType", "other")]).await;
    client
        .until("the replies", |client| {
            [error, stdin, stdout, stderr]
                .iter()
                .all(|id| client.replied(*id))
                && client.reset(other).is_some()
        })
        .await;
    client.send(Frame::Ping(7)).await;
    client.data(stdin, b"hello ", false).await;
    client.data(stdin, b"world", true).await;
    client
        .until("the end", |client| {
            [error, stdout, stderr].iter().all(|id| client.ended(*id))
        })
        .await;
    assert_eq!(client.text(stdout), "hello world");
    assert_eq!(client.text(stderr), "done");
    assert_eq!(exit_code(&client.text(error)), "3");
    assert!(client.frames.contains(&Frame::Ping(7)));
    client.close().await;
    within("the session's end", task).await.unwrap();
}

/// What clients made from client-go do: they never widen a window.
#[tokio::test]
async fn long_output_reaches_spdy_clients_that_keep_no_windows() {
    const BYTES: usize = 3 << 20;
    let asked = Asked {
        stdout: true,
        ..Asked::default()
    };
    let (io, _task) = serve(
        spdy(Purpose::Command, "v4.channel.k8s.io"),
        asked,
        |session| async move {
            let output = Bytes::from(vec![b'x'; BYTES]);
            session.output(Channel::Stdout, output).await.unwrap();
            session.finish(&Outcome::Success).await;
        },
    );
    let mut client = spdy_client::Client::new(io);
    let error = client.open([("streamType", "error")]).await;
    let stdout = client.open([("streamType", "stdout")]).await;
    client
        .until("the end", |client| {
            client.ended(stdout) && client.ended(error)
        })
        .await;
    assert_eq!(client.got[&stdout].0.len(), BYTES);
    assert!(client.text(error).contains("Success"));
}

#[tokio::test]
async fn spdy_clients_that_keep_windows_are_sent_what_fits() {
    let asked = Asked {
        stdout: true,
        ..Asked::default()
    };
    let (io, _task) = serve(
        spdy(Purpose::Command, "v4.channel.k8s.io"),
        asked,
        |session| async move {
            let output = Bytes::from(vec![b'x'; 1000]);
            session.output(Channel::Stdout, output).await.unwrap();
            session.finish(&Outcome::Success).await;
        },
    );
    let mut client = spdy_client::Client::new(io);
    client
        .send(Frame::Settings {
            values: vec![(7, 300)],
        })
        .await;
    client.open([("streamType", "error")]).await;
    let stdout = client.open([("streamType", "stdout")]).await;
    let has = |bytes: usize| {
        move |client: &spdy_client::Client<DuplexStream>| {
            client
                .got
                .get(&stdout)
                .is_some_and(|got| got.0.len() >= bytes)
        }
    };
    client.until("the first window", has(300)).await;
    // A ping's answer comes after whatever else there was to send.
    client.send(Frame::Ping(1)).await;
    client
        .until("the pong", |client| client.frames.contains(&Frame::Ping(1)))
        .await;
    assert_eq!(client.text(stdout).len(), 300);
    client
        .send(Frame::WindowUpdate {
            id: stdout,
            delta: 700,
        })
        .await;
    client.until("the rest", has(1000)).await;
}

#[tokio::test]
async fn what_was_read_widens_the_clients_window() {
    let asked = Asked {
        stdin: true,
        ..Asked::default()
    };
    let (io, _task) = serve(
        spdy(Purpose::Command, "v4.channel.k8s.io"),
        asked,
        |mut session| async move {
            let mut stdin = session.stdin.take().unwrap();
            let mut all = Vec::new();
            stdin.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), 200_000);
            session.finish(&Outcome::Success).await;
        },
    );
    let mut client = spdy_client::Client::new(io);
    client.open([("streamType", "error")]).await;
    let stdin = client.open([("streamType", "stdin")]).await;
    for _ in 0..20 {
        client.data(stdin, &[7; 10_000], false).await;
    }
    client.data(stdin, b"", true).await;
    client
        .until("the end", |client| client.text(1).contains("Success"))
        .await;
    for of in [0, stdin] {
        let widened: u32 = client
            .frames
            .iter()
            .map(|frame| match frame {
                Frame::WindowUpdate { id, delta } if *id == of => *delta,
                _ => 0,
            })
            .sum();
        assert!(widened > 100_000, "{of}: {widened}");
    }
}

#[tokio::test]
async fn a_session_notices_that_its_client_is_gone() {
    for agreed in [
        ws(Purpose::Command, "v5.channel.k8s.io"),
        spdy(Purpose::Command, "v4.channel.k8s.io"),
    ] {
        let (io, task) = serve(agreed, ALL, |mut session| async move {
            session.gone().cancelled().await;
            let lost = session.stdin.take().unwrap().next().await;
            assert!(lost.is_err(), "not an end that the client meant");
            let output = Bytes::from_static(b"x");
            let mut sent = Ok(());
            while sent.is_ok() {
                sent = session.output(Channel::Stdout, output.clone()).await;
            }
            session.finish(&Outcome::Success).await;
        });
        if agreed == spdy(Purpose::Command, "v4.channel.k8s.io") {
            let mut client = spdy_client::Client::new(io);
            for kind in ["error", "stdin", "stdout", "stderr"] {
                client.open([("streamType", kind)]).await;
            }
            client.until("a reply", |client| client.replied(7)).await;
            drop(client);
        } else {
            let mut client = ws_client::Client::new(io).await;
            client
                .until("the greeting", |client| !client.messages.is_empty())
                .await;
            drop(client);
        }
        within("the session's end", task).await.unwrap();
    }
}

/// A guest that does not read holds its client back instead of filling the node's memory.
#[tokio::test]
async fn unread_input_is_bounded() {
    let (started, begun) = tokio::sync::oneshot::channel();
    let (io, task) = serve(
        ws(Purpose::Command, "v5.channel.k8s.io"),
        ALL,
        |session| async move {
            started.send(()).unwrap();
            session.gone().cancelled().await;
        },
    );
    let mut client = ws_client::Client::new(io).await;
    begun.await.unwrap();
    let message = Message::Binary(vec![0; 32 << 10].into());
    let mut taken = 0;
    // Ends when nothing moves any more: all tasks of this runtime are then waiting.
    while let std::task::Poll::Ready(sent) = {
        let mut polled = Box::pin(client.ws.send(message.clone()));
        let mut answer = futures::poll!(&mut polled);
        for _ in 0..200 {
            if answer.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
            answer = futures::poll!(&mut polled);
        }
        answer
    } {
        sent.unwrap();
        taken += 1;
        assert!(taken < 100, "{taken} messages were taken");
    }
    assert!(taken >= 4);
    drop(client);
    within("the session's end", task).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_too_few_streams_is_given_up() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let agreed = spdy(Purpose::Command, "v4.channel.k8s.io");
    let begin = tokio::spawn(CommandSession::begin(far, agreed, ALL));
    let mut client = spdy_client::Client::new(near);
    client.open([("streamType", "error")]).await;
    client.open([("streamType", "stdin")]).await;
    let error = begin.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Streams(_)), "{error}");
    while client.read().await {}
    assert_eq!(client.went_away(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_pinged_and_idle_sessions_end() {
    let asked = Asked {
        stdout: true,
        ..Asked::default()
    };
    for agreed in [
        ws(Purpose::Command, "v5.channel.k8s.io"),
        spdy(Purpose::Command, "v4.channel.k8s.io"),
    ] {
        let (near, far) = tokio::io::duplex(64 << 10);
        let task = tokio::spawn(async move {
            let session = CommandSession::begin(far, agreed, asked).await.unwrap();
            session.gone().cancelled().await;
        });
        let began = tokio::time::Instant::now();
        let pings = if agreed == spdy(Purpose::Command, "v4.channel.k8s.io") {
            let mut client = spdy_client::Client::new(near);
            client.open([("streamType", "error")]).await;
            client.open([("streamType", "stdout")]).await;
            while client.read().await {}
            let ping = |frame: &&Frame| matches!(frame, Frame::Ping(_));
            client.frames.iter().filter(ping).count()
        } else {
            let mut client = ws_client::Client::new(near).await;
            while client.read().await {}
            let ping = |message: &&Message| message.is_ping();
            client.messages.iter().filter(ping).count()
        };
        let hours = began.elapsed().as_secs_f64() / 3600.0;
        assert!((4.0..4.1).contains(&hours), "{hours}");
        assert!(pings > 900, "{pings}");
        task.await.unwrap();
    }
}

#[test]
fn what_clients_ask_for_is_checked() {
    assert!(Asked::new(false, false, false, true).is_err());
    let terminal = Asked::new(true, true, true, true).unwrap();
    assert!(terminal.tty && terminal.stdout && !terminal.stderr);
    assert!(Asked::new(false, false, true, false).unwrap().stderr);
}
