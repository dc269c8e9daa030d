//! The one task around the decisions: news in, bindings out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use euston_client::{
    ChangeBatch, Changes, EventRecorder, EventType, Informer, ObjectKey, Selection,
};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bind::{Bound, Outcome, bind};
use crate::cache::Cache;
use crate::cycle::{Decision, Diagnosis, Scheduler};
use crate::framework::Events;
use crate::node::NodeFacts;
use crate::plugins::default_plugins;
use crate::pod::{PodInfo, Situation, situation};
use crate::queue::Queue;
use crate::report::{says, write_condition};

/// Decisions between two looks at the news: a few milliseconds' worth.
const DECISIONS_PER_TURN: usize = 64;
/// Conditions being written at one time. When full, a pod's condition is left for its next attempt.
const CONDITIONS_MAX: usize = 32;
/// With nothing to do, nothing needs a timer; this only keeps the select! simple.
const IDLE: Duration = Duration::from_secs(3600);

/// How the scheduler runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pods ask for a scheduler by this name. Default `default-scheduler`.
    pub name: String,
    /// Bindings under way at one time; when full, deciding pauses. Default 128: enough to keep an
    /// API server busy whose writes are grouped, and few enough to be forgotten quickly if it fails.
    pub bindings_max: usize,
    /// Seed of the generator that breaks ties. Default: from the clock.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        Self {
            name: "default-scheduler".to_owned(),
            bindings_max: 128,
            seed: clock,
        }
    }
}

/// Why the scheduler ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The watch of a kind ended.
    #[error("the scheduler stops: it can no longer follow {0}")]
    Lost(&'static str),
}

/// Schedules pods until `shutdown`. Talks to the API through `client` alone.
///
/// # Errors
/// When an informer ends although nobody asked for it.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let nodes: Informer<Node> = Informer::start(client.clone(), Selection::all(), shutdown.clone());
    // Pods that have ended use nothing and are never scheduled; the server leaves them out.
    let living = Selection::fields("status.phase!=Succeeded,status.phase!=Failed");
    let pods: Informer<Pod> = Informer::builder(Api::all(client.clone()))
        .select(living)
        .trim(trim)
        .start(shutdown.clone());
    // Deciding before both lists are complete would pile everything onto the first node seen.
    if !nodes.synced().await || !pods.synced().await {
        return if shutdown.is_cancelled() {
            Ok(())
        } else {
            Err(Error::Lost("nodes and pods"))
        };
    }
    let driver = Driver {
        events: EventRecorder::new(client.clone(), &options.name, None),
        scheduler: Scheduler::new(default_plugins(), options.seed),
        cache: Cache::new(),
        queue: Queue::new(),
        bindings: JoinSet::new(),
        conditions: JoinSet::new(),
        client,
        options,
        nodes,
        pods,
    };
    driver.run(shutdown).await
}

/// Drops what no plugin reads; a pod's spec is mostly environment and probes.
fn trim(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        spec.volumes = None;
        for container in spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
        {
            container.env = None;
            container.env_from = None;
            container.command = None;
            container.args = None;
            container.volume_mounts = None;
            container.liveness_probe = None;
            container.readiness_probe = None;
            container.startup_probe = None;
        }
    }
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
        status.init_container_statuses = None;
    }
    pod.metadata.annotations = None;
}

struct Driver {
    client: Client,
    options: Options,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    events: EventRecorder,
    scheduler: Scheduler,
    cache: Cache,
    queue: Queue,
    bindings: JoinSet<Bound>,
    conditions: JoinSet<()>,
}

