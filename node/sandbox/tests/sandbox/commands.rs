//! Commands: how they end, and what they may hold.

use crate::common::{Recorder, ended, image, run, spec, start, wat};
use euston_sandbox::{Entry, Exec, ExitReason, Input, Output, StartError, StdStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A module with these functions, and `proc_exit` as `$exit`.
fn module(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            {body})"#
    )
}

const SPIN: &str = r#"(module (memory (export "memory") 1)
    (func (export "_start") (loop (br 0))))"#;

#[tokio::test]
async fn commands_end_as_processes_do() {
    for (name, body, code, reason, message) in [
        (
            "returns",
            r#"(func (export "_start"))"#,
            0,
            ExitReason::Completed,
            "",
        ),
        (
            "exits with 0",
            r#"(func (export "_start") (call $exit (i32.const 0)) unreachable)"#,
            0,
            ExitReason::Completed,
            "",
        ),
        (
            "exits with 3",
            r#"(func (export "_start") (call $exit (i32.const 3)))"#,
            3,
            ExitReason::Error,
            "",
        ),
        (
            "exits with 256",
            r#"(func (export "_start") (call $exit (i32.const 256)))"#,
            255,
            ExitReason::Error,
            "the guest exited with 256, shown as 255",
        ),
        (
            "reaches unreachable",
            r#"(func $bake unreachable) (func $knead (call $bake))
               (func (export "_start") (call $knead))"#,
            134,
            ExitReason::Trap(String::new()),
            "wasm trap: unreachable instruction executed (how a panic or abort looks from \
             outside), in bake, called from knead",
        ),
        (
            "divides by zero",
            r#"(func $share (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
               (func (export "_start") (drop (call $share)))"#,
            134,
            ExitReason::Trap(String::new()),
            "wasm trap: integer division by zero, in share",
        ),
        (
            "recurses for ever",
            r#"(func $deep (call $deep)) (func (export "_start") (call $deep))"#,
            134,
            ExitReason::Trap(String::new()),
            "wasm trap: call stack exhausted (infinite recursion?), in deep",
        ),
        (
            "reads past its memory",
            r#"(func $peek (result i32) (i32.load (i32.const 0x7fffffff)))
               (func (export "_start") (drop (call $peek)))"#,
            134,
            ExitReason::Trap(String::new()),
            "wasm trap: memory access out of bounds, in peek",
        ),
        (
            "calls a null pointer",
            r#"(table 1 funcref) (func $jump (call_indirect (i32.const 0)))
               (func (export "_start") (call $jump))"#,
            134,
            ExitReason::Trap(String::new()),
            "wasm trap: call through an empty table entry",
        ),
        (
            "grows beyond its limit",
            r#"(func $hog (loop (drop (memory.grow (i32.const 16))) (br 0)))
               (func (export "_start") (call $hog))"#,
            137,
            ExitReason::OomKilled,
            "out of memory: the guest holds 63.1 MiB and asked for 1 MiB more, its limit is 64 MiB",
        ),
        (
            "asks for all at once",
            r#"(func (export "_start") (drop (memory.grow (i32.const 60000))))"#,
            137,
            ExitReason::OomKilled,
            "out of memory: the guest holds 64 KiB and asked for 3750 MiB more",
        ),
        (
            "starts too large",
            r#"(memory 2000) (func (export "_start"))"#,
            137,
            ExitReason::OomKilled,
            "out of memory",
        ),
        (
            "grows a table for ever",
            r#"(table $t 1 funcref)
               (func (export "_start")
                   (loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
                   (call $exit (i32.const 7)))"#,
            7,
            ExitReason::Error,
            "",
        ),
        (
            "traps in its start function",
            r#"(func $init unreachable) (start $init) (func (export "_start"))"#,
            134,
            ExitReason::Trap(String::new()),
            "in init",
        ),
        (
            "passes a wild pointer to the host",
            r#"(func (export "_start") (call $exit (i32.add (i32.const 20)
                 (i32.eqz (i32.eqz (call $write (i32.const 1) (i32.const 0x7ffffff0)
                     (i32.const 0x0fffffff) (i32.const 0x7ffffff0)))))))"#,
            // An errno, not a trap: WASI 0.1 answers so.
            21,
            ExitReason::Error,
            "",
        ),
    ] {
        let image = image(&module(body)).await;
        let (exit, output) = run(&image, |_| {}).await;
        assert_eq!(exit.code, code, "{name}: {exit}");
        assert_eq!(
            std::mem::discriminant(&exit.reason),
            std::mem::discriminant(&reason),
            "{name}: {exit}"
        );
        assert!(exit.message.contains(message), "{name}: {exit}");
        if let ExitReason::Trap(what) = &exit.reason {
            assert_eq!(*what, exit.message, "{name}");
        }
        // What ended it stands at the end of its log too.
        assert!(output.stderr().contains(message), "{name}");
    }
}

