//! Garbage collection: what lost its last owner is deleted, foreground and orphaning deletions are
//! seen through, and pods that nothing cares for any more are removed.

mod graph;
mod monitor;
mod plan;
mod pods;

use std::collections::HashSet;
use std::sync::Arc;

use ahash::RandomState;
use euston_api::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use euston_client::{EventRecorder, EventType, Next, WorkQueue, errors, run_workers};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::discovery::Kind;
use crate::error::{Attempt, Error};
use graph::{Deletion, Graph, Node, Uid, blocks, group_of};
use plan::{Owner, Verdict};

/// Objects judged at once.
const WORKERS: usize = 32;

/// Owners known to be gone are remembered (they never come back) so that a thousand pods of one
/// deleted ReplicaSet cost one read of it. Cleared when full: then they are read again.
const ABSENT_MAX: usize = 10_000;

pub(crate) struct Collector {
    shared: Arc<Shared>,
    recorder: EventRecorder,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<Uid>,
    kinds: Mutex<Arc<Vec<Kind>>>,
    /// See [`absence`].
    absent: Mutex<HashSet<String, RandomState>>,
    rediscover: Arc<Notify>,
    /// Every kind has been listed once. Before that an object may look as if it had no
    /// dependents, and would be let go without them.
    complete: CancellationToken,
}

pub(crate) async fn run(shared: Arc<Shared>) {
    let collector = Arc::new(Collector {
        recorder: EventRecorder::new(shared.client.clone(), "garbage-collector-controller", None),
        graph: Arc::default(),
        queue: WorkQueue::default(),
        kinds: Mutex::default(),
        absent: Mutex::default(),
        rediscover: Arc::default(),
        complete: CancellationToken::new(),
        shared: shared.clone(),
    });
    let reconcile = {
        let collector = collector.clone();
        move |uid: Uid| {
            let collector = collector.clone();
            async move { collector.reconcile(&uid).await }
        }
    };
    let collect = async {
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = collector.complete.cancelled() => {}
        }
        let (queue, shutdown) = (collector.queue.clone(), shared.shutdown.clone());
        run_workers("garbage-collector", queue, WORKERS, shutdown, reconcile).await;
    };
    tokio::join!(
        monitor::run(collector.clone()),
        collect,
        pods::run(shared.clone()),
    );
}

/// Under which words an owner is remembered as gone: the uid alone would let a reference from
/// the wrong namespace speak for the right one.
fn absence(node: &Node, owner: &OwnerReference) -> String {
    format!(
        "{} {} {} {}/{}",
        owner.uid, owner.api_version, owner.kind, node.namespace, owner.name
    )
}

impl Collector {
    fn set_kinds(&self, kinds: Vec<Kind>) {
        *self.kinds.lock() = Arc::new(kinds);
    }

    async fn reconcile(&self, uid: &Uid) -> Result<Next, Error> {
        let Some(node) = self.graph.lock().get(uid).cloned() else {
            return Ok(Next::Done);
        };
        match node.deletion {
            Deletion::Going => Ok(Next::Done),
            Deletion::Orphan => self.let_dependents_go(uid, &node).await,
            Deletion::Foreground => self.wait_for_dependents(uid, &node).await,
            Deletion::No => self.judge(uid, node).await,
        }
    }

    /// Reads the object as it is now; `None` if it is gone or another one bears its name.
    async fn live(&self, uid: &str, node: &Node) -> Result<Option<ObjectMeta>, Error> {
        let found = node
            .kind
            .api(&self.shared.client, &node.namespace)
            .get_opt(&node.name)
            .await;
        let found = found.attempting(|| format!("read {}", node.describe()))?;
        Ok(found
            .map(|object| object.metadata)
            .filter(|meta| meta.uid.as_deref() == Some(uid)))
    }

    /// Decides about an object with owners. First on the state that the cache has, with every write
    /// bound to its resourceVersion; if that is outdated, once more on the live state.
    async fn judge(&self, uid: &Uid, mut node: Node) -> Result<Next, Error> {
        for fresh in [false, true] {
            if fresh {
                let Some(meta) = self.live(uid, &node).await? else {
                    return Ok(Next::Done);
                };
                if meta.deletion_timestamp.is_some() {
                    return Ok(Next::Done);
                }
                node = Node::new(&node.kind, &meta);
            }
            let mut owners = Vec::with_capacity(node.owners.len());
            for owner in &node.owners {
                owners.push(self.state_of(&node, owner).await?);
            }
            let (has_dependents, circle) = {
                let graph = self.graph.lock();
                (graph.has_dependents(uid), graph.may_be_in_a_circle(uid))
            };
            let verdict = plan::verdict(&owners, node.policy.clone(), has_dependents);
            let outcome = if circle && verdict == Verdict::Delete(PropagationPolicy::Foreground) {
                // The change brings it back here, and then it holds nobody back.
                self.stop_blocking(uid, &node).await
            } else {
                self.carry_out(uid, &node, verdict).await
            };
            match outcome {
                Err(error) if !fresh && error.api().is_some_and(errors::is_conflict) => {}
                result => return result.map(|()| Next::Done),
            }
        }
        Err(Error::NotYet(format!(
            "{} keeps changing while it is judged",
            node.describe()
        )))
    }

