//! What cannot be reached through the handle: a disk that fails, and reads confirmed by Raft itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::{NoTransport, Opened, Reply, Request, open};
use crate::command::Command;
use crate::config::Config;
use crate::error::{Error, StopCause};
use crate::kv::Revision;
use crate::mvcc::Outcome;
use crate::txn::Txn;

/// Longer than anything here takes; a test that hits it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Member {
    opened: Opened,
    requests: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
}

impl Member {
    async fn open(config: Config) -> Self {
        let (requests, inbox) = mpsc::channel();
        let opened = open(config, Arc::new(NoTransport), requests.clone(), inbox)
            .await
            .unwrap();
        Self {
            opened,
            requests,
            room: Arc::new(Semaphore::new(1000)),
        }
    }

    fn put(&self, key: &str) -> oneshot::Receiver<Result<Outcome, Error>> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Propose {
            entry: Command::Txn(Txn::put(key.to_owned(), Bytes::new())).encode(),
            reply: Reply(reply),
            room: self.room.clone().try_acquire_owned().unwrap(),
        };
        self.requests.send(request).unwrap();
        answer
    }

    fn read_index(&self) -> oneshot::Receiver<Result<Revision, Error>> {
        let (reply, answer) = oneshot::channel();
        let request = Request::ReadIndex {
            reply,
            room: self.room.clone().try_acquire_owned().unwrap(),
        };
        self.requests.send(request).unwrap();
        answer
    }
}

/// The revision of a put that succeeded.
fn revision(outcome: Result<Outcome, Error>) -> Revision {
    match outcome {
        Ok(Outcome::Txn(Ok(response))) => response.revision,
        other => panic!("{other:?}"),
    }
}

async fn answer<T>(answer: oneshot::Receiver<T>) -> T {
    timeout(PATIENCE, answer).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_failed_sync_stops_the_member_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::open(Config::new("a", dir.path())).await;
    assert_eq!(revision(answer(member.put("before")).await), 2);

    member
        .opened
        .health
        .fail_syncs
        .store(true, Ordering::SeqCst);
    let error = answer(member.put("after")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Stopped { cause: StopCause::Disk { what, .. } } if what.contains("syncing the log")),
        "{error}"
    );
    assert!(error.outcome_unknown());
    // Applied means acknowledged to readers and watchers; an unsynced write must not be.
    assert_eq!(member.opened.shared.state.read().revision(), 2);
    // The thread ends by itself, and lets go of the directory.
    assert!(
        timeout(PATIENCE, member.opened.ended.changed())
            .await
            .unwrap()
            .is_err()
    );
    drop(member);

    let member = Member::open(Config::new("a", dir.path())).await;
    assert!(member.opened.shared.state.read().revision() >= 2);
}

#[tokio::test]
async fn a_full_disk_stops_the_member_and_what_was_acknowledged_is_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member::open(Config::new("a", dir.path())).await;
    assert_eq!(revision(answer(member.put("before")).await), 2);
    member.opened.health.full.store(true, Ordering::SeqCst);
    let error = answer(member.put("after")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Stopped { cause: StopCause::Disk { what, .. } } if what.contains("writing to the log")),
        "{error}"
    );
    assert!(error.outcome_unknown());
    assert_eq!(member.opened.shared.state.read().revision(), 2);
    let mut ended = member.opened.ended.clone();
    assert!(timeout(PATIENCE, ended.changed()).await.unwrap().is_err());
    drop(member);

    // Room was made.
    let member = Member::open(Config::new("a", dir.path())).await;
    assert_eq!(revision(answer(member.put("again")).await), 3);
}

#[tokio::test]
async fn a_read_confirmed_by_raft_sees_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member::open(Config::new("a", dir.path())).await;
    for expect in 2..20 {
        assert_eq!(revision(answer(member.put("key")).await), expect);
        assert_eq!(answer(member.read_index()).await.unwrap(), expect);
    }
    // Under way together: the read's answer covers at least what was acknowledged before it was asked.
    let puts: Vec<_> = (0..50).map(|_| member.put("key")).collect();
    assert!(answer(member.read_index()).await.unwrap() >= 19);
    for put in puts {
        revision(answer(put).await);
    }
}

#[tokio::test]
async fn what_queues_up_during_a_sync_shares_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member::open(Config::new("a", dir.path())).await;
    // Queued faster than any disk syncs; were each synced by itself, this would take 500 syncs.
    let puts: Vec<_> = (0..500).map(|at| member.put(&format!("k{at}"))).collect();
    for (at, put) in puts.into_iter().enumerate() {
        assert_eq!(revision(answer(put).await), at as u64 + 2);
    }
}
