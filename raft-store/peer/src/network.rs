//! What all tasks of a network share: the members, and where to deliver.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use raft_store::{Inbox, Member, SnapshotOut, Transport};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::{Address, URLS_MAX};
use crate::config::PeerConfig;
use crate::counters::{Counters, Received};
use crate::handshake::{self, Callee, Reason, Refusal};
use crate::peer::Peer;
use crate::proto::Handshake;
use crate::sender;
use crate::snapshot_out;
use crate::trouble::Said;

/// Members that may talk although they are not in the table, at one time: more than a group has members.
const STRANGERS_MAX: usize = 8;
/// Refusals that are remembered as logged.
const REFUSALS_SAID_MAX: usize = 64;

pub(crate) struct Network {
    pub(crate) config: PeerConfig,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Tells this process from an earlier one with the same id.
    pub(crate) run: u64,
    pub(crate) received: Received,
    /// All tasks end in good order.
    pub(crate) stop: CancellationToken,
    /// What has not ended yet is dropped.
    pub(crate) force: CancellationToken,
    pub(crate) tasks: TaskTracker,
    runtime: Handle,
    /// Empty until serving begins, and again when it has ended: the inbox keeps the store alive.
    inbox: watch::Sender<Option<Inbox>>,
    table: RwLock<Table>,
    refusals_said: Mutex<Said<(u64, Reason)>>,
}

#[derive(Default)]
struct Table {
    /// As last told.
    members: Vec<Member>,
    /// This member's id, once known.
    own: Option<u64>,
    peers: HashMap<u64, Arc<Peer>>,
    /// Members that were in the table once and are not any more.
    gone: HashSet<u64>,
}

impl Network {
    pub(crate) fn new(config: PeerConfig, address: SocketAddr) -> Self {
        Self {
            config,
            address,
            run: rand::random_range(1..=u64::MAX),
            received: Received::default(),
            stop: CancellationToken::new(),
            force: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            inbox: watch::Sender::new(None),
            table: RwLock::default(),
            refusals_said: Mutex::new(Said::new(REFUSALS_SAID_MAX)),
        }
    }

    /// Starts a task that ends with the network, at the latest when it is forced to.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let force = self.force.clone();
        let task = async move {
            force.run_until_cancelled(task).await;
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    pub(crate) fn set_inbox(self: &Arc<Self>, inbox: Inbox) {
        let mut table = self.table.write();
        table.own = Some(inbox.member_id());
        self.reconcile(&mut table);
        drop(table);
        self.inbox.send_replace(Some(inbox));
    }

    pub(crate) fn forget_inbox(&self) {
        self.inbox.send_replace(None);
    }

    /// The members, as last told.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.table.read().members.clone()
    }

    /// The inbox, as soon as there is one.
    pub(crate) async fn inbox(&self) -> Option<Inbox> {
        let mut receiver = self.inbox.subscribe();
        let inbox = receiver.wait_for(Option::is_some).await.ok()?;
        inbox.clone()
    }

    /// How this member presents itself to another.
    pub(crate) fn handshake(&self, inbox: &Inbox, to: u64) -> Handshake {
        let from = inbox.member_id();
        let table = self.table.read();
        let own = table.members.iter().find(|member| member.id == from);
        Handshake {
            version: handshake::VERSION,
            cluster_id: inbox.cluster_id(),
            from,
            to,
            run: self.run,
            peer_urls: own.map_or_else(Vec::new, |own| own.peer_urls.clone()),
        }
    }

    /// Decides whether a call is taken, and finds who it is from.
    pub(crate) fn admit(
        self: &Arc<Self>,
        inbox: &Inbox,
        call: &Handshake,
        identity: &dyn Fn() -> Result<(), String>,
    ) -> Result<Arc<Peer>, Refusal> {
        let removed = inbox.is_removed(call.from);
        let mut known = false;
        let result = {
            let table = self.table.read();
            let peer = table.peers.get(&call.from);
            known |= peer.is_some();
            let callee = Callee {
                cluster_id: inbox.cluster_id(),
                member_id: inbox.member_id(),
                removed: removed || table.gone.contains(&call.from),
                welcome: known || self.is_stranger_welcome(&table, call),
                identity,
            };
            let replaced = peer.is_some_and(|peer| peer.lane.is_past(call.run));
            handshake::check(call, &callee).and_then(|()| {
                if replaced {
                    let why = "another process speaks for the caller's id since; two members with one id, perhaps a \
                               copied data directory";
                    return Err(Refusal::new(Reason::Replaced, call, &callee, why));
                }
                Ok(peer.map(Arc::clone))
            })
        };
        match result {
            Ok(peer) => {
                let peer = peer.unwrap_or_else(|| self.add_stranger(call));
                self.refusals_said
                    .lock()
                    .forget(|(from, _)| *from == peer.id);
                peer.heard();
                Ok(peer)
            }
            Err(refusal) => {
                self.received.refused.add(1);
                // Ids of others are any number: all of them are one caller.
                let from = if known { call.from } else { 0 };
                if self.refusals_said.lock().is_news((from, refusal.reason)) {
                    tracing::warn!(
                        cause = refusal.reason.name(),
                        "refused a call: {}",
                        refusal.what
                    );
                }
                Err(refusal)
            }
        }
    }

