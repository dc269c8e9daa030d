//! Crashes and damage: what was acknowledged is there, what is damaged is not served.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{count, image, open, put, small};
use raft_store::{Config, KeyRange, OpenError, RangeRequest, Store};

fn log_file(dir: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "raftlog")
        })
        .collect();
    files.sort();
    files.pop().unwrap()
}

/// Where the written part of a log file ends; behind it are zeros.
fn written(file: &Path) -> usize {
    let bytes = fs::read(file).unwrap();
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_cut_at_any_byte_keeps_what_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = open(&live).await;
    let log = log_file(&live);
    let mut acknowledged_at = vec![written(&log)];
    for key in 0..3 {
        put(&store, &key.to_string()).await;
        acknowledged_at.push(written(&log));
    }
    let bytes = fs::read(&log).unwrap();
    let end = *acknowledged_at.last().unwrap();
    // A record of the log ends in a checksum, whose last bytes may happen to be zero.
    assert!(acknowledged_at.windows(2).all(|pair| pair[0] < pair[1]));

    for cut in 0..=end {
        let crashed = dir.path().join("crashed");
        image(&live, &crashed);
        fs::write(log_file(&crashed), &bytes[..cut]).unwrap();
        let recovered = Store::open(Config::new("a", &crashed))
            .await
            .unwrap_or_else(|error| panic!("cut at {cut} of {end}: {error}"));
        let kept = count(&recovered).await;
        let promised = acknowledged_at[1..].iter().filter(|at| **at <= cut).count();
        assert!(
            kept >= promised,
            "cut at {cut}: {kept} of {promised} writes are left"
        );
        assert_eq!(recovered.revision(), 1 + kept as u64, "cut at {cut}");
        // And it goes on from there.
        put(&recovered, "more").await;
        recovered.shutdown().await;
        fs::remove_dir_all(crashed).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_directory_at_any_moment_holds_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = Store::open(small(&live)).await.unwrap();
    for round in 0..40 {
        let writers = (0..5).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move { put(&store, &format!("{round:02}-{writer}")).await })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        // No crash tears a copy apart as a copy of a running store can be torn: what was synced first must be
        // copied first. A snapshot may replace another in between, so the copy is tried until it is whole.
        let crashed = dir.path().join(format!("crashed-{round}"));
        let recovered = loop {
            image(&live, &crashed);
            match Store::open(small(&crashed)).await {
                Ok(store) => break store,
                Err(OpenError::Corrupt { .. }) => fs::remove_dir_all(&crashed).unwrap(),
                Err(error) => panic!("round {round}: {error}"),
            }
        };
        assert_eq!(count(&recovered).await, (round + 1) * 5, "round {round}");
        recovered.shutdown().await;
        fs::remove_dir_all(crashed).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_any_file_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = open(&live).await;
    for key in 0..4 {
        put(&store, &key.to_string()).await;
    }
    store.shutdown().await;
    let snapshot = fs::read_dir(live.join("snapshots"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for file in [
        log_file(&live),
        snapshot,
        live.join("MEMBER"),
        live.join("LOGS"),
    ] {
        let intact = fs::read(&file).unwrap();
        for at in 0..intact.len() {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&file, bytes).unwrap();
            match Store::open(Config::new("a", &live)).await {
                Err(
                    OpenError::Corrupt { file: named, .. }
                    | OpenError::UnknownFormat { file: named, .. },
                ) => assert!(
                    file.starts_with(&named),
                    "{} names {}",
                    file.display(),
                    named.display()
                ),
                Err(error) => panic!("byte {at} of {}: {error}", file.display()),
                Ok(_) => panic!("byte {at} of {}: opened", file.display()),
            }
        }
        fs::write(&file, intact).unwrap();
    }
    assert_eq!(count(&open(&live).await).await, 4);
}

#[tokio::test]
async fn missing_files_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = open(&live).await;
    put(&store, "a").await;
    store.shutdown().await;
    for lost in ["MEMBER", "snapshots"] {
        let crashed = dir.path().join(lost).join("copy");
        image(&live, &crashed);
        if lost == "MEMBER" {
            fs::remove_file(crashed.join(lost)).unwrap();
        } else {
            fs::remove_dir_all(crashed.join(lost)).unwrap();
        }
        let error = Store::open(Config::new("a", &crashed)).await.unwrap_err();
        assert!(
            matches!(error, OpenError::Corrupt { .. }),
            "{lost}: {error}"
        );
        assert!(error.to_string().contains(lost), "{error}");
    }
}

#[tokio::test]
async fn a_lost_log_is_noticed_file_by_file_and_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = open(&live).await;
    put(&store, "a").await;
    store.shutdown().await;
    let newest = log_file(&live);
    let check = async |lose: &dyn Fn(&Path), named: &Path| {
        let crashed = dir.path().join("crashed");
        image(&live, &crashed);
        lose(&crashed);
        let error = Store::open(Config::new("a", &crashed)).await.unwrap_err();
        assert!(
            matches!(&error, OpenError::Corrupt { file, .. } if file.ends_with(named)),
            "{error}"
        );
        fs::remove_dir_all(crashed).unwrap();
    };
    let name = Path::new("log").join(newest.file_name().unwrap());
    check(
        &|crashed| fs::remove_file(crashed.join(&name)).unwrap(),
        &name,
    )
    .await;
    check(
        &|crashed| fs::remove_dir_all(crashed.join("log")).unwrap(),
        &name,
    )
    .await;
    // What tells is itself checked.
    let damage = |crashed: &Path| {
        let path = crashed.join("LOGS");
        let mut bytes = fs::read(&path).unwrap();
        bytes[13] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    check(&damage, Path::new("LOGS")).await;
    assert_eq!(count(&open(&live).await).await, 1);
}

#[tokio::test]
async fn an_unknown_snapshot_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.shutdown().await;
    let snapshot = fs::read_dir(dir.path().join("snapshots"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let mut bytes = fs::read(snapshot.path()).unwrap();
    let format = 77_u32.to_le_bytes();
    bytes[8..12].copy_from_slice(&format);
    bytes[12..16].copy_from_slice(&crc32fast::hash(&format).to_le_bytes());
    fs::write(snapshot.path(), bytes).unwrap();
    let error = Store::open(Config::new("a", dir.path())).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::UnknownFormat {
                found: 77,
                supported: 3,
                ..
            }
        ),
        "{error}"
    );
}