#[tokio::test]
async fn a_declared_maximum_that_is_reached_is_out_of_memory() {
    let image = image(
        r#"(module (memory (export "memory") 1 2)
            (func $abort unreachable)
            (func (export "_start")
                (if (i32.eq (memory.grow (i32.const 5)) (i32.const -1)) (then (call $abort)))))"#,
    )
    .await;
    let (exit, _) = run(&image, |_| {}).await;
    assert_eq!(
        (exit.code, &exit.reason),
        (137, &ExitReason::OomKilled),
        "{exit}"
    );
    assert!(
        exit.message.contains("largest memory its code declares"),
        "{exit}"
    );
}

#[tokio::test]
async fn output_arrives_as_it_was_written() {
    let image = image(&module(
        r#"(data (i32.const 16) "to out\nto err\n")
           (data (i32.const 0) "\10\00\00\00\07\00\00\00\17\00\00\00\07\00\00\00")
           (func (export "_start")
               (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
               (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 100))))"#,
    ))
    .await;
    let (exit, output) = run(&image, |_| {}).await;
    assert_eq!(exit.code, 0, "{exit}");
    assert_eq!(
        (output.stdout(), output.stderr()),
        ("to out\n".into(), "to err\n".into())
    );
}

#[tokio::test]
async fn a_spinning_command_can_be_ended() {
    let image = image(SPIN).await;
    for (name, code) in [("kill", 137), ("stop", 143), ("drop", 137)] {
        let output = Arc::new(Recorder::default());
        let container = start(spec(&image, Entry::Command, &output)).await;
        assert_eq!(container.exit(), None);
        assert_eq!(container.usage().in_flight, 1);
        let exit = match name {
            "kill" => {
                container.kill();
                ended(&container).await
            }
            "stop" => {
                container.stop(Duration::from_secs(3600)).await;
                ended(&container).await
            }
            _ => {
                let again = container.clone();
                drop(container);
                assert_eq!(again.exit(), None, "a clone keeps it alive");
                again.kill();
                ended(&again).await
            }
        };
        assert_eq!(
            (exit.code, &exit.reason),
            (code, &ExitReason::Stopped),
            "{name}: {exit}"
        );
    }
}

#[tokio::test]
async fn a_start_function_that_never_ends_can_be_ended() {
    let image = image(
        r#"(module (memory (export "memory") 1) (func $init (loop (br 0))) (start $init)
            (func (export "_start")))"#,
    )
    .await;
    let output = Arc::new(Recorder::default());
    let container = start(spec(&image, Entry::Command, &output)).await;
    container.kill();
    assert_eq!(ended(&container).await.code, 137);
}

