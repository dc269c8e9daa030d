//! The handle that the rest of a program holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::command::Command;
use crate::config::Config;
use crate::error::{Error, OpenError, StopCause};
use crate::kv::{KeyRange, Revision};
use crate::lessor::{LeaseGranted, LeaseTtl};
use crate::member::{Alarm, Member};
use crate::mvcc;
use crate::mvcc::{Outcome, StateHash};
use crate::node::{self, Answer, Backup, Leadership, MemberChange, Question, Request, Shared};
use crate::transport::{Inbox, Transport};
use crate::txn::{Consistency, RangeRequest, RangeResponse, Txn, TxnResponse};
use crate::watch::{Hub, Watcher};

/// The unit in which the request queue is accounted.
const QUEUE_UNIT_BYTES: usize = 1024;
/// What a request takes beside its keys and values.
const REQUEST_OVERHEAD_BYTES: usize = 256;

/// A member of the store, running in this process. Clones are handles to the same member, which stops in good order
/// when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    sink: Arc<node::CoreInbox>,
    /// Unbounded by itself: `room` bounds what is in it.
    requests: std::sync::mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    config: Config,
    /// Closes when the node's thread has ended and let go of the data directory.
    ended: tokio::sync::watch::Receiver<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The network may hold on to the member's inbox, so a closed channel does not tell. Fails where the thread has ended.
        let _ = self.requests.send(Request::Shutdown);
    }
}

