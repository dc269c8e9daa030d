//! HTTP containers whose guests misbehave; those that behave are in examples.rs.

use crate::common::{LONG, Recorder, ended, get, image, spec, start};
use euston_sandbox::{ContainerSpec, Entry, ExitReason, HandleError};
use std::sync::Arc;
use std::time::Duration;

/// A component whose handler has this body.
fn handler(memory: &str, body: &str) -> String {
    format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $out))
            (core module $m
                (memory (export "memory") {memory})
                (func $handle (export "handle") (param i32 i32) {body}))
            (core instance $i (instantiate $m))
            (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                (canon lift (core func $i "handle")))
            (instance $exports (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $exports)))"#
    )
}

async fn serve(
    memory: &str,
    body: &str,
    change: impl FnOnce(&mut ContainerSpec),
) -> (euston_sandbox::Container, Arc<Recorder>) {
    let image = image(&handler(memory, body)).await;
    let output = Arc::new(Recorder::default());
    let mut spec = spec(&image, Entry::Http, &output);
    change(&mut spec);
    (start(spec).await, output)
}

#[tokio::test]
async fn a_failing_handler_fails_its_request_and_nothing_else() {
    for (name, memory, body, expect) in [
        (
            "traps",
            "1",
            "unreachable",
            "wasm trap: unreachable instruction executed",
        ),
        (
            "says nothing",
            "1",
            "",
            "the guest returned without setting a response",
        ),
        (
            "takes too much",
            "1",
            "(drop (memory.grow (i32.const 5000)))",
            "out of memory: the guest holds 64 KiB and asked for",
        ),
        ("starts too large", "2000", "", "out of memory"),
        (
            "never answers",
            "1",
            "(loop (br 0))",
            "the guest did not answer within 200 ms",
        ),
    ] {
        let (container, output) = serve(memory, body, |spec| {
            spec.request_timeout = Duration::from_millis(200);
        })
        .await;
        for _ in 0..3 {
            let answer = tokio::time::timeout(LONG, container.handle(get("/"))).await;
            let error = match answer.expect("an answer in time") {
                Ok(_) => panic!("{name}: it answered"),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(expect), "{name}: {error:?}");
        }
        assert!(
            output.stderr().contains(expect),
            "{name}: {:?}",
            output.stderr()
        );
        assert_eq!(container.exit(), None, "{name}");
        let usage = container.usage();
        assert_eq!(usage.requests, 3, "{name}");
        container.stop(LONG).await;
        let exit = ended(&container).await;
        assert_eq!(
            (exit.code, &exit.reason),
            (0, &ExitReason::Completed),
            "{name}: {exit}"
        );
        assert_eq!(container.usage().memory_bytes, 0, "{name}");
        let after = container.handle(get("/")).await.map(drop);
        assert!(
            matches!(after, Err(HandleError::Stopped)),
            "{name}: {after:?}"
        );
    }
}

#[tokio::test]
async fn beyond_its_queue_a_container_is_busy() {
    let (container, _) = serve("1", "(loop (br 0))", |spec| {
        spec.max_concurrent_requests = 2;
    })
    .await;
    let mut requests = Vec::new();
    for _ in 0..10 {
        let container = container.clone();
        requests.push(tokio::spawn(async move {
            container.handle(get("/")).await.map(drop)
        }));
    }
    crate::common::until("two run and eight wait", || {
        let usage = container.usage();
        usage.requests == 2 && usage.in_flight == 10
    })
    .await;
    match container.handle(get("/")).await.map(drop) {
        Err(HandleError::Busy { retry_after }) => assert_eq!(retry_after, Duration::from_secs(1)),
        other => panic!("{other:?}"),
    }
    // Killed, all of them get an answer, those in the queue too.
    container.kill();
    for request in requests {
        let answer = request.await.expect("a task");
        assert!(matches!(answer, Err(HandleError::Stopped)), "{answer:?}");
    }
    assert_eq!(ended(&container).await.code, 137);
}

#[tokio::test]
async fn a_request_whose_caller_left_is_given_up() {
    let (container, _) = serve("1", "(loop (br 0))", |_| {}).await;
    let request = tokio::spawn({
        let container = container.clone();
        async move { container.handle(get("/")).await.map(drop) }
    });
    crate::common::until("it runs", || container.usage().requests == 1).await;
    request.abort();
    crate::common::until("it is gone", || container.usage().in_flight == 0).await;
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut_off() {
    let (container, _) = serve("1", "(loop (br 0))", |_| {}).await;
    let request = tokio::spawn({
        let container = container.clone();
        async move { container.handle(get("/")).await.map(drop) }
    });
    crate::common::until("it runs", || container.usage().requests == 1).await;
    container.stop(Duration::from_millis(10)).await;
    let exit = ended(&container).await;
    assert_eq!(
        (exit.code, &exit.reason),
        (137, &ExitReason::Stopped),
        "{exit}"
    );
    assert!(exit.message.contains("1 requests were cut off"), "{exit}");
    let answer = request.await.expect("a task");
    assert!(matches!(answer, Err(HandleError::Stopped)), "{answer:?}");
}