const CHILD_DIR: &str = "RAFT_STORE_TEST_CHILD_DIR";
const CHILD_ROUND: &str = "RAFT_STORE_TEST_CHILD_ROUND";

/// Not a test of its own: the body of the process that the next one kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_killed() {
    let (Ok(dir), Ok(round)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_ROUND)) else {
        return;
    };
    let store = Store::open(small(Path::new(&dir))).await.unwrap();
    let writers = (0..4).map(|writer| {
        let (store, round) = (store.clone(), round.clone());
        tokio::spawn(async move {
            for at in 0..100_000 {
                let key = format!("{round}-{writer}-{at:05}");
                put(&store, &key).await;
                println!("acknowledged {key}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_writes_until_killed",
                "--nocapture",
                "--quiet",
            ])
            .env(CHILD_DIR, dir.path())
            .env(CHILD_ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 150 + round * 77;
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, key)) = line.split_once("acknowledged ") {
                acknowledged.push(key.to_owned());
                left -= 1;
            }
            if left == 0 {
                child.kill().unwrap();
                break;
            }
        }
        // What it said before it died was acknowledged too; a last line may be cut off.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        acknowledged.extend(
            rest.iter()
                .take(rest.len().saturating_sub(1))
                .filter_map(|line| line.split_once("acknowledged "))
                .map(|(_, key)| key.to_owned()),
        );
        assert!(
            !child.wait().unwrap().success(),
            "the child ended by itself"
        );
        assert_eq!(left, 0, "the child wrote enough to be killed in the middle");

        let store = Store::open(small(dir.path())).await.unwrap();
        let all = store
            .range(RangeRequest::new(KeyRange::all()))
            .await
            .unwrap();
        let keys: std::collections::HashSet<&[u8]> = all.kvs.iter().map(|kv| &kv.key[..]).collect();
        for key in &acknowledged {
            assert!(
                keys.contains(key.as_bytes()),
                "round {round}: {key} was acknowledged and is lost"
            );
        }
        assert_eq!(
            store.revision(),
            1 + all.count as u64,
            "every key was written once"
        );
        store.shutdown().await;
    }
}
