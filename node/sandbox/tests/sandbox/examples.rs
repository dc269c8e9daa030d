//! The guests of wasm-examples, from Rust's own standard library down.

use crate::common::{
    Answer, LONG, Recorder, ended, example, get, no_network, read, run, spec, start,
};
use bytes::Bytes;
use euston_sandbox::{
    Body, BoxError, Container, Entry, ExitReason, HandleError, Mount, OutboundError, OutboundHttp,
    full,
};
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn args(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

async fn hello(variables: &[(&str, &str)]) -> Option<(Container, Arc<Recorder>)> {
    let image = example("hello").await?;
    let output = Arc::new(Recorder::default());
    let mut spec = spec(&image, Entry::Http, &output);
    spec.env = env(variables);
    Some((start(spec).await, output))
}

#[tokio::test]
async fn hello_answers() {
    let Some((container, _)) = hello(&[("NAME", "Kate"), ("POD_NAME", "hello-1")]).await else {
        return;
    };
    for (path, status, body) in [
        ("/", 200, "Hello, Kate! This is hello-1.\n"),
        ("/env", 200, "NAME=Kate\nPOD_NAME=hello-1\n"),
        ("/healthz", 200, "ok\n"),
        ("/status/418", 418, "status 418\n"),
        ("/status/abc", 400, "a status is a number from 200 to 599\n"),
        ("/slow?ms=5", 200, "slept 5 ms\n"),
        ("/alloc?mib=8", 200, "8 MiB in 2048 pages\n"),
        ("/nothing?a=b", 404, "no such path: /nothing\n"),
    ] {
        let response = container.handle(get(path)).await.expect(path);
        assert_eq!(read(response).await, (status, body.to_owned()), "{path}");
    }
    let usage = container.usage();
    assert_eq!(usage.requests, 8);
    assert!(usage.memory_peak_bytes > 8 << 20, "{usage:?}");
    assert!(usage.cpu_time > Duration::ZERO, "{usage:?}");
}

#[tokio::test]
async fn hello_can_be_unhealthy() {
    let Some((container, _)) = hello(&[("HEALTHY", "false")]).await else {
        return;
    };
    let response = container.handle(get("/healthz")).await.expect("an answer");
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn a_panic_is_told_to_the_caller_and_in_the_log() {
    let Some((container, output)) = hello(&[]).await else {
        return;
    };
    match container.handle(get("/panic")).await.map(drop) {
        Err(HandleError::Trap(what)) => {
            assert!(what.starts_with("wasm trap: unreachable"), "{what}");
            assert!(
                what.contains("hello::reply") || what.contains("handle"),
                "{what}"
            );
        }
        other => panic!("{other:?}"),
    }
    let log = output.stderr();
    assert!(
        log.contains("panicked at") && log.contains("wasm trap"),
        "{log}"
    );
    let after = container.handle(get("/healthz")).await.expect("an answer");
    assert_eq!(after.status(), 200);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let Some((container, _)) = hello(&[]).await else {
        return;
    };
    // The next chunk goes in only after the last came back: nothing waits for the whole body.
    let (chunks, source) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
    let source = futures::stream::unfold(source, |mut source| async move {
        source.recv().await.map(|chunk| (chunk, source))
    });
    let request = http::Request::post("http://guest/echo")
        .body(Body::new(StreamBody::new(source)))
        .expect("a request");
    let exchange = async {
        let mut body = container
            .handle(request)
            .await
            .expect("an answer")
            .into_body();
        for n in 0..20 {
            let chunk = Bytes::from(format!("chunk {n};").repeat(100));
            chunks
                .send(Ok(Frame::data(chunk.clone())))
                .await
                .expect("the guest reads");
            let mut back = Vec::new();
            while back.len() < chunk.len() {
                let frame = body.frame().await.expect("more").expect("no error");
                back.extend_from_slice(frame.data_ref().expect("data"));
            }
            assert_eq!(back, chunk);
        }
        drop(chunks);
        assert!(body.frame().await.is_none());
    };
    tokio::time::timeout(LONG, exchange).await.expect("in time");
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let Some((container, _)) = hello(&[]).await else {
        return;
    };
    let n = 32 << 20;
    let response = container
        .handle(get(&format!("/bytes?n={n}")))
        .await
        .expect("an answer");
    let mut body = response.into_body();
    let mut got = 0;
    while let Some(frame) = body.frame().await {
        got += frame.expect("no error").data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(got, n);
    // 32 MiB went through a sandbox that may hold 64 and held a fraction of that.
    assert!(container.usage().memory_peak_bytes < 8 << 20);
}

#[tokio::test]
async fn half_an_answer_is_not_taken_for_a_whole_one() {
    let Some((container, _)) = hello(&[]).await else {
        return;
    };
    let path = "/drip?n=3&ms=1&then=panic";
    let response = container.handle(get(path)).await.expect("a head");
    assert_eq!(response.status(), 200);
    let error = match response.into_body().collect().await {
        Ok(_) => panic!("the body ended as if it were whole"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("wasm trap"), "{error}");
}

#[tokio::test]
async fn a_request_body_that_breaks_off_breaks_the_answer() {
    let Some((container, _)) = hello(&[]).await else {
        return;
    };
    let frames: Vec<Result<Frame<Bytes>, BoxError>> = vec![
        Ok(Frame::data(Bytes::from_static(b"some"))),
        Err("the client went away".into()),
    ];
    let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
    let request = http::Request::post("http://guest/echo")
        .body(body)
        .expect("a request");
    let response = container.handle(request).await.expect("a head");
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let Some((container, _)) = hello(&[]).await else {
        return;
    };
    let response = container
        .handle(get("/drip?n=20&ms=10"))
        .await
        .expect("a head");
    let stopping = tokio::spawn({
        let container = container.clone();
        async move { container.stop(LONG).await }
    });
    let (_, body) = read(response).await;
    assert!(body.ends_with("line 20 of 20\n"), "{body:?}");
    stopping.await.expect("a task");
    let exit = ended(&container).await;
    assert_eq!(
        (exit.code, &exit.reason),
        (0, &ExitReason::Completed),
        "{exit}"
    );
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    let Some((container, _)) = hello(&[("NAME", "all")]).await else {
        return;
    };
    let answered = AtomicUsize::new(0);
    futures::stream::iter(0..500)
        .for_each_concurrent(100, |_| async {
            let response = container.handle(get("/")).await.expect("an answer");
            assert!(read(response).await.1.starts_with("Hello, all!"));
            answered.fetch_add(1, Ordering::Relaxed);
        })
        .await;
    assert_eq!(answered.into_inner(), 500);
}

/// What the counter says when the bakery answers like this.
async fn counter(bakery: Arc<dyn OutboundHttp>) -> Option<(u16, String)> {
    let image = example("frontend").await?;
    let output = Arc::new(Recorder::default());
    let mut spec = spec(&image, Entry::Http, &output);
    spec.env = env(&[
        ("POD_NAME", "frontend-1"),
        ("BACKEND_URL", "http://backend:8080"),
    ]);
    spec.network = bakery;
    let container = start(spec).await;
    Some(read(container.handle(get("/")).await.expect("an answer")).await)
}

#[tokio::test]
async fn the_counter_asks_the_bakery() {
    // The bakery is the other guest, called without a socket.
    let Some(image) = example("backend").await else {
        return;
    };
    let output = Arc::new(Recorder::default());
    let mut backend = spec(&image, Entry::Http, &output);
    backend.env = env(&[
        ("POD_NAME", "backend-7"),
        ("COOKIES", "ginger snap=24, scone"),
    ]);
    struct Bakery(Container);
    #[async_trait::async_trait]
    impl OutboundHttp for Bakery {
        async fn send(
            &self,
            request: http::Request<Body>,
            options: euston_sandbox::OutboundOptions,
        ) -> Result<http::Response<Body>, OutboundError> {
            assert_eq!(request.uri().to_string(), "http://backend:8080/stock");
            assert_eq!(request.headers()["host"], "backend:8080");
            assert_eq!(options.connect_timeout, Duration::from_secs(5));
            assert!(!options.use_tls);
            let answer = self.0.handle(request).await;
            answer.map_err(|error| OutboundError::Other(error.to_string()))
        }
    }
    let bakery = Arc::new(Bakery(start(backend).await));
    let (status, body) = counter(bakery).await.expect("built together");
    assert_eq!(status, 200, "{body}");
    for part in [
        "\"frontend-1\"",
        "\"backend-7\"",
        "\"ginger snap\"",
        "\"left\": 24",
        "\"left\": 0",
    ] {
        assert!(body.contains(part), "{body} has no {part}");
    }
}

#[tokio::test]
async fn failures_of_the_network_reach_the_guest_as_error_codes() {
    for (error, code) in [
        (OutboundError::Dns("backend".to_owned()), "DnsError"),
        (OutboundError::ConnectionRefused, "ConnectionRefused"),
        (OutboundError::Timeout, "ConnectionTimeout"),
        (
            OutboundError::Denied("by policy".to_owned()),
            "HttpRequestDenied",
        ),
        (OutboundError::Other("no idea".to_owned()), "no idea"),
    ] {
        let bakery = Answer(move |_: &http::Request<()>, _: &[u8]| Err(error.clone()));
        let Some((status, body)) = counter(Arc::new(bakery)).await else {
            return;
        };
        assert_eq!(status, 502);
        assert!(body.contains(code), "{body:?} does not name {code}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_one_is_told() {
    let bakery =
        Answer(|_: &http::Request<()>, _: &[u8]| Ok(http::Response::new(full("sorry, closed"))));
    let Some((status, body)) = counter(Arc::new(bakery)).await else {
        return;
    };
    assert_eq!(status, 502, "{body}");
}

#[tokio::test]
async fn commands_run_as_components_and_as_modules() {
    for suffix in ["", ".wasip1"] {
        for (name, words, code, stdout, stderr) in [
            ("counter", "counter 3", 0, "1\n2\n3\n", ""),
            ("counter", "counter three", 2, "", "invalid digit"),
            ("crasher", "crasher exit 0", 0, "", "about to exit 0"),
            ("crasher", "crasher exit 42", 42, "", ""),
            ("crasher", "crasher exit 143", 143, "", ""),
            ("crasher", "crasher panic", 134, "", "panicked at"),
            ("crasher", "crasher trap", 134, "", "crasher::bake_too_long"),
            (
                "crasher",
                "crasher recurse",
                134,
                "",
                "call stack exhausted",
            ),
            (
                "crasher",
                "crasher divide",
                134,
                "",
                "attempt to divide by zero",
            ),
            ("spinner", "spinner 0.05", 0, "done after", ""),
            ("memhog", "memhog 16", 0, "done with 4096 pages", ""),
            ("memhog", "memhog 500", 137, "48 MiB", "its limit is 64 MiB"),
        ] {
            let Some(image) = example(&format!("{name}{suffix}")).await else {
                return;
            };
            let (exit, output) = run(&image, |spec| spec.args = args(words)).await;
            let said = (output.stdout(), output.stderr());
            assert_eq!(exit.code, code, "{words} {suffix}: {exit}, {said:?}");
            assert!(said.0.contains(stdout), "{words} {suffix}: {said:?}");
            assert!(said.1.contains(stderr), "{words} {suffix}: {said:?}");
            let reason = match code {
                0 => ExitReason::Completed,
                137 => ExitReason::OomKilled,
                134 => ExitReason::Trap(exit.message.clone()),
                _ => ExitReason::Error,
            };
            assert_eq!(exit.reason, reason, "{words} {suffix}");
        }
    }
}

#[tokio::test]
async fn a_guest_sees_what_it_was_given_and_no_more() {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "the recipe").expect("written");
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("sub")).expect("made");
    std::fs::write(dir.path().join("a"), "first").expect("written");
    std::fs::write(dir.path().join("sub/b"), "second").expect("written");
    std::os::unix::fs::symlink("a", dir.path().join("inside")).expect("linked");
    std::os::unix::fs::symlink(&secret, dir.path().join("absolute")).expect("linked");
    let up = format!(
        "../{}/secret",
        outside.path().file_name().expect("named").to_string_lossy()
    );
    std::os::unix::fs::symlink(up, dir.path().join("relative")).expect("linked");

    for suffix in ["", ".wasip1"] {
        let Some(image) = example(&format!("envprint{suffix}")).await else {
            return;
        };
        let (exit, output) = run(&image, |spec| {
            spec.args = args("envprint /data /data/.. /etc");
            spec.env = env(&[("B", "2"), ("A", "1")]);
            spec.mounts = vec![Mount {
                host: dir.path().to_owned(),
                guest: "/data".to_owned(),
                read_only: true,
            }];
        })
        .await;
        assert_eq!(exit.code, 0, "{exit}");
        let printed = output.stdout();
        for line in [
            "arg 0: envprint",
            "arg 1: /data",
            "env A=1",
            "env B=2",
            "file /data/a: first",
            "file /data/inside: first",
            "file /data/sub/b: second",
        ] {
            assert!(
                printed.lines().any(|l| l == line),
                "no {line:?} in {printed}"
            );
        }
        assert!(!printed.contains("recipe"), "{printed}");
        assert!(!printed.contains("root:"), "{printed}");
        assert_eq!(
            printed.matches("env ").count(),
            2,
            "nothing of the node's own: {printed}"
        );
    }
}

#[tokio::test]
async fn a_guest_that_prints_and_waits_is_heard_before_it_ends() {
    let Some(image) = example("spinner").await else {
        return;
    };
    let output = Arc::new(Recorder::default());
    let mut spec = spec(&image, Entry::Command, &output);
    spec.network = no_network();
    let container = start(spec).await;
    output.printed("spinning\n").await;
    container.stop(LONG).await;
    let exit = ended(&container).await;
    assert_eq!(
        (exit.code, &exit.reason),
        (143, &ExitReason::Stopped),
        "{exit}"
    );
}