impl Driver {
    async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut node_changes: Changes = self.nodes.subscribe();
        let mut pod_changes: Changes = self.pods.subscribe();
        // Nodes first, so that the first decisions see all of them, and pods where they are.
        let now = Instant::now();
        if let Some(batch) = first(&mut node_changes).await {
            self.take_nodes(batch, now);
        }
        if let Some(batch) = first(&mut pod_changes).await {
            self.take_pods(batch, now);
        }
        loop {
            let now = Instant::now();
            let busy = self.decide(now);
            let wake = self.queue.next_timer().unwrap_or(now + IDLE);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = self.bindings.join_next() => {
                    self.finish(done);
                    while let Some(done) = self.bindings.try_join_next() {
                        self.finish(done);
                    }
                }
                batch = node_changes.next() => match batch {
                    Some(batch) => self.take_nodes(batch, Instant::now()),
                    None => return ended(&shutdown, "nodes"),
                },
                batch = pod_changes.next() => match batch {
                    Some(batch) => self.take_pods(batch, Instant::now()),
                    None => return ended(&shutdown, "pods"),
                },
                Some(_) = self.conditions.join_next() => {}
                () = tokio::task::yield_now(), if busy => {}
                () = tokio::time::sleep_until(wake.into()), if !busy => {}
            }
        }
        // Bindings under way are let go: each is one request, and who schedules next sees its result.
        Ok(())
    }

    /// Decides about some pods that are ready. True if more are ready and may be decided about.
    fn decide(&mut self, now: Instant) -> bool {
        for _ in 0..DECISIONS_PER_TURN {
            if self.bindings.len() >= self.options.bindings_max {
                return false;
            }
            let Some(pod) = self.queue.pop(now) else {
                return false;
            };
            match self.scheduler.decide(&pod, &self.cache) {
                Decision::Node(at) => {
                    let node = Arc::clone(&self.cache.nodes()[at].facts.name);
                    self.cache.assume(Arc::clone(&pod), &node);
                    self.bindings.spawn(bind(self.client.clone(), pod, node));
                }
                Decision::None(diagnosis) => self.refuse(&pod, &diagnosis, now),
            }
        }
        true
    }

    fn refuse(&mut self, pod: &PodInfo, diagnosis: &Diagnosis, now: Instant) {
        self.queue.unschedulable(&pod.key, diagnosis.cured_by, now);
        let message = diagnosis.message();
        self.events.event(
            &about(pod),
            EventType::Warning,
            "FailedScheduling",
            message.clone(),
        );
        let said = self
            .pods
            .get_key(&pod.key)
            .is_some_and(|p| says(&p, &message));
        if !said && self.conditions.len() < CONDITIONS_MAX {
            let (client, pod) = (self.client.clone(), pod.clone());
            self.conditions
                .spawn(async move { write_condition(client, &pod, message).await });
        }
    }

    fn finish(&mut self, done: Result<Bound, tokio::task::JoinError>) {
        let Bound { pod, node, outcome } = match done {
            Ok(bound) => bound,
            Err(e) => {
                // Panics are caught inside, and nothing aborts these tasks.
                tracing::error!(error = %e, "a binding's task was lost");
                return;
            }
        };
        let now = Instant::now();
        match outcome {
            Outcome::Bound => {
                // Stays in the cache as assumed until the informer shows it.
                self.queue.remove(&pod.key);
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.events
                    .event(&about(&pod), EventType::Normal, "Scheduled", message);
            }
            Outcome::Gone => {
                let freed = self.cache.forget(&pod.key, &pod.uid);
                self.queue.happened(freed, now);
                self.requeue(&pod, now);
            }
            Outcome::Conflict(why) | Outcome::Failed(why) => {
                tracing::debug!(pod = %pod.key, %node, %why, "binding failed");
                let freed = self.cache.forget(&pod.key, &pod.uid);
                self.queue.happened(freed, now);
                self.requeue(&pod, now);
            }
        }
    }

    /// After a failed binding, goes by what the API shows of the pod now.
    fn requeue(&mut self, pod: &PodInfo, now: Instant) {
        self.queue.retry(&pod.key, now);
        let events = self.take_pod(&pod.key, now);
        self.queue.happened(events, now);
    }

    fn take_nodes(&mut self, batch: ChangeBatch, now: Instant) {
        let mut events = Events::NONE;
        match batch {
            ChangeBatch::Keys(keys) => {
                for key in keys {
                    events = events.and(self.take_node(&key.name));
                }
            }
            ChangeBatch::Relist => {
                let known: Vec<Arc<str>> = self
                    .cache
                    .nodes()
                    .iter()
                    .map(|n| Arc::clone(&n.facts.name))
                    .collect();
                let listed = self.nodes.list();
                let listed = listed
                    .iter()
                    .filter_map(|n| n.metadata.name.as_deref().map(Arc::from));
                for name in known.into_iter().chain(listed) {
                    events = events.and(self.take_node(&name));
                }
            }
        }
        self.queue.happened(events, now);
    }

    fn take_node(&mut self, name: &str) -> Events {
        match self.nodes.get("", name) {
            Some(node) => self.cache.set_node(NodeFacts::new(&node)),
            None => {
                self.cache.remove_node(name);
                Events::NONE
            }
        }
    }

    fn take_pods(&mut self, batch: ChangeBatch, now: Instant) {
        let mut events = Events::NONE;
        match batch {
            ChangeBatch::Keys(keys) => {
                for key in keys {
                    events = events.and(self.take_pod(&key, now));
                }
            }
            ChangeBatch::Relist => {
                let mut keys: Vec<ObjectKey> = self
                    .cache
                    .pods()
                    .chain(self.queue.pods())
                    .cloned()
                    .collect();
                keys.extend(self.pods.list().iter().map(|p| ObjectKey::of(&p.metadata)));
                for key in keys {
                    events = events.and(self.take_pod(&key, now));
                }
            }
        }
        self.queue.happened(events, now);
    }

    /// Makes cache and queue agree with what the informer shows of one pod.
    fn take_pod(&mut self, key: &ObjectKey, now: Instant) -> Events {
        let Some(pod) = self.pods.get_key(key) else {
            self.queue.remove(key);
            return self.cache.remove_pod(key);
        };
        match situation(&pod, &self.options.name) {
            Situation::Assigned(node) => {
                self.queue.remove(key);
                self.cache.set_pod(PodInfo::new(&pod), node)
            }
            Situation::Pending => {
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                if self.cache.is_assumed(key, uid) {
                    // The informer is behind the binding; its news of this pod are old.
                    return Events::NONE;
                }
                let went = self.cache.remove_pod(key);
                self.queue.set(PodInfo::new(&pod), now);
                went
            }
            Situation::NotOurs => {
                self.queue.remove(key);
                self.cache.remove_pod(key)
            }
        }
    }
}

/// What is there already, without waiting for more.
async fn first(changes: &mut Changes) -> Option<ChangeBatch> {
    tokio::select! {
        biased;
        batch = changes.next() => batch,
        () = tokio::task::yield_now() => None,
    }
}

fn ended(shutdown: &CancellationToken, what: &'static str) -> Result<(), Error> {
    if shutdown.is_cancelled() {
        Ok(())
    } else {
        Err(Error::Lost(what))
    }
}

fn about(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.key.namespace.to_string()),
        name: Some(pod.key.name.to_string()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}
