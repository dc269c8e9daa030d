//! CPU time: counted, limited, and never taken from those who drive the node.

use crate::common::{Recorder, ended, image, run, spec, start, until};
use euston_sandbox::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SPIN: &str = r#"(module (memory (export "memory") 1)
    (func (export "_start") (loop (br 0))))"#;

#[tokio::test]
async fn cpu_time_is_that_of_the_guest() {
    let image = image(SPIN).await;
    let output = Arc::new(Recorder::default());
    let container = start(spec(&image, Entry::Command, &output)).await;
    until("50 ms of CPU time", || {
        container.usage().cpu_time >= Duration::from_millis(50)
    })
    .await;
    container.kill();
    ended(&container).await;
    let used = container.usage().cpu_time;
    tokio::task::yield_now().await;
    assert_eq!(container.usage().cpu_time, used, "nothing runs any more");
}

#[tokio::test]
async fn a_command_that_does_little_uses_little() {
    let image = image(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).await;
    let output = Arc::new(Recorder::default());
    let container = start(spec(&image, Entry::Command, &output)).await;
    ended(&container).await;
    let used = container.usage().cpu_time;
    assert!(
        used > Duration::ZERO && used < Duration::from_millis(100),
        "{used:?}"
    );
}

#[tokio::test]
async fn a_cpu_limit_is_kept() {
    let image = image(SPIN).await;
    let output = Arc::new(Recorder::default());
    let mut limited = spec(&image, Entry::Command, &output);
    limited.cpu_limit_millis = Some(100);
    let began = Instant::now();
    let container = start(limited).await;
    until("200 ms of CPU time", || {
        container.usage().cpu_time >= Duration::from_millis(200)
    })
    .await;
    let passed = began.elapsed();
    container.kill();
    ended(&container).await;
    // 10 ms at once, and the other 190 at a tenth of a CPU. A busy machine makes it later only.
    assert!(passed >= Duration::from_millis(1_500), "{passed:?}");
}

#[tokio::test]
async fn a_throttled_command_ends_at_once_when_killed() {
    let image = image(SPIN).await;
    let output = Arc::new(Recorder::default());
    let mut limited = spec(&image, Entry::Command, &output);
    limited.cpu_limit_millis = Some(1);
    let container = start(limited).await;
    until("it is in debt", || {
        container.usage().cpu_time > Duration::ZERO
    })
    .await;
    container.kill();
    assert_eq!(ended(&container).await.code, 137);
}

/// Twice as many spinning guests as threads: the tokio runtime of the node goes on, and so do
/// other guests.
#[tokio::test]
async fn spinning_guests_leave_the_node_and_each_other_alive() {
    let spin = image(SPIN).await;
    let output = Arc::new(Recorder::default());
    let workers = crate::common::runtime().plan().workers;
    let mut spinning = Vec::new();
    for _ in 0..workers * 2 {
        spinning.push(start(spec(&spin, Entry::Command, &output)).await);
    }
    for container in &spinning {
        until("every guest gets its turn", || {
            container.usage().cpu_time > Duration::from_millis(5)
        })
        .await;
    }
    let quick = image(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 5))))"#,
    )
    .await;
    let began = Instant::now();
    let (exit, _) = run(&quick, |_| {}).await;
    assert_eq!(exit.code, 5);
    // A turn is a millisecond; the bound is wide for a loaded machine.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    for container in &spinning {
        container.kill();
        assert_eq!(ended(container).await.code, 137);
    }
}
