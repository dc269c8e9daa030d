//! The scheduler of a simulation: virtual time, members, network, clients.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use raft::RawNode;
use raft::eraftpb::{ConfState, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::super::core::{Arrived, Core, Options, Outlet};
use super::super::frame::{Frame, Proposal};
use super::super::log::Position;
use super::super::reads::Waiting;
use super::super::snapshot::Meta;
use super::super::start::raft_config;
use super::super::{MemberChange, Reply, Shared, logger};
use super::Faults;
use super::disk::{Image, SimDisk, install};
use super::history::{self, Asked, Operation, Told};
use crate::command::Command;
use crate::error::{Error, StopCause};
use crate::kv::{Event, KeyRange, Revision};
use crate::member::Member;
use crate::mvcc::{Outcome, State};
use crate::txn::{Compare, CompareOp, RangeRequest, Txn};
use crate::watch::{Hub, Watcher};

const CLUSTER: u64 = 99;
const TICK: u64 = 25;
/// How long clients and faults are at work, in virtual milliseconds.
const WORK: u64 = 6_000;
/// How long the group has to come to rest afterwards.
const REST: u64 = 8_000;
/// When a client gives up.
const PATIENCE: u64 = 2_000;
const CLIENTS: usize = 4;
const KEYS: usize = 3;

/// What leaves a member.
enum Sent {
    Frame(u64, Frame),
    Snapshot(u64, Box<(Message, Meta, State)>),
}

#[derive(Clone, Default)]
struct SimOutlet(Arc<Mutex<Vec<Sent>>>);

impl Outlet for SimOutlet {
    fn frame(&mut self, to: u64, frame: Frame) {
        self.0.lock().unwrap().push(Sent::Frame(to, frame));
    }

    fn snapshot(&mut self, to: u64, message: Message, meta: Meta, state: State) {
        self.0
            .lock()
            .unwrap()
            .push(Sent::Snapshot(to, Box::new((message, meta, state))));
    }

    fn members(&mut self, _: Vec<Member>) {}

    fn flush(&mut self) {}
}

type HubTask = Pin<Box<dyn Future<Output = ()>>>;

struct Running {
    core: Core<SimDisk, SimOutlet>,
    outlet: SimOutlet,
    shared: Arc<Shared>,
    hub: HubTask,
    began: u64,
}

struct Node {
    disk: SimDisk,
    running: Option<Running>,
    /// Of this start, so that ticks of an earlier one are not taken for its own.
    life: u64,
    /// Until then it does nothing, as a stopped process.
    paused_until: u64,
}

enum Happening {
    Tick(u64, u64),
    Frame {
        from: u64,
        to: u64,
        frame: Box<Frame>,
    },
    Snapshot {
        from: u64,
        to: u64,
        content: Box<(Message, Meta, State)>,
    },
    SnapshotSent {
        from: u64,
        to: u64,
        taken: bool,
    },
    Client(usize),
    Disturb,
    Restart(u64),
    Heal,
}

struct Client {
    asked: Option<(Asked, u64, Answering)>,
    /// The revision last seen of each key, for swaps.
    seen: BTreeMap<String, Revision>,
    watch: Option<(u64, u64, Watcher)>,
    /// What the watch has shown, and the first revision that it has not.
    shown: Vec<(Revision, Vec<Event>)>,
    watch_next: Revision,
}

enum Answering {
    Write(oneshot::Receiver<Result<Outcome, Error>>),
    Read(u64, u64, oneshot::Receiver<Result<Revision, Error>>),
}

pub(super) struct World {
    random: StdRng,
    faults: Arc<Faults>,
    now: u64,
    sequence: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    nodes: BTreeMap<u64, Node>,
    /// Pairs that cannot reach each other.
    cut: BTreeSet<(u64, u64)>,
    clients: Vec<Client>,
    operations: Vec<Operation>,
    values: u64,
    leaders: BTreeMap<u64, u64>,
    change: Option<oneshot::Receiver<Result<Outcome, Error>>>,
    failure: Option<String>,
    resting: bool,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let voters: Vec<u64> = if seed.is_multiple_of(4) {
            (1..=5).collect()
        } else {
            (1..=3).collect()
        };
        let mut state = State::new();
        for id in &voters {
            state.set_member(Member {
                id: *id,
                name: id.to_string(),
                peer_urls: vec![id.to_string()],
                ..Member::default()
            });
        }
        let meta = Meta {
            cluster_id: CLUSTER,
            position: Position { index: 1, term: 1 },
            conf_state: ConfState {
                voters: voters.clone(),
                ..ConfState::default()
            },
        };
        let faults = Arc::new(faults);
        let mut world = Self {
            now: 0,
            sequence: 0,
            agenda: BTreeMap::new(),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            clients: Vec::new(),
            operations: Vec::new(),
            values: 0,
            leaders: BTreeMap::new(),
            change: None,
            failure: None,
            resting: false,
            faults,
            random: random.clone(),
        };
        for id in voters {
            let image = Image::new(meta.clone(), state.clone());
            world.add_node(id, image, &mut random);
        }
        for client in 0..CLIENTS {
            world.clients.push(Client {
                asked: None,
                seen: BTreeMap::new(),
                watch: None,
                shown: Vec::new(),
                watch_next: 2,
            });
            world.after(10 * client as u64, Happening::Client(client));
        }
        if world.faults.disturbance_every > 0 {
            world.after(400, Happening::Disturb);
        }
        world
    }

    fn add_node(&mut self, id: u64, image: Image, random: &mut StdRng) {
        let disk = SimDisk::new(
            image,
            StdRng::seed_from_u64(random.random()),
            self.faults.clone(),
        );
        self.nodes.insert(
            id,
            Node {
                disk,
                running: None,
                life: 0,
                paused_until: 0,
            },
        );
        self.start(id);
    }

    /// Runs until all is at rest, and judges what happened.
    pub(super) fn run(mut self) -> Result<(), String> {
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            self.now = at;
            if !self.resting && at >= WORK {
                self.rest();
            }
            if at >= WORK + REST {
                break;
            }
            self.happen(happening);
            self.check_leaders();
            if let Some(failure) = self.failure {
                return Err(format!("at {} ms: {failure}", self.now));
            }
        }
        self.judge()
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.agenda
            .insert((self.now + delay, self.sequence), happening);
    }

    fn start(&mut self, id: u64) {
        let seed = self.random.random();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.life += 1;
        let mut disk = node.disk.after_crash();
        if self.faults.forget_votes {
            let mut seen = disk.seen.lock().unwrap();
            seen.hard_state.vote = 0;
            seen.hard_state.term = seen.meta.position.term;
        }
        std::mem::swap(&mut node.disk, &mut disk);
        let image = node.disk.seen.lock().unwrap().clone();
        let shared = Arc::new(Shared::new(CLUSTER, id, image.state));
        let raft = RawNode::new(
            &raft_config(id, image.meta.position.index),
            node.disk.clone(),
            &logger::logger(),
        )
        .unwrap();
        let outlet = SimOutlet::default();
        let options = Options {
            history_bytes_max: usize::MAX,
            history_revisions_max: u64::MAX,
            seed,
        };
        let core = Core::new(
            raft,
            CLUSTER,
            shared.clone(),
            outlet.clone(),
            options,
            image.meta.position,
        );
        let hub = Hub::run(shared.clone(), shared.applied.subscribe());
        node.running = Some(Running {
            core,
            outlet,
            hub: Box::pin(hub),
            shared,
            began: self.now,
        });
        let life = node.life;
        let offset = self.random.random_range(0..TICK);
        self.after(offset, Happening::Tick(id, life));
        self.drive(id, |_| Ok(()));
    }

    /// Lets a member do something, and what follows from it.
    fn drive(
        &mut self,
        id: u64,
        act: impl FnOnce(&mut Core<SimDisk, SimOutlet>) -> Result<(), StopCause>,
    ) {
        let Some(running) = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.running.as_mut())
        else {
            return;
        };
        let core = &mut running.core;
        let result = act(core).and_then(|()| core.process());
        core.keep_house();
        let sent = std::mem::take(&mut *running.outlet.0.lock().unwrap());
        poll_to_rest(&mut running.hub);
        for sent in sent {
            self.carry(id, sent);
        }
        match result {
            Ok(()) => {}
            Err(StopCause::Disk { .. }) => self.crash(id),
            Err(StopCause::Removed) => {
                self.nodes.remove(&id);
            }
            Err(cause) => self.fail(format!("member {id} stopped: {cause}")),
        }
    }

    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    fn carry(&mut self, from: u64, sent: Sent) {
        let lost = !self.resting && self.random.random_bool(self.faults.loss);
        let delay = self.random.random_range(1..=self.faults.delay_max);
        match sent {
            Sent::Frame(to, frame) => {
                if lost || self.cut.contains(&(from, to)) {
                    return;
                }
                // Transports promise not to; Raft would not mind, for its own.
                let ours = !matches!(frame, Frame::Raft(_));
                if !ours && self.random.random_bool(self.faults.repeat) {
                    let later = self.random.random_range(1..=self.faults.delay_max * 3);
                    let frame = Box::new(frame.clone());
                    self.after(later, Happening::Frame { from, to, frame });
                }
                let frame = Box::new(frame);
                self.after(delay, Happening::Frame { from, to, frame });
            }
            Sent::Snapshot(to, content) => {
                if lost || self.cut.contains(&(from, to)) {
                    let taken = false;
                    self.after(delay, Happening::SnapshotSent { from, to, taken });
                } else {
                    self.after(delay * 2, Happening::Snapshot { from, to, content });
                }
            }
        }
    }

    fn is_up(&self, id: u64) -> bool {
        self.nodes
            .get(&id)
            .is_some_and(|node| node.running.is_some())
    }

    fn happen(&mut self, happening: Happening) {
        // A paused member gets to see things later.
        if let Happening::Tick(id, _)
        | Happening::Frame { to: id, .. }
        | Happening::Snapshot { to: id, .. } = &happening
            && let Some(node) = self.nodes.get(id)
            && node.paused_until > self.now
        {
            let wait = node.paused_until - self.now;
            return self.after(wait, happening);
        }
        match happening {
            Happening::Tick(id, life) => {
                let now = self.now;
                let Some(node) = self.nodes.get(&id).filter(|node| node.life == life) else {
                    return;
                };
                let Some(began) = node.running.as_ref().map(|running| running.began) else {
                    return;
                };
                self.drive(id, |core| {
                    core.tick(Duration::from_millis(now - began));
                    Ok(())
                });
                if self.random.random_bool(0.01) {
                    self.snapshot(id);
                }
                self.after(TICK, Happening::Tick(id, life));
            }
            Happening::Frame { from, to, frame } => {
                // Over the wire and back.
                match Frame::decode(&frame.encode()) {
                    Ok(frame) => self.drive(to, |core| core.receive(from, frame)),
                    Err(what) => self.fail(what),
                }
            }
            Happening::Snapshot { from, to, content } => {
                let (message, meta, state) = *content;
                let taken = self.is_up(to);
                if let Some(node) = self.nodes.get(&to) {
                    let disk = node.disk.clone();
                    let kept = (meta.clone(), state.clone());
                    let arrived = Arrived {
                        message,
                        meta,
                        state,
                        bytes: 0,
                        keep: Box::new(move |begin_anew| {
                            install(&disk, &kept.0, &kept.1);
                            begin_anew()
                        }),
                    };
                    self.drive(to, |core| core.snapshot_arrived(arrived).map(drop));
                }
                self.after(5, Happening::SnapshotSent { from, to, taken });
            }
            Happening::SnapshotSent { from, to, taken } => self.drive(from, |core| {
                core.snapshot_sent(to, taken);
                Ok(())
            }),
            Happening::Client(client) => self.client(client),
            Happening::Disturb => self.disturb(),
            Happening::Restart(id) => {
                if !self.is_up(id) {
                    self.start(id);
                }
            }
            Happening::Heal => self.cut.clear(),
        }
    }

    fn snapshot(&mut self, id: u64) {
        let kept = self.random.random_range(0..20);
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let Some(running) = &node.running else { return };
        let position = running.core.applied();
        if position.index <= node.disk.seen.lock().unwrap().meta.position.index {
            return;
        }
        let meta = Meta {
            cluster_id: CLUSTER,
            position,
            conf_state: running.core.log().conf_state().clone(),
        };
        let state = running.shared.state.read().clone();
        node.disk.take_snapshot(&meta, &state, kept);
    }

    fn crash(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.running = None;
            node.paused_until = 0;
        }
        let down = self.random.random_range(20..1500);
        self.after(down, Happening::Restart(id));
    }

    fn some_node(&mut self) -> u64 {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        ids[self.random.random_range(0..ids.len())]
    }

    fn disturb(&mut self) {
        if self.resting {
            return;
        }
        let id = self.some_node();
        match self.random.random_range(0..6) {
            0 | 1 => {
                if self.is_up(id) {
                    self.crash(id);
                }
            }
            2 => {
                let wait = self.random.random_range(100..1500);
                let until = self.now + wait;
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.paused_until = until;
                }
            }
            3 | 4 => {
                // One way or both.
                let both = self.random.random_bool(0.7);
                for other in self.nodes.keys().copied().collect::<Vec<_>>() {
                    if other != id && self.random.random_bool(0.8) {
                        self.cut.insert((id, other));
                        if both {
                            self.cut.insert((other, id));
                        }
                    }
                }
                let wait = self.random.random_range(200..1500);
                self.after(wait, Happening::Heal);
            }
            _ => self.change_group(id),
        }
        let every = self.faults.disturbance_every;
        let wait = self.random.random_range(every / 2..every * 2);
        self.after(wait, Happening::Disturb);
    }

    /// Adds, promotes or removes a member, through member `id`.
    fn change_group(&mut self, id: u64) {
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else {
            return;
        };
        let members = running.shared.state.read().members();
        let learner = members.iter().find(|member| member.learner);
        let change = match learner {
            Some(member) => MemberChange::Promote(member.id),
            None if members.len() > 3 => {
                let gone = self.random.random_range(0..members.len());
                MemberChange::Remove(members[gone].id)
            }
            None => {
                let new = 100 + self.now;
                let member = Member {
                    id: new,
                    peer_urls: vec![new.to_string()],
                    learner: self.random.random_bool(0.7),
                    ..Member::default()
                };
                let meta = Meta {
                    cluster_id: CLUSTER,
                    position: Position { index: 0, term: 0 },
                    conf_state: ConfState::default(),
                };
                let mut random = self.random.clone();
                self.add_node(new, Image::new(meta, State::new()), &mut random);
                MemberChange::Add(member)
            }
        };
        let (reply, answer) = oneshot::channel();
        self.change = Some(answer);
        let proposal = Proposal::Change(change.encode().into());
        self.drive(id, |core| {
            core.propose(proposal, Reply(reply), None);
            Ok(())
        });
    }

    // --- clients ------------------------------------------------------------

    fn client(&mut self, at: usize) {
        self.watch(at);
        self.hear(at);
        if self.clients[at].asked.is_none() && !self.resting {
            self.ask(at);
        }
        if !self.resting || self.clients[at].asked.is_some() || self.now < WORK + REST - 200 {
            let pause = self.random.random_range(1..30);
            self.after(pause, Happening::Client(at));
        }
    }

    fn ask(&mut self, at: usize) {
        let id = self.some_node();
        let key = format!("k{}", self.random.random_range(0..KEYS));
        self.values += 1;
        let value = format!("v{}", self.values);
        let seen = self.clients[at].seen.get(&key).copied().unwrap_or(0);
        let asked = match self.random.random_range(0..3) {
            0 => Asked::Put { key, value },
            1 => Asked::Swap { key, seen, value },
            _ => Asked::Read { key },
        };
        if !self.is_up(id) {
            return;
        }
        let life = self.nodes[&id].life;
        let mut txn = match &asked {
            Asked::Put { key, value } | Asked::Swap { key, value, .. } => {
                Some(Txn::put(key.clone(), value.clone()))
            }
            Asked::Read { .. } => None,
        };
        if let (Some(txn), Asked::Swap { key, seen, .. }) = (&mut txn, &asked) {
            txn.compare = vec![Compare::mod_revision(key.clone(), CompareOp::Equal, *seen)];
        }
        let answering = match txn {
            Some(txn) => {
                let (reply, answer) = oneshot::channel();
                let proposal = Proposal::Command(Command::Txn(txn).encode().into());
                self.drive(id, |core| {
                    core.propose(proposal, Reply(reply), None);
                    Ok(())
                });
                Answering::Write(answer)
            }
            None => {
                let (reply, answer) = oneshot::channel();
                if self.faults.stale_reads {
                    let revision = self.nodes[&id]
                        .running
                        .as_ref()
                        .map_or(0, |running| *running.shared.applied.borrow());
                    drop(reply.send(Ok(revision)));
                } else {
                    self.drive(id, |core| {
                        core.read_index(Waiting { reply, _room: None });
                        Ok(())
                    });
                }
                Answering::Read(id, life, answer)
            }
        };
        self.clients[at].asked = Some((asked, self.now, answering));
    }

    fn hear(&mut self, at: usize) {
        let Some((asked, began, mut answering)) = self.clients[at].asked.take() else {
            return;
        };
        let told = match &mut answering {
            Answering::Write(answer) => match answer.try_recv() {
                Ok(Ok(Outcome::Txn(Ok(response)))) if response.succeeded => {
                    Some(Told::Wrote(response.revision))
                }
                Ok(Ok(Outcome::Txn(Ok(response)))) => Some(Told::Differs(response.revision)),
                Ok(Err(error)) if !error.outcome_unknown() => Some(Told::Failed),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => Some(Told::Unknown),
                Ok(Ok(other)) => {
                    self.fail(format!("a write was answered with {other:?}"));
                    None
                }
                Err(oneshot::error::TryRecvError::Empty) => None,
            },
            Answering::Read(id, life, answer) => match answer.try_recv() {
                Ok(Ok(_)) => Some(self.read(*id, *life, &asked)),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => Some(Told::Unknown),
                Err(oneshot::error::TryRecvError::Empty) => None,
            },
        };
        let told = told.or_else(|| (self.now - began > PATIENCE).then_some(Told::Unknown));
        let Some(told) = told else {
            self.clients[at].asked = Some((asked, began, answering));
            return;
        };
        if let (Asked::Read { key }, Told::Found(found, _)) = (&asked, &told) {
            let revision = found.as_ref().map_or(0, |(_, revision)| *revision);
            self.clients[at].seen.insert(key.clone(), revision);
        }
        self.operations.push(Operation {
            began,
            ended: self.now,
            asked,
            told,
        });
    }

    /// Reads what a member has, once it has said that it may be read.
    fn read(&self, id: u64, life: u64, asked: &Asked) -> Told {
        let Asked::Read { key } = asked else {
            return Told::Unknown;
        };
        let Some(running) = self
            .nodes
            .get(&id)
            .filter(|node| node.life == life)
            .and_then(|node| node.running.as_ref())
        else {
            return Told::Unknown;
        };
        let request = RangeRequest::new(KeyRange::key(key.clone()));
        match running.shared.state.read().range(&request) {
            Ok(response) => {
                let found = response.kvs.first().map(|kv| {
                    (
                        String::from_utf8_lossy(&kv.value).into_owned(),
                        kv.mod_revision,
                    )
                });
                Told::Found(found, response.revision)
            }
            Err(_) => Told::Unknown,
        }
    }

    /// Takes what a client's watch has to show, on another member if its own is gone.
    fn watch(&mut self, at: usize) {
        let gone = match &self.clients[at].watch {
            Some((id, life, _)) => {
                !self.is_up(*id) || self.nodes.get(id).is_none_or(|node| node.life != *life)
            }
            None => true,
        };
        if gone {
            let id = self.some_node();
            self.watch_on(at, id);
        }
        self.show(at);
    }

    fn watch_on(&mut self, at: usize, id: u64) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let Some(running) = &node.running else { return };
        let next = self.clients[at].watch_next;
        match Watcher::new(running.shared.clone(), KeyRange::all(), next) {
            Ok(watcher) => self.clients[at].watch = Some((id, node.life, watcher)),
            Err(error) => self.fail(format!("a watch from {next} on: {error}")),
        }
    }

    fn show(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((_, _, watcher)) = &mut client.watch else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut idle = 0;
        let mut over = false;
        // Each poll that is pending may only have given way.
        while idle < 3 && !over {
            let polled = std::pin::pin!(watcher.next()).poll(&mut context);
            match polled {
                Poll::Ready(Ok(batch)) => {
                    idle = 0;
                    client.watch_next = batch.revision + 1;
                    client.shown.push((batch.revision, batch.events.to_vec()));
                }
                Poll::Ready(Err(_)) => over = true,
                Poll::Pending => idle += 1,
            }
        }
        if over {
            client.watch = None;
        }
    }

    // --- the end --------------------------------------------------------------

    fn newest(&self) -> Option<u64> {
        self.nodes
            .iter()
            .filter_map(|(id, node)| {
                Some((node.running.as_ref()?.shared.state.read().revision(), *id))
            })
            .max()
            .map(|(_, id)| id)
    }

    /// Heals everything.
    fn rest(&mut self) {
        self.resting = true;
        self.cut.clear();
        let mut faults = (*self.faults).clone();
        faults.loss = 0.0;
        faults.disk = 0.0;
        self.faults = Arc::new(faults);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            // Started anew, so that their disks fail no more.
            if let Some(node) = self.nodes.get_mut(&id) {
                node.paused_until = 0;
                node.running = None;
                node.disk.set_faults(self.faults.clone());
            }
            self.start(id);
        }
    }

    fn check_leaders(&mut self) {
        for (id, node) in &self.nodes {
            let Some(running) = &node.running else {
                continue;
            };
            if !running.core.is_leader() {
                continue;
            }
            let term = running.core.term();
            let first = *self.leaders.entry(term).or_insert(*id);
            if first != *id {
                self.failure
                    .get_or_insert(format!("{first} and {id} both led in term {term}"));
            }
        }
    }

    fn judge(mut self) -> Result<(), String> {
        for client in 0..CLIENTS {
            self.hear(client);
            // What was watched last may have been a member that is not in the group any more, and not told.
            self.show(client);
            if let Some(id) = self.newest() {
                self.watch_on(client, id);
            }
            self.show(client);
            if let Some((asked, began, _)) = self.clients[client].asked.take() {
                self.operations.push(Operation {
                    began,
                    ended: u64::MAX,
                    asked,
                    told: Told::Unknown,
                });
            }
        }
        // Who was added and never made it into the group, or was removed and not told, is not of it.
        let mut states: Vec<(u64, State)> = Vec::new();
        let newest = self
            .nodes
            .values()
            .filter_map(|node| node.running.as_ref())
            .map(|running| running.shared.state.read().clone())
            .max_by_key(State::revision)
            .ok_or("no member is up")?;
        let members: Vec<u64> = newest.members().iter().map(|member| member.id).collect();
        for (id, node) in &self.nodes {
            if let Some(running) = node.running.as_ref().filter(|_| members.contains(id)) {
                states.push((*id, running.shared.state.read().clone()));
            }
        }
        let hash = newest.hash(0).map_err(|error| error.to_string())?;
        for (id, state) in &states {
            let other = state.hash(0).map_err(|error| error.to_string())?;
            if other != hash {
                return Err(format!(
                    "member {id} holds {other:?}, another {hash:?}, long after all was healed"
                ));
            }
        }
        let mut events = BTreeMap::new();
        let all = newest
            .events_from(2, usize::MAX)
            .map_err(|error| error.to_string())?;
        for (at, revision) in all.iter().enumerate() {
            events.insert(at as u64 + 2, revision.to_vec());
        }
        for (at, client) in self.clients.iter().enumerate() {
            let expect: Vec<_> = events.iter().map(|(at, events)| (*at, events)).collect();
            let shown: Vec<_> = client
                .shown
                .iter()
                .map(|(at, events)| (*at, events))
                .collect();
            if shown != expect {
                let differ = shown.iter().zip(&expect).position(|(a, b)| a != b);
                return Err(format!(
                    "the watch of client {at} showed {} revisions of {}, and differs at {differ:?}",
                    shown.len(),
                    expect.len()
                ));
            }
        }
        if events.len() < 3 {
            return Err(format!("nothing got done: {} writes", events.len()));
        }
        history::check(&self.operations, &events)?;
        tracing::debug!(
            operations = self.operations.len(),
            writes = events.len(),
            terms = self.leaders.len(),
            members = members.len(),
            "a run was right"
        );
        if std::env::var_os("EUSTON_SIM_VERBOSE").is_some() {
            eprintln!(
                "{} operations, {} writes, {} leaders, {} members",
                self.operations.len(),
                events.len(),
                self.leaders.len(),
                members.len()
            );
        }
        Ok(())
    }
}

fn poll_to_rest(task: &mut HubTask) {
    let mut context = Context::from_waker(Waker::noop());
    // It gives way after every stretch; a few polls without end bring it to where it waits.
    for _ in 0..8 {
        if task.as_mut().poll(&mut context).is_ready() {
            return;
        }
    }
}