    /// The state of one owner. Absence, and the wish to see dependents gone, are believed only from
    /// the API; presence may be believed from the cache, since it leads to nothing.
    async fn state_of(&self, node: &Node, owner: &OwnerReference) -> Result<Owner, Error> {
        let absence = absence(node, owner);
        if self.absent.lock().contains(&absence) {
            return Ok(Owner::Absent);
        }
        let namesake = {
            let graph = self.graph.lock();
            let known = graph.get(&owner.uid);
            let meant = known.filter(|known| known.is_meant_by(owner, &node.namespace));
            if meant.is_some_and(|meant| meant.deletion != Deletion::Foreground) {
                return Ok(Owner::Solid);
            }
            known.is_some() && meant.is_none()
        };
        let kind = self.kind_of(owner).ok_or_else(|| {
            // It may have been defined a moment ago.
            self.rediscover.notify_one();
            Error::NotYet(format!(
                "{} has an owner of a kind that is not served: {} {}",
                node.describe(),
                owner.api_version,
                owner.kind
            ))
        })?;
        if kind.namespaced && node.namespace.is_empty() {
            let why = "names a namespaced owner, which a cluster-scoped object cannot have";
            self.report_impossible_owner(node, owner, why);
            return Ok(Owner::Solid);
        }
        let api = kind.api(&self.shared.client, &node.namespace);
        let attempt = || {
            format!(
                "read {} {}, an owner of {}",
                kind.qualified(),
                owner.name,
                node.describe()
            )
        };
        let found = api.get_opt(&owner.name).await.attempting(attempt)?;
        match found.filter(|found| found.metadata.uid.as_deref() == Some(owner.uid.as_str())) {
            None => {
                let mut absent = self.absent.lock();
                if absent.len() >= ABSENT_MAX {
                    absent.clear();
                }
                absent.insert(absence);
                drop(absent);
                if namesake {
                    let why = format!("does not exist in namespace {:?}", node.namespace);
                    self.report_impossible_owner(node, owner, &why);
                }
                Ok(Owner::Absent)
            }
            Some(found) if Deletion::of(&found.metadata) == Deletion::Foreground => {
                Ok(Owner::Waiting)
            }
            Some(_) => Ok(Owner::Solid),
        }
    }

    fn kind_of(&self, owner: &OwnerReference) -> Option<Kind> {
        let group = group_of(owner);
        let kinds = self.kinds.lock().clone();
        kinds
            .iter()
            .find(|kind| kind.resource.kind == owner.kind && kind.resource.group == group)
            .cloned()
    }

    fn report_impossible_owner(&self, node: &Node, owner: &OwnerReference, why: &str) {
        let about = ObjectReference {
            api_version: Some(node.kind.resource.api_version.clone()),
            kind: Some(node.kind.resource.kind.clone()),
            name: Some(node.name.clone()),
            namespace: Some(node.namespace.clone()).filter(|n| !n.is_empty()),
            ..ObjectReference::default()
        };
        let message = format!(
            "ownerRef [{}/{}, name: {}, uid: {}] {why}",
            owner.api_version, owner.kind, owner.name, owner.uid
        );
        self.recorder.event(
            &about,
            EventType::Warning,
            "OwnerRefInvalidNamespace",
            message,
        );
    }

    /// Takes back the object's wish that its owners wait for it.
    async fn stop_blocking(&self, uid: &str, node: &Node) -> Result<(), Error> {
        let free = node.owners.iter().map(|owner| OwnerReference {
            block_owner_deletion: Some(false),
            ..owner.clone()
        });
        let patch = json!({"ownerReferences": free.collect::<Vec<_>>()});
        self.patch_metadata(uid, node, patch, "break the circle of owners of")
            .await
    }

