//! From bytes to an image: what is refused and in which words, and what the cache does.

use crate::common::{new_runtime, runtime, runtime_in, wat};
use bytes::Bytes;
use euston_sandbox::{Entries, ImageKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const COMMAND: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

#[tokio::test]
async fn what_cannot_run_is_refused_in_a_sentence() {
    let truncated = {
        let whole = wat(COMMAND);
        whole.slice(..whole.len() - 3)
    };
    let mut tar = vec![0_u8; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (name, bytes, expect) in [
        ("empty", Bytes::new(), "not a Wasm module or component but an empty file"),
        ("elf", Bytes::from_static(b"\x7fELF\x02\x01\x01"), "but a Linux (ELF) program"),
        ("tar", Bytes::from(tar), "but a tar archive"),
        ("text", Bytes::from_static(b"hello there"), "a file that begins with 68 65 6c 6c"),
        ("header only", Bytes::from_static(b"\0asm"), "this is not valid Wasm"),
        ("truncated", truncated, "this is not valid Wasm"),
        (
            "unknown import of a component",
            wat(r#"(component
                (import "acme:db/query@1.0.0" (instance))
                (import "acme:db/admin@1.0.0" (instance))
                (import "wasi:cli/environment@0.2.3" (instance))
                (import "wasi:http/handler@0.3.0" (instance))
                (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#),
            r#"the component imports "acme:db/query@1.0.0" (and 2 more), which this node does not provide"#,
        ),
        (
            "unknown import of a module",
            wat(r#"(module (import "env" "printf" (func (param i32))) (func (export "_start")))"#),
            r#"the module imports "env.printf", which this node does not provide"#,
        ),
        (
            "an import of another type",
            wat(r#"(module
                (import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
                (func (export "_start")))"#),
            "the imports do not fit the interfaces of this node",
        ),
        (
            "an export of another type",
            wat(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#),
            "the imports do not fit the interfaces of this node",
        ),
        (
            "a library",
            wat(r#"(module (func (export "add")) (func (export "sub")))"#),
            r#"there is nothing to run: the module exports "add" and 1 more; a command exports the function _start"#,
        ),
        (
            "a component of 0.3",
            wat(r#"(component (instance $i) (export "wasi:http/handler@0.3.0" (instance $i)))"#),
            r#"the component exports "wasi:http/handler@0.3.0" only; an HTTP server exports wasi:http/incoming-handler@0.2"#,
        ),
        (
            "invalid code",
            // i32.add without operands.
            Bytes::from_static(b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x05\x01\x03\0\x6a\x0b"),
            "cannot compile this image",
        ),
        (
            "a memory beyond every limit",
            wat(r#"(module (memory i64 100000) (func (export "_start")))"#),
            "this image does not fit a sandbox of this node: ",
        ),
        (
            "shared memory",
            wat(r#"(module (memory 1 10 shared) (func (export "_start")))"#),
            "threads",
        ),
        (
            "too many memories",
            wat(&format!(
                r#"(module {} (func (export "_start")))"#,
                "(memory 1)".repeat(40)
            )),
            "this image does not fit a sandbox of this node: ",
        ),
    ] {
        let error = match runtime().prepare(bytes).await {
            Ok(image) => panic!("{name}: {image:?} was made"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expect), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn the_entries_are_read_from_the_binary() {
    let image = runtime().prepare(wat(COMMAND)).await.expect("an image");
    assert_eq!(
        image.entries(),
        Entries {
            http: false,
            command: true
        }
    );
    assert_eq!(image.info().kind, ImageKind::Module);
    assert_eq!(image.digest().len(), 64);
}

#[tokio::test]
async fn the_same_bytes_are_one_image() {
    let (runtime, _dir) = new_runtime();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let runtime = runtime.clone();
        tasks.push(tokio::spawn(
            async move { runtime.prepare(wat(COMMAND)).await },
        ));
    }
    let mut images = Vec::new();
    for task in tasks {
        images.push(task.await.expect("a task").expect("an image"));
    }
    assert!(images.iter().all(|image| Arc::ptr_eq(image, &images[0])));
}

#[tokio::test]
async fn dropping_the_runtime_on_an_async_thread_is_fine() {
    let (runtime, _dir) = new_runtime();
    let image = runtime.prepare(wat(COMMAND)).await.expect("an image");
    drop(runtime);
    drop(image);
}

fn artifact(cache: &Path, extension: &str) -> PathBuf {
    let mut found = std::fs::read_dir(cache)
        .expect("the cache")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension));
    let path = found.next().expect("an artifact");
    assert!(found.next().is_none());
    path
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).expect("metadata").ino()
}

#[tokio::test]
async fn compiled_code_is_kept_and_only_trusted_untouched() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cache = dir.path().join("code");
    let prepare = async || {
        let runtime = runtime_in(&cache);
        let image = runtime.prepare(wat(COMMAND)).await;
        image.unwrap_or_else(|error| panic!("{error}"));
    };
    prepare().await;
    let cwasm = artifact(&cache, "cwasm");
    let mac = artifact(&cache, "mac");
    let key = cache.join("key");
    assert_eq!(
        std::fs::metadata(&key).expect("the key").mode() & 0o777,
        0o600
    );

    let first = inode(&cwasm);
    prepare().await;
    assert_eq!(inode(&cwasm), first, "a good artifact is used as it is");

    type Damage<'a> = (&'a str, &'a dyn Fn());
    let flip = || {
        let mut bytes = std::fs::read(&cwasm).expect("the artifact");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&cwasm, bytes).expect("damaged");
    };
    let cut = || {
        let bytes = std::fs::read(&cwasm).expect("the artifact");
        std::fs::write(&cwasm, &bytes[..bytes.len() / 3]).expect("damaged");
    };
    let no_mac = || std::fs::remove_file(&mac).expect("removed");
    let short_mac = || std::fs::write(&mac, b"short").expect("damaged");
    let other_key = || std::fs::write(&key, [7; 32]).expect("damaged");
    let open_key = || {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&key, mode).expect("opened");
    };
    let short_key = || std::fs::write(&key, [7; 5]).expect("damaged");
    let damages: [Damage<'_>; 7] = [
        ("a flipped bit", &flip),
        ("a cut file", &cut),
        ("no hash", &no_mac),
        ("a short hash", &short_mac),
        ("another key", &other_key),
        ("a key open to others", &open_key),
        ("a short key", &short_key),
    ];
    for (name, damage) in damages {
        let before = inode(&cwasm);
        damage();
        prepare().await;
        assert_ne!(inode(&cwasm), before, "{name}: compiled again");
        let mode = std::fs::metadata(&key).expect("the key").mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
        let repaired = inode(&cwasm);
        prepare().await;
        assert_eq!(inode(&cwasm), repaired, "{name}: good again");
    }
}

#[tokio::test]
async fn the_code_of_one_image_is_not_taken_for_anothers() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cache = dir.path().join("code");
    let exits = |code: u32| {
        wat(&format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"#
        ))
    };
    let one = runtime_in(&cache)
        .prepare(exits(1))
        .await
        .expect("an image");
    let cwasm = artifact(&cache, "cwasm");
    let mac = artifact(&cache, "mac");
    let other = runtime_in(dir.path().join("other"));
    let two = other.prepare(exits(2)).await.expect("an image");
    // Put the code of `one`, with its own valid hash, where the code of `two` belongs.
    let name = |path: &Path| {
        let file = path.file_name().expect("a name").to_string_lossy();
        cache.join(file.replace(&one.digest(), &two.digest()))
    };
    std::fs::copy(&cwasm, name(&cwasm)).expect("copied");
    std::fs::copy(&mac, name(&mac)).expect("copied");
    let swapped = inode(&name(&cwasm));
    runtime_in(&cache)
        .prepare(exits(2))
        .await
        .expect("an image");
    assert_ne!(inode(&name(&cwasm)), swapped, "compiled again");
}
