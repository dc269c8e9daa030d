//! Restoring and forcing, whole and interrupted.

use std::cell::Cell;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use super::*;
use crate::store::Store;
use crate::txn::{Op, Txn};

fn list(names: &[&str]) -> Vec<(String, Vec<String>)> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), vec![format!("http://{name}")]))
        .collect()
}

fn in_group(name: &str, dir: &Path, token: &str) -> Config {
    Config {
        start: Start::Group {
            token: token.to_owned(),
            members: list(&["m0", "m1", "m2"]),
        },
        ..Config::new(name, dir)
    }
}

async fn put(store: &Store, key: &str, value: &str) -> Revision {
    let txn = Txn::put(key.to_owned(), value.to_owned());
    store.txn(txn).await.unwrap().revision
}

async fn get(store: &Store, key: &str, at: Option<Revision>) -> Option<String> {
    let request = RangeRequest {
        at_revision: at,
        ..RangeRequest::new(KeyRange::key(key.to_owned()))
    };
    let answer = store.range(request).await.unwrap();
    let kv = answer.kvs.first()?;
    Some(String::from_utf8(kv.value.to_vec()).unwrap())
}

/// Fills a store: history, a compaction, a lease with a key, an alarm.
async fn fill(dir: &Path) -> Store {
    let store = Store::open(Config::new("old", dir)).await.unwrap();
    for value in ["1", "2", "3"] {
        put(&store, "key", value).await;
    }
    store.compact(2).await.unwrap();
    store.lease_grant(7, 600).await.unwrap();
    let leased = Txn {
        success: vec![Op::put_with_lease("leased", "v", 7)],
        ..Txn::default()
    };
    store.txn(leased).await.unwrap();
    store.alarm(Alarm::Corrupt, 1, true).await.unwrap();
    assert_eq!(store.revision(), 5);
    store
}

/// The backup of a filled store, in a file.
async fn backup(dir: &Path) -> PathBuf {
    let store = fill(&dir.join("old")).await;
    let path = dir.join("backup");
    let mut file = fs::File::create(&path).unwrap();
    for chunk in store.backup() {
        file.write_all(&chunk.unwrap()).unwrap();
    }
    store.shutdown().await;
    path
}

async fn has_the_content(store: &Store) {
    assert_eq!(get(store, "key", None).await.as_deref(), Some("3"));
    assert_eq!(get(store, "leased", None).await.as_deref(), Some("v"));
    assert_eq!(store.lease_keys(7), ["leased"]);
}

#[tokio::test]
async fn a_backup_says_what_is_in_it_and_nothing_when_it_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = backup(dir.path()).await;
    let status = snapshot_status(&path).unwrap();
    let store = Store::open(Config::new("old", dir.path().join("old")))
        .await
        .unwrap();
    assert_eq!(status.hash, store.hash(0).unwrap());
    assert_eq!(status.cluster_id, store.status().cluster_id);
    assert_eq!(status.members, store.members());
    assert_eq!(
        (
            status.revision,
            status.compacted,
            status.keys,
            status.leases
        ),
        (5, 2, 2, 1)
    );
    assert_eq!(status.alarms, [(1, Alarm::Corrupt)]);

    let bytes = fs::read(&path).unwrap();
    assert_eq!(status.bytes, bytes.len() as u64);
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let refused = snapshot_status(&path).unwrap_err();
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    }
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let target = Config::new("new", dir.path().join("new"));
    assert!(restore(&path, &target, 0).is_err());
    assert!(!target.data_dir.exists());
}

#[tokio::test]
async fn a_restored_member_has_all_but_the_group_and_its_alarms() {
    let dir = tempfile::tempdir().unwrap();
    let path = backup(dir.path()).await;
    let old = snapshot_status(&path).unwrap();
    let config = Config::new("new", dir.path().join("new"));
    let group = restore(&path, &config, 0).unwrap();
    assert_ne!(group.cluster_id, old.cluster_id);

    let store = Store::open(config.clone()).await.unwrap();
    has_the_content(&store).await;
    assert_eq!(store.hash(0).unwrap(), old.hash);
    assert_eq!(store.compacted(), 2);
    assert_eq!(get(&store, "key", Some(3)).await.as_deref(), Some("2"));
    assert_eq!(store.leases(), [7]);
    assert_eq!(store.alarms(), []);
    assert_eq!(store.members(), group.members);
    assert_eq!(store.members().len(), 1);
    assert_eq!(store.status().member_id, group.member_id);
    assert_eq!(put(&store, "more", "v").await, 6);
    store.shutdown().await;

    // Once is enough.
    let again = restore(&path, &config, 0).unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
}

#[tokio::test]
async fn a_directory_with_anything_in_it_is_not_restored_into_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = backup(dir.path()).await;
    let target = dir.path().join("new");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("letter"), "dear").unwrap();
    let refused = restore(&path, &Config::new("new", &target), 0).unwrap_err();
    assert!(refused.to_string().contains("letter"), "{refused}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
}