#[tokio::test]
async fn memory_goes_back_when_the_guest_has_ended() {
    let image = image(&module(
        r#"(func (export "_start") (drop (memory.grow (i32.const 100))) (loop (br 0)))"#,
    ))
    .await;
    let output = Arc::new(Recorder::default());
    let container = start(spec(&image, Entry::Command, &output)).await;
    let grown = 101 * 65_536;
    crate::common::until("the guest has grown", || {
        container.usage().memory_bytes == grown
    })
    .await;
    container.kill();
    ended(&container).await;
    let usage = container.usage();
    assert_eq!((usage.memory_bytes, usage.memory_peak_bytes), (0, grown));
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_refused() {
    let image = image(SPIN).await;
    let output = Arc::new(Recorder::default());
    let base = || spec(&image, Entry::Command, &output);
    let refused = async |spec| match crate::common::runtime().start(spec).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    };

    let mut http = base();
    http.entry = Entry::Http;
    assert_eq!(
        refused(http).await,
        "the image cannot be run as an HTTP server: it is a command"
    );

    let mut mount = base();
    mount.mounts.push(euston_sandbox::Mount {
        host: PathBuf::from("/nonexistent/folder"),
        guest: "/data".to_owned(),
        read_only: true,
    });
    let error = refused(mount).await;
    assert!(
        error.starts_with("cannot mount /nonexistent/folder at /data: "),
        "{error}"
    );

    let mut nul = base();
    nul.env.push(("A".to_owned(), "b\0c".to_owned()));
    assert!(refused(nul).await.contains("NUL byte"));

    let mut none = base();
    none.max_concurrent_requests = 0;
    assert!(refused(none).await.contains("max_concurrent_requests"));
}

#[tokio::test]
async fn when_all_slots_are_taken_the_next_command_is_told_so() {
    let (runtime, _dir) = crate::common::small_runtime();
    let slots = runtime.plan().command_slots as usize;
    let image = runtime.prepare(wat(SPIN)).await.expect("an image");
    let output = Arc::new(Recorder::default());
    let mut running = Vec::new();
    for _ in 0..slots {
        running.push(
            runtime
                .start(spec(&image, Entry::Command, &output))
                .await
                .expect("room"),
        );
    }
    match runtime.start(spec(&image, Entry::Command, &output)).await {
        Err(StartError::Full { limit }) => assert_eq!(limit, slots),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("there was room for more than {slots}"),
    }
    let last = running.pop().expect("some are running");
    last.kill();
    ended(&last).await;
    let again = runtime.start(spec(&image, Entry::Command, &output)).await;
    assert!(again.is_ok(), "{:?}", again.err());
}

#[tokio::test]
async fn hostile_commands_hurt_themselves_only() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, text, code, message) in [
        (
            "opens files for ever",
            r#"(module
                (import "wasi_snapshot_preview1" "path_open" (func $open
                    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
                (memory (export "memory") 1) (data (i32.const 0) ".")
                (func $hoard (loop
                    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
                        (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 8)))
                    (br 0)))
                (func (export "_start") (call $hoard)))"#,
            134,
            "table has no free keys",
        ),
        (
            "asks for a gigabyte of random bytes",
            r#"(module
                (import "wasi_snapshot_preview1" "random_get"
                    (func $random (param i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (func (export "_start")
                    (call $exit (call $random (i32.const 0) (i32.const 0x40000000)))))"#,
            // EFAULT or a trap: it has no gigabyte to put them into.
            134,
            "",
        ),
        (
            "fills the garbage-collected heap",
            r#"(module
                (type $bytes (array (mut i8)))
                (type $cell (struct (field (ref null $bytes)) (field (ref null $cell))))
                (memory (export "memory") 1)
                (func $hoard (local $list (ref null $cell))
                    (loop
                        (local.set $list (struct.new $cell
                            (array.new $bytes (i32.const 1) (i32.const 1000000))
                            (local.get $list)))
                        (br 0)))
                (func (export "_start") (call $hoard)))"#,
            137,
            "out of memory: the guest holds",
        ),
    ] {
        let image = image(text).await;
        let (exit, _) = run(&image, |spec| {
            spec.mounts = vec![euston_sandbox::Mount {
                host: dir.path().to_owned(),
                guest: "/data".to_owned(),
                read_only: false,
            }];
        })
        .await;
        assert_eq!(exit.code, code, "{name}: {exit}");
        assert!(exit.message.contains(message), "{name}: {exit}");
    }
}