    /// Ends a stranger that was not heard of for long.
    pub(crate) fn forget_stranger(&self, peer: &Peer) {
        let mut table = self.table.write();
        if !peer.listed.load(Relaxed) {
            table.peers.remove(&peer.id);
            peer.close();
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let table = self.table.read();
        let mut members: Vec<_> = table.peers.values().map(|peer| peer.counters()).collect();
        drop(table);
        members.sort_by_key(|member| member.member);
        Counters {
            members,
            received_bytes: self.received.bytes.get(),
            received_frames: self.received.frames.get(),
            received_snapshots: self.received.snapshots.get(),
            refused: self.received.refused.get(),
            dropped_frames: self.received.stray_frames.get(),
        }
    }

    fn is_stranger_welcome(&self, table: &Table, call: &Handshake) -> bool {
        let strangers = || {
            let peers = table.peers.values();
            peers.filter(|peer| !peer.listed.load(Relaxed)).count()
        };
        // Who cannot be answered need not be heard.
        let tls = self.config.tls.is_some();
        let urls = &call.peer_urls;
        self.config.strangers
            && !urls.is_empty()
            && urls.len() <= URLS_MAX
            && urls.iter().all(|url| Address::parse(url, tls).is_ok())
            && strangers() < STRANGERS_MAX
    }

    fn add_stranger(self: &Arc<Self>, call: &Handshake) -> Arc<Peer> {
        let mut table = self.table.write();
        if let Some(peer) = table.peers.get(&call.from) {
            return Arc::clone(peer);
        }
        tracing::info!(
            member = format_args!("{:016x}", call.from),
            urls = ?call.peer_urls,
            "a member that is not known here calls: taking its messages, in case this member has missed its joining"
        );
        let peer = self.add_peer(&mut table, call.from, false, call.peer_urls.clone());
        drop(table);
        peer
    }

    fn add_peer(
        self: &Arc<Self>,
        table: &mut Table,
        id: u64,
        listed: bool,
        urls: Vec<String>,
    ) -> Arc<Peer> {
        let stop = self.stop.child_token();
        let peer = Arc::new(Peer::new(id, listed, urls, self.config.queue_bytes, stop));
        table.peers.insert(id, Arc::clone(&peer));
        self.spawn(sender::run(Arc::clone(self), Arc::clone(&peer)));
        peer
    }

    /// Makes the peers what the table of members says.
    fn reconcile(self: &Arc<Self>, table: &mut Table) {
        let members = std::mem::take(&mut table.members);
        let others = || members.iter().filter(|member| Some(member.id) != table.own);
        let listed: HashSet<u64> = others().map(|member| member.id).collect();
        let unlisted: Vec<u64> = table
            .peers
            .values()
            .filter(|peer| peer.listed.load(Relaxed) && !listed.contains(&peer.id))
            .map(|peer| peer.id)
            .collect();
        for id in unlisted {
            if let Some(peer) = table.peers.remove(&id) {
                peer.close();
            }
            // Before this member's own id is known, it was taken for another.
            if Some(id) != table.own {
                table.gone.insert(id);
            }
        }
        let own = table.own;
        for member in members.iter().filter(|member| Some(member.id) != own) {
            table.gone.remove(&member.id);
            match table.peers.get(&member.id) {
                Some(peer) => {
                    peer.listed.store(true, Relaxed);
                    peer.set_urls(&member.peer_urls);
                }
                None if self.stop.is_cancelled() => {}
                None => {
                    self.add_peer(table, member.id, true, member.peer_urls.clone());
                }
            }
        }
        table.members = members;
    }
}

/// The network, as the core sees it.
pub(crate) struct NetworkTransport(pub(crate) Arc<Network>);

impl Transport for NetworkTransport {
    fn send(&self, to: u64, frames: Vec<Bytes>) {
        let table = self.0.table.read();
        match table.peers.get(&to) {
            Some(peer) => peer.push(frames),
            None => self.0.received.stray_frames.add(frames.len() as u64),
        }
    }

    fn send_snapshot(&self, to: u64, snapshot: SnapshotOut, done: Box<dyn FnOnce(bool) + Send>) {
        let peer = self.0.table.read().peers.get(&to).map(Arc::clone);
        snapshot_out::start(&self.0, peer, snapshot, done);
    }

    fn set_members(&self, members: Vec<Member>) {
        let mut table = self.0.table.write();
        table.members = members;
        self.0.reconcile(&mut table);
    }
}