    async fn carry_out(&self, uid: &str, node: &Node, verdict: Verdict) -> Result<(), Error> {
        match verdict {
            Verdict::Keep => Ok(()),
            Verdict::DropReferences(positions) => {
                let kept: Vec<&OwnerReference> = node
                    .owners
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| !positions.contains(i))
                    .map(|(_, owner)| owner)
                    .collect();
                let patch = json!({"ownerReferences": kept});
                self.patch_metadata(uid, node, patch, "drop the absent owners of")
                    .await
            }
            Verdict::Delete(policy) => {
                let api = node.kind.api(&self.shared.client, &node.namespace);
                let params = DeleteParams {
                    propagation_policy: Some(policy),
                    preconditions: Some(Preconditions {
                        uid: Some(uid.to_owned()),
                        resource_version: node.resource_version.clone(),
                    }),
                    ..DeleteParams::default()
                };
                match api.delete(&node.name, &params).await {
                    Ok(_) => Ok(()),
                    Err(error) if errors::is_not_found(&error) => Ok(()),
                    Err(error) => Err(error).attempting(|| {
                        format!("delete {}, whose owners are gone", node.describe())
                    }),
                }
            }
        }
    }

    /// Patches metadata, bound to the uid and resourceVersion that the decision was made on.
    async fn patch_metadata(
        &self,
        uid: &str,
        node: &Node,
        mut patch: serde_json::Value,
        purpose: &str,
    ) -> Result<(), Error> {
        if let Some(fields) = patch.as_object_mut() {
            fields.insert("uid".to_owned(), json!(uid));
            fields.insert("resourceVersion".to_owned(), json!(node.resource_version));
        }
        let api = node.kind.api(&self.shared.client, &node.namespace);
        match api
            .patch(
                &node.name,
                &PatchParams::default(),
                &Patch::Merge(json!({"metadata": patch})),
            )
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if errors::is_not_found(&error) => Ok(()),
            Err(error) => Err(error).attempting(|| format!("{purpose} {}", node.describe())),
        }
    }

    /// Lets an object go whose blocking dependents are gone; before that, sees to them.
    async fn wait_for_dependents(&self, uid: &Uid, node: &Node) -> Result<Next, Error> {
        let dependents = self.graph.lock().dependents(uid);
        let blocking: Vec<&(Uid, Node)> = dependents
            .iter()
            .filter(|(_, dependent)| {
                dependent
                    .owners
                    .iter()
                    .any(|owner| *owner.uid == **uid && blocks(owner))
            })
            .collect();
        if blocking.is_empty() {
            self.remove_finalizer(uid, node, FINALIZER_FOREGROUND)
                .await?;
            return Ok(Next::Done);
        }
        for (dependent, _) in blocking
            .iter()
            .filter(|(_, dependent)| dependent.deletion == Deletion::No)
        {
            self.queue.add(dependent.clone());
        }
        // The last one to go brings us back.
        Ok(Next::Done)
    }

    /// Takes this owner out of every dependent, then lets it go.
    async fn let_dependents_go(&self, uid: &Uid, node: &Node) -> Result<Next, Error> {
        let dependents = self.graph.lock().dependents(uid);
        let outcome = crate::writes::all(dependents, |(dependent_uid, dependent)| async move {
            let Some(meta) = self.live(&dependent_uid, &dependent).await? else {
                return Ok(());
            };
            let current = Node::new(&dependent.kind, &meta);
            let kept: Vec<&OwnerReference> = current
                .owners
                .iter()
                .filter(|owner| *owner.uid != **uid)
                .collect();
            if kept.len() == current.owners.len() {
                return Ok(());
            }
            let patch = json!({"ownerReferences": kept});
            self.patch_metadata(&dependent_uid, &current, patch, "let go of")
                .await
        })
        .await;
        if let Some(error) = outcome.failed.into_iter().next() {
            return Err(error);
        }
        self.remove_finalizer(uid, node, FINALIZER_ORPHAN).await?;
        Ok(Next::Done)
    }

    async fn remove_finalizer(&self, uid: &str, node: &Node, finalizer: &str) -> Result<(), Error> {
        let Some(meta) = self.live(uid, node).await? else {
            return Ok(());
        };
        let mut finalizers = meta.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|present| present == finalizer) {
            return Ok(());
        }
        finalizers.retain(|present| present != finalizer);
        let current = Node::new(&node.kind, &meta);
        let patch = json!({"finalizers": finalizers});
        self.patch_metadata(
            uid,
            &current,
            patch,
            &format!("remove the finalizer {finalizer} of"),
        )
        .await
    }
}
