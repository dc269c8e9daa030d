//! The scheduler of a simulation: virtual time, members, network, clients.

mod clients;
mod disturbances;
mod leases;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use raft::RawNode;
use raft::eraftpb::{ConfState, Message, MessageType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::disk::{Image, SimDisk, install};
use super::history::{Asked, Operation};
use super::{Faults, Planted};
use crate::error::{Error, StopCause};
use crate::kv::{Event, Revision};
use crate::member::Member;
use crate::mvcc::{Outcome, State};
use crate::node::core::{Arrived, Core, Options, Outlet};
use crate::node::frame::Frame;
use crate::node::log::Position;
use crate::node::snapshot::Meta;
use crate::node::start::raft_config;
use crate::node::{Shared, logger};
use crate::watch::{Hub, Watcher};
use leases::Holder;

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
    /// The lease that was last seen in its state.
    lease: i64,
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
    holder: Holder,
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
            holder: Holder::default(),
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
            self.check_lease();
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
        if self.faults.is(Planted::ForgottenVotes) {
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
            lease: 0,
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
        core.at(Duration::from_millis(self.now - running.began));
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

    /// A frame as it arrives where a mistake is planted in how frames are understood.
    fn tampered(&mut self, mut frame: Frame) -> Frame {
        match &mut frame {
            Frame::Raft(message) if self.faults.is(Planted::UncheckedVotes) => {
                let asks = [MessageType::MsgRequestVote, MessageType::MsgRequestPreVote];
                if asks.contains(&message.get_msg_type()) {
                    // No log is further than this.
                    message.log_term = u64::MAX;
                    message.index = u64::MAX;
                }
            }
            Frame::Forward { id, again, .. }
                if *again && self.faults.is(Planted::RepeatedWrites) =>
            {
                // Not known under this number, so not known to be there already.
                id.sequence |= 1 << 63;
                *again = false;
            }
            _ => {}
        }
        frame
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
                let jump = if self.faults.is(Planted::JumpingClocks) {
                    // Some members' clocks run ahead.
                    id % 3 * 1000
                } else {
                    0
                };
                self.drive(id, |core| {
                    core.tick(Duration::from_millis(now - began + jump));
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
                    Ok(frame) => {
                        let frame = self.tampered(frame);
                        self.drive(to, |core| core.receive(from, frame));
                    }
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