/// Copies standard input to standard output, 64 KiB at a time at most, and exits with how often it
/// read something, at most 100.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "fd_read"
        (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "_start") (local $count i32)
        (i32.store (i32.const 0) (i32.const 1024))
        (loop $again
            (i32.store (i32.const 4) (i32.const 65536))
            (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $exit (i32.const 101))))
            (if (i32.load (i32.const 8))
                (then
                    (local.set $count (i32.add (local.get $count) (i32.const 1)))
                    (i32.store (i32.const 4) (i32.load (i32.const 8)))
                    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
                        (then (call $exit (i32.const 102))))
                    (br $again))))
        (call $exit (i32.gt_u (local.get $count) (i32.const 0)))))"#;

#[tokio::test]
async fn a_command_reads_its_input_until_the_end() {
    let image = image(CAT).await;
    let (exit, output) = run(&image, |spec| spec.input = Input::new(&b"flour"[..])).await;
    assert_eq!((output.stdout().as_str(), exit.code), ("flour", 1));
    // Closed by default.
    let (exit, output) = run(&image, |_| {}).await;
    assert_eq!((output.stdout().as_str(), exit.code), ("", 0));
}

/// Takes so many bytes at a time, and remembers all.
#[derive(Default)]
struct Narrow {
    taken: Arc<Recorder>,
    waiting: parking_lot::Mutex<usize>,
    drained: Arc<tokio::sync::Notify>,
}

const NARROW: usize = 1000;

impl Output for Narrow {
    fn write(&self, stream: StdStream, bytes: &[u8]) {
        let mut waiting = self.waiting.lock();
        *waiting += bytes.len();
        assert!(*waiting <= NARROW, "more than there was room for");
        self.taken.write(stream, bytes);
    }

    fn room(&self) -> usize {
        NARROW - *self.waiting.lock()
    }

    fn ready(&self) -> futures::future::BoxFuture<'static, ()> {
        let drained = self.drained.clone();
        Box::pin(async move { drained.notified().await })
    }
}

#[tokio::test]
async fn a_command_waits_for_a_slow_reader_of_its_output() {
    let image = image(CAT).await;
    let output = Arc::new(Narrow::default());
    let input = vec![b'x'; 50 * NARROW];
    let mut spec = spec(&image, Entry::Command, &output.taken);
    spec.output = output.clone();
    spec.input = Input::new(std::io::Cursor::new(input.clone()));
    let container = start(spec).await;
    let drain = async {
        loop {
            *output.waiting.lock() = 0;
            output.drained.notify_one();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        exit = ended(&container) => assert_eq!(exit.code, 1, "{exit:?}"),
        () = drain => {}
    }
    assert_eq!(output.taken.stdout().len(), input.len());
}

#[tokio::test]
async fn another_command_runs_in_a_container_and_shares_its_limits() {
    let image = image(CAT).await;
    let (_keep_open, silent) = tokio::io::duplex(1);
    let first = Arc::new(Recorder::default());
    let mut spec = spec(&image, Entry::Command, &first);
    spec.input = Input::new(silent);
    spec.env = vec![("A".into(), "b".into())];
    let container = start(spec).await;
    let runs = async {
        while container.usage().memory_bytes == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), runs)
        .await
        .expect("the first command has its memory");
    let second = Arc::new(Recorder::default());
    let exec = |args: &[&str]| Exec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        input: Input::new(&b"butter"[..]),
        output: second.clone(),
    };
    let other = container.exec(exec(&["cat"])).unwrap();
    assert_eq!(ended(&other).await.code, 1);
    assert_eq!(
        (first.stdout().as_str(), second.stdout().as_str()),
        ("", "butter")
    );
    assert!(container.exit().is_none());
    let both = container.usage();
    assert!(
        both.memory_peak_bytes >= 2 * (128 << 10),
        "both count: {both:?}"
    );
    let error = container.exec(exec(&["c\0t"])).err().unwrap();
    assert!(matches!(error, StartError::Invalid { .. }), "{error}");
    container.kill();
    assert_eq!(ended(&container).await.code, 137);
}
