//! What the tests share.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;

use raft_store::{Config, KeyRange, RangeRequest, Store, Txn};

pub(crate) async fn open(dir: &Path) -> Store {
    Store::open(Config::new("a", dir)).await.unwrap()
}

/// A configuration under which snapshots are taken all the time.
pub(crate) fn small(dir: &Path) -> Config {
    Config {
        snapshot_log_bytes: 2 << 10,
        log_entries_kept: 5,
        ..Config::new("a", dir)
    }
}

/// Puts a key whose value names it.
pub(crate) async fn put(store: &Store, key: &str) -> u64 {
    let txn = Txn::put(key.to_owned(), format!("value of {key}"));
    store.txn(txn).await.unwrap().revision
}

pub(crate) async fn count(store: &Store) -> usize {
    let request = RangeRequest {
        count_only: true,
        ..RangeRequest::new(KeyRange::all())
    };
    store.range(request).await.unwrap().count
}

/// Copies a data directory as a crash would leave it: what is in its files at this moment.
pub(crate) fn image(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            image(&entry.path(), &to);
        } else if std::fs::copy(entry.path(), to).is_err() {
            // Removed while the directory was listed, by a store that runs on.
            assert!(!entry.path().exists(), "{entry:?}");
        }
    }
}