impl Store {
    /// Opens the store in `config.data_dir`: recovers what was acknowledged before, and for a group of one, is ready to
    /// write at once. An empty directory becomes a new group of one member.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is changed in a directory that is damaged or of an unknown format.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        Self::open_in_group(config, Arc::new(node::NoTransport)).await
    }

    /// Opens a member of a group, which reaches the others through `transport`; what they send is to be delivered to
    /// [`Store::inbox`]. An empty directory begins as [`Config::start`] says. When it returns, all that this member knew to
    /// be committed is applied; whether the group has a leader is another matter, and requests wait for that.
    ///
    /// # Errors
    /// As [`Store::open`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn open_in_group(
        config: Config,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, OpenError> {
        config.check()?;
        let (requests, inbox) = std::sync::mpsc::channel();
        let node::Opened {
            shared,
            inbox: sink,
            ended,
            ..
        } = node::open(config.clone(), transport, requests.clone(), inbox).await?;
        let applied = shared.applied.subscribe();
        tokio::spawn(Hub::run(shared.clone(), applied));
        let units = config.queue_bytes / QUEUE_UNIT_BYTES;
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                sink,
                requests,
                room: Arc::new(Semaphore::new(units)),
                config,
                ended,
            }),
        })
    }

    /// Where the network delivers what other members send to this one.
    pub fn inbox(&self) -> Inbox {
        Inbox::new(self.inner.sink.clone())
    }

    /// Stops the member: requests under way are answered, new ones get [`Error::Stopped`]. When it returns, the data
    /// directory is free to be opened again.
    pub async fn shutdown(&self) {
        // Fails where the thread has ended already.
        let _ = self.inner.requests.send(Request::Shutdown);
        let mut ended = self.inner.ended.clone();
        // Never changes; it fails when the thread has let go of it.
        let _ = ended.changed().await;
    }

    /// Waits until the member has stopped, by itself or because it was asked to, and says why.
    pub async fn stopped(&self) -> StopCause {
        let mut ended = self.inner.ended.clone();
        // Never changes; it fails when the thread has let go of it.
        let _ = ended.changed().await;
        let cause = self.inner.shared.stop_cause();
        cause.unwrap_or(StopCause::Shutdown)
    }

    /// Runs a transaction. It is acknowledged once it is synced to disk by as many members as must have it.
    ///
    /// # Errors
    /// See [`Error`], and [`Error::outcome_unknown`] for those after which the transaction may have happened.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let config = &self.inner.config;
        // Before the rest, which takes the longer the larger it is.
        let bytes = txn.check_bounds(config.txn_ops_max, config.request_bytes_max)?;
        mvcc::check_txn(&txn)?;
        if txn.is_read_only() {
            // Nothing to replicate. A linearizable point to read from is all that it needs.
            self.read_index().await?;
            let mut state = self.inner.shared.state.read().clone();
            return state.apply(&txn);
        }
        if txn.has_puts() {
            self.check_quota().await?;
        }
        match self
            .propose("a transaction", bytes, &Command::Txn(txn))
            .await?
        {
            Outcome::Txn(outcome) => outcome,
            other => Err(misanswered(&other)),
        }
    }

    /// Reads a range.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`] for a revision that cannot be read; [`Error::Stopped`].
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        match request.consistency {
            Consistency::Linearizable => {
                self.read_index().await?;
            }
            Consistency::Local => self.check_running()?,
        }
        // A copy of the state costs a few reference counts, and the walk then holds up nobody.
        let state = self.inner.shared.state.read().clone();
        state.range(&request)
    }

    /// A barrier for linearizable reads: when it returns, this member has applied every write that was acknowledged
    /// anywhere before the call, up to the revision returned.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Timeout`] or [`Error::NotLeader`] where the group could not confirm it.
    pub async fn read_index(&self) -> Result<Revision, Error> {
        self.check_running()?;
        if self.inner.shared.is_sole_voter() {
            // No other member can have acknowledged anything, and this one acknowledges after it has applied.
            return Ok(self.revision());
        }
        self.read_index_by_quorum().await
    }

    /// Asks the group by Raft's ReadIndex.
    pub(crate) async fn read_index_by_quorum(&self) -> Result<Revision, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(0, |room| Request::ReadIndex { reply, room })
            .await?;
        self.answer("a linearizable read", answer).await
    }

    /// The newest revision that this member has applied.
    pub fn revision(&self) -> Revision {
        *self.inner.shared.applied.borrow()
    }

    /// Watches a range of keys from revision `start` on, the first that is wanted; 0 means from now on, and a revision
    /// to come is waited for.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `start` is not in history any more: it must be greater than [`Store::compacted`].
    /// [`Error::Stopped`].
    pub fn watch(&self, range: KeyRange, start: Revision) -> Result<Watcher, Error> {
        self.check_running()?;
        Watcher::new(self.inner.shared.clone(), range, start)
    }

    /// Forgets history up to revision `at`: reads before it and watches from it or before are refused from then on.
    ///
    /// # Errors
    /// [`Error::Compacted`] if that point was reached before, [`Error::FutureRevision`] if it is to come.
    pub async fn compact(&self, at: Revision) -> Result<(), Error> {
        match self
            .propose("a compaction", 0, &Command::Compact(at))
            .await?
        {
            Outcome::Compact(outcome) => outcome,
            other => Err(misanswered(&other)),
        }
    }

    /// The compaction point: the oldest revision that can be read; 0 if nothing was ever compacted.
    pub fn compacted(&self) -> Revision {
        self.inner.shared.state.read().compacted()
    }

    /// Who leads, as far as this member knows. Never waits.
    pub fn leader(&self) -> Option<u64> {
        self.inner.shared.status().leader
    }

    /// The Raft term that this member is in. Never waits.
    pub fn term(&self) -> u64 {
        self.inner.shared.status().term
    }

    /// Where this member stands. Never waits.
    pub fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let raft = shared.status();
        let state = shared.state.read();
        Status {
            cluster_id: shared.cluster_id,
            member_id: shared.member_id,
            name: self.inner.config.name.clone(),
            leader: raft.leader,
            term: raft.term,
            last_index: raft.last_index,
            applied_index: raft.applied_index,
            revision: state.revision(),
            compacted: state.compacted(),
            learner: state
                .member(shared.member_id)
                .is_some_and(|member| member.learner),
            db_bytes: state.db_bytes() as u64,
            db_bytes_in_use: state.db_bytes_in_use() as u64,
            stopped: shared.stop_cause(),
        }
    }

    /// Who leads the group, and every change of it as this member learns of it.
    pub fn leadership(&self) -> tokio::sync::watch::Receiver<Leadership> {
        self.inner.shared.leadership()
    }

    /// The members of the group as this one knows them, by id.
    pub fn members(&self) -> Vec<Member> {
        self.inner.shared.state.read().members()
    }

    /// Tells the group of a new member, which is then to be started with [`crate::Start::Join`]. A learner gets the log
    /// without having a vote until it is promoted, so that it never holds up the others.
    ///
    /// # Errors
    /// [`Error::MemberExists`], [`Error::UnhealthyGroup`], [`Error::Unavailable`], and those of any write.
    pub async fn member_add(&self, peer_urls: Vec<String>, learner: bool) -> Result<Member, Error> {
        let member = Member {
            id: rand::random_range(1..=u64::MAX),
            peer_urls,
            learner,
            ..Member::default()
        };
        self.change("adding a member", MemberChange::Add(member.clone()))
            .await?;
        Ok(member)
    }

    /// Puts a new member into the place of another in one step, by joint consensus: at no moment does the group depend on
    /// fewer members than before.
    ///
    /// # Errors
    /// As [`Store::member_add`], and [`Error::MemberNotFound`].
    pub async fn member_replace(&self, gone: u64, peer_urls: Vec<String>) -> Result<Member, Error> {
        let new = Member {
            id: rand::random_range(1..=u64::MAX),
            peer_urls,
            ..Member::default()
        };
        let change = MemberChange::Replace {
            gone,
            new: new.clone(),
        };
        self.change("replacing a member", change).await?;
        Ok(new)
    }

    /// Removes a member for good. It stops when it learns of that.
    ///
    /// # Errors
    /// [`Error::MemberNotFound`], [`Error::UnhealthyGroup`], [`Error::Unavailable`], and those of any write.
    pub async fn member_remove(&self, id: u64) -> Result<(), Error> {
        self.change("removing a member", MemberChange::Remove(id))
            .await
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// [`Error::MemberNotFound`], [`Error::NotLearner`], [`Error::LearnerNotReady`], [`Error::Unavailable`], and
    /// those of any write.
    pub async fn member_promote(&self, id: u64) -> Result<(), Error> {
        self.change("promoting a member", MemberChange::Promote(id))
            .await
    }

    /// Changes where other members reach a member.
    ///
    /// # Errors
    /// [`Error::MemberNotFound`], and those of any write.
    pub async fn member_update(&self, id: u64, peer_urls: Vec<String>) -> Result<(), Error> {
        self.read_index().await?;
        let Some(member) = self.inner.shared.state.read().member(id).cloned() else {
            return Err(Error::MemberNotFound { id });
        };
        self.describe(Member {
            peer_urls,
            ..member
        })
        .await
    }

    /// Tells the group this member's name, and where clients reach it.
    ///
    /// # Errors
    /// [`Error::MemberNotFound`] if it is not in the group (yet), and those of any write.
    pub async fn publish(&self, client_urls: Vec<String>) -> Result<(), Error> {
        self.read_index().await?;
        let id = self.inner.shared.member_id;
        let Some(member) = self.inner.shared.state.read().member(id).cloned() else {
            return Err(Error::MemberNotFound { id });
        };
        self.describe(Member {
            name: self.inner.config.name.clone(),
            client_urls,
            ..member
        })
        .await
    }

    async fn describe(&self, member: Member) -> Result<(), Error> {
        match self
            .propose("describing a member", 0, &Command::SetMember(member))
            .await?
        {
            Outcome::SetMember(outcome) => outcome,
            other => Err(misanswered(&other)),
        }
    }

    async fn change(&self, what: &'static str, change: MemberChange) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(0, |room| Request::Change {
            change,
            reply: node::Reply(reply),
            room,
        })
        .await?;
        match self.answer(what, answer).await? {
            Outcome::SetMember(outcome) => outcome,
            other => Err(misanswered(&other)),
        }
    }

    /// Hands leadership to a member, and returns when it has it.
    ///
    /// # Errors
    /// [`Error::MemberNotFound`] if it has no vote in the group; [`Error::Timeout`] if it does not come to lead, because it
    /// is down or lags behind.
    pub async fn move_leader(&self, to: u64) -> Result<(), Error> {
        let what = "moving leadership";
        let deadline = tokio::time::Instant::now() + self.inner.config.request_timeout;
        if self.status().leader == Some(to) {
            return Ok(());
        }
        match self.ask(what, Question::MoveLeader(to)).await? {
            Answer::NotFound => return Err(Error::MemberNotFound { id: to }),
            Answer::Done | Answer::Remaining(_) | Answer::NotLeader => {}
        }
        let mut leadership = self.leadership();
        let moved = leadership
            .wait_for(|now| now.leader == Some(to) || self.inner.shared.stop_cause().is_some());
        match tokio::time::timeout_at(deadline, moved).await {
            Ok(_) => self.check_running(),
            Err(_) => Err(Error::Timeout {
                what,
                after: self.inner.config.request_timeout,
            }),
        }
    }

    /// Grants a lease: keys attached to it are deleted when it ends. `id` 0 has one chosen.
    ///
    /// # Errors
    /// [`Error::LeaseExists`], [`Error::LeaseTtl`], [`Error::NoSpace`], and those of any write.
    pub async fn lease_grant(&self, id: i64, ttl_seconds: i64) -> Result<LeaseGranted, Error> {
        let id = if id == 0 {
            rand::random_range(1..=i64::MAX)
        } else {
            id
        };
        let command = Command::LeaseGrant { id, ttl_seconds };
        match self.propose("granting a lease", 0, &command).await? {
            Outcome::LeaseGrant(outcome) => outcome,
            other => Err(misanswered(&other)),
        }
    }

    /// Ends a lease and deletes its keys. Returns the newest revision: that of the deletions, if there were any.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], and those of any write.
    pub async fn lease_revoke(&self, id: i64) -> Result<Revision, Error> {
        match self
            .propose("revoking a lease", 0, &Command::LeaseRevoke { id })
            .await?
        {
            Outcome::LeaseRevoke(outcome) => outcome,
            other => Err(misanswered(&other)),
        }
    }

    /// Gives a lease its full time again, and returns that in seconds.
    ///
    /// # Errors
    /// [`Error::LeaseNotFound`], [`Error::Timeout`], [`Error::Stopped`].
    pub async fn lease_keep_alive(&self, id: i64) -> Result<i64, Error> {
        match self
            .ask("keeping a lease alive", Question::KeepAlive(id))
            .await?
        {
            Answer::Remaining(ttl) => Ok(ttl.granted_seconds),
            _ => Err(Error::LeaseNotFound { id }),
        }
    }

    /// What a lease was granted, and has left.
    ///
    /// # Errors
    /// As [`Store::lease_keep_alive`].
    pub async fn lease_time_to_live(&self, id: i64) -> Result<LeaseTtl, Error> {
        match self
            .ask("asking about a lease", Question::TimeToLive(id))
            .await?
        {
            Answer::Remaining(ttl) => Ok(ttl),
            _ => Err(Error::LeaseNotFound { id }),
        }
    }

    /// The keys attached to a lease, as this member has them.
    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.inner.shared.state.read().lease_keys(id)
    }

    /// All leases, as this member has them.
    pub fn leases(&self) -> Vec<i64> {
        let state = self.inner.shared.state.read();
        state.leases().map(|(id, _)| id).collect()
    }

    /// Turns an alarm of a member on or off; off for all members if `member` is 0. Returns the alarms that this was about.
    ///
    /// # Errors
    /// Those of any write.
    pub async fn alarm(
        &self,
        alarm: Alarm,
        member: u64,
        on: bool,
    ) -> Result<Vec<(u64, Alarm)>, Error> {
        let command = Command::Alarm { member, alarm, on };
        match self.propose("setting an alarm", 0, &command).await? {
            Outcome::Alarm(alarms) => Ok(alarms),
            other => Err(misanswered(&other)),
        }
    }

    /// The alarms that are on, with the members that they are about.
    pub fn alarms(&self) -> Vec<(u64, Alarm)> {
        self.inner.shared.state.read().alarms()
    }

    /// A hash of what is stored as of a revision (0: the newest), which is the same on every member.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`].
    pub fn hash(&self, at: Revision) -> Result<StateHash, Error> {
        let state = self.inner.shared.state.read().clone();
        state.hash(at)
    }

    /// Everything that is stored, as of now, as the bytes of a snapshot file.
    pub fn backup(&self) -> Backup {
        node::backup(&self.inner.shared)
    }

    /// Refuses writes that need room where there is none, and raises the alarm that makes all members do so.
    async fn check_quota(&self) -> Result<(), Error> {
        let max = self.inner.config.db_bytes_max;
        let (bytes, alarmed) = {
            let state = self.inner.shared.state.read();
            (state.db_bytes() as u64, state.is_alarmed(Alarm::NoSpace))
        };
        if alarmed {
            return Err(Error::NoSpace);
        }
        if max > 0 && bytes > max {
            tracing::error!(
                bytes,
                max,
                "the store outgrew its quota; writes are refused until the alarm is turned off"
            );
            self.alarm(Alarm::NoSpace, self.inner.shared.member_id, true)
                .await?;
            return Err(Error::NoSpace);
        }
        Ok(())
    }

    async fn propose(
        &self,
        what: &'static str,
        bytes: usize,
        command: &Command,
    ) -> Result<Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(bytes, |room| Request::Propose {
            entry: command.encode(),
            reply: node::Reply(reply),
            room,
        })
        .await?;
        self.answer(what, answer).await
    }

    async fn ask(&self, what: &'static str, question: Question) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(0, |room| Request::Ask {
            question,
            reply,
            room,
        })
        .await?;
        self.answer(what, answer).await
    }

    fn check_running(&self) -> Result<(), Error> {
        match self.inner.shared.stop_cause() {
            Some(cause) => Err(Error::Stopped { cause }),
            None => Ok(()),
        }
    }

    /// Puts a request into the queue, waiting for room.
    async fn send(
        &self,
        bytes: usize,
        request: impl FnOnce(node::Room) -> Request,
    ) -> Result<(), Error> {
        self.check_running()?;
        let inner = &self.inner;
        // Fits: the queue holds at least two of the largest requests (Config::check).
        let units = (bytes + REQUEST_OVERHEAD_BYTES).div_ceil(QUEUE_UNIT_BYTES) as u32;
        let waited = inner.config.request_timeout;
        let room = match timeout(waited, inner.room.clone().acquire_many_owned(units)).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => {
                return Err(Error::Overloaded {
                    queue_bytes: inner.config.queue_bytes,
                    waited,
                });
            }
        };
        inner
            .requests
            .send(request(room))
            .map_err(|_| Error::Stopped {
                cause: inner.shared.stop_cause().unwrap_or(StopCause::Shutdown),
            })
    }

    async fn answer<T>(
        &self,
        what: &'static str,
        answer: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        let after: Duration = self.inner.config.request_timeout;
        match timeout(after, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Stopped {
                cause: self
                    .inner
                    .shared
                    .stop_cause()
                    .unwrap_or(StopCause::Shutdown),
            }),
            Err(_) => Err(Error::Timeout { what, after }),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.inner.config.name)
            .field("data_dir", &self.inner.config.data_dir)
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

/// Where a member stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// The group.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// Its name.
    pub name: String,
    /// Who leads, as far as this member knows.
    pub leader: Option<u64>,
    /// The Raft term.
    pub term: u64,
    /// The last entry in this member's log.
    pub last_index: u64,
    /// The last entry whose effect is in its state.
    pub applied_index: u64,
    /// The newest revision applied here.
    pub revision: Revision,
    /// The compaction point.
    pub compacted: Revision,
    /// Whether this member has no vote.
    pub learner: bool,
    /// Bytes of keys, values and history, with what they cost around them.
    pub db_bytes: u64,
    /// Those of them that compaction could not free.
    pub db_bytes_in_use: u64,
    /// Why it stopped, if it has.
    pub stopped: Option<StopCause>,
}

/// The thread answers every command with an outcome of its kind.
fn misanswered(outcome: &Outcome) -> Error {
    Error::Stopped {
        cause: StopCause::Broken {
            what: format!("a command was answered with {outcome:?}").into(),
        },
    }
}