#[tokio::test]
async fn members_given_the_same_agree_on_every_id() {
    let dir = tempfile::tempdir().unwrap();
    let path = backup(dir.path()).await;
    let group = |name: &str, at: &str, token: &str, skip: u64| {
        restore(&path, &in_group(name, &dir.path().join(at), token), skip).unwrap()
    };
    let one = group("m0", "a", "t", 0);
    let other = group("m1", "b", "t", 0);
    assert_eq!(one.cluster_id, other.cluster_id);
    assert_eq!(one.members, other.members);
    assert_eq!(one.members.len(), 3);
    assert_ne!(one.member_id, other.member_id);
    for different in [group("m0", "c", "u", 0), group("m0", "d", "t", 10)] {
        assert_ne!(different.cluster_id, one.cluster_id);
        assert_ne!(different.member_id, one.member_id);
    }
    // What began from nothing with the same list is another group.
    let fresh = Store::open(in_group("m0", &dir.path().join("e"), "t"))
        .await
        .unwrap();
    assert_ne!(fresh.status().cluster_id, one.cluster_id);
    // It is opened with what it was restored with.
    let restored = Store::open(in_group("m0", &dir.path().join("a"), "t"))
        .await
        .unwrap();
    assert_eq!(restored.status().cluster_id, one.cluster_id);
    assert_eq!(restored.members(), one.members);
}

#[tokio::test]
async fn skipped_revisions_make_everybody_look_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = backup(dir.path()).await;
    let config = Config::new("new", dir.path().join("new"));
    let too_many = restore(&path, &config, u64::MAX).unwrap_err();
    assert!(matches!(too_many, OpenError::Config { .. }), "{too_many}");
    let group = restore(&path, &config, 1000).unwrap();
    assert_eq!(group.revision, 1005);
    for _ in 0..2 {
        let store = Store::open(config.clone()).await.unwrap();
        has_the_content(&store).await;
        assert_eq!(store.compacted(), 1005);
        for seen in [3, 6, 1005] {
            assert!(store.watch(KeyRange::all(), seen).is_err(), "{seen}");
        }
        assert!(store.revision() >= 1005);
        store.shutdown().await;
    }
    let store = Store::open(config).await.unwrap();
    assert_eq!(put(&store, "key", "4").await, 1006);
}

/// Runs what is done in steps, breaking it off before each of them in turn, until it gets through.
async fn interrupted(mut run: impl AsyncFnMut(usize, Steps<'_>) -> bool) {
    for stop_before in 0.. {
        let seen = Cell::new(0);
        let steps = |_: &'static str| {
            if seen.replace(seen.get() + 1) == stop_before {
                return Err(io::Error::other("a crash planted by a test"));
            }
            Ok(())
        };
        if run(stop_before, &steps).await {
            assert!(stop_before > 5, "there are steps");
            return;
        }
    }
}

#[tokio::test]
async fn a_restore_broken_off_anywhere_leaves_nothing_or_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = backup(dir.path()).await;
    interrupted(async |at, steps| {
        let config = Config::new("new", dir.path().join(format!("new{at}")));
        let result = restore_in_steps(&path, &config, 0, steps);
        if DataDir::occupied_by(&config.data_dir).unwrap().is_none() {
            // It must not be taken for a new directory once there is anything in it.
            if stage::is_unfinished(&config.data_dir) {
                let refused = Store::open(config.clone()).await.unwrap_err();
                assert!(refused.to_string().contains("interrupted"), "{refused}");
            }
            restore(&path, &config, 0).unwrap();
        }
        let store = Store::open(config).await.unwrap();
        has_the_content(&store).await;
        store.shutdown().await;
        result.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_group_forced_and_broken_off_anywhere_is_the_old_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    interrupted(async |at, steps| {
        let data_dir = dir.path().join(format!("member{at}"));
        let store = fill(&data_dir).await;
        let before = store.status();
        store.shutdown().await;
        let forced = force_in_steps(&data_dir, steps);

        let store = Store::open(Config::new("old", &data_dir)).await.unwrap();
        has_the_content(&store).await;
        let after = store.status();
        assert_eq!(
            after.cluster_id == before.cluster_id,
            after.member_id == before.member_id
        );
        store.shutdown().await;
        // Nothing of what was under way is left.
        assert!(!stage::is_unfinished(&data_dir));
        assert!(!data_dir.join("next").exists());
        match forced {
            Err(_) => {
                force_group_again(&data_dir).await;
                false
            }
            Ok(group) => {
                assert_eq!(after.cluster_id, group.cluster_id);
                true
            }
        }
    })
    .await;
}

async fn force_group_again(data_dir: &Path) {
    let group = force_new_group(data_dir).unwrap();
    let store = Store::open(Config::new("old", data_dir)).await.unwrap();
    has_the_content(&store).await;
    assert_eq!(store.status().cluster_id, group.cluster_id);
    assert_eq!(store.alarms(), []);
    store.shutdown().await;
}

#[tokio::test]
async fn no_group_is_forced_from_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for nobody in [&missing, &empty] {
        let refused = force_new_group(nobody).unwrap_err();
        assert!(refused.to_string().contains("no member"), "{refused}");
    }
    assert!(!missing.exists());

    let joined = Config {
        start: Start::Join {
            cluster_id: 5,
            member_id: 6,
            members: vec![],
        },
        ..Config::new("new", dir.path().join("joined"))
    };
    let store = Store::open(joined.clone()).await.unwrap();
    store.shutdown().await;
    let refused = force_new_group(&joined.data_dir).unwrap_err();
    assert!(refused.to_string().contains("not received"), "{refused}");

    let held = fill(&dir.path().join("held")).await;
    let refused = force_new_group(&dir.path().join("held")).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(held);
}
