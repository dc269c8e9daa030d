//! Nodes and the pods on them, kept up to date one object at a time: no event costs more than its
//! own object, however large the cluster is.

use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use euston_client::ObjectKey;

use crate::framework::Events;
use crate::node::{NodeFacts, NodeInfo, Usage};
use crate::pod::PodInfo;

/// A pod on a node.
struct Placed {
    info: Arc<PodInfo>,
    node: Arc<str>,
    /// Decided here, and not seen in the API yet.
    assumed: bool,
}

/// What the scheduler knows. Also the snapshot that a cycle reads: one task owns it and decides
/// without waiting, so nothing changes during a cycle and nothing needs to be copied.
#[derive(Default)]
pub struct Cache {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<Arc<str>, usize>,
    /// Pods whose node is not known (any more): they count again when it comes (back).
    homeless: HashMap<Arc<str>, Usage>,
    pods: HashMap<ObjectKey, Placed>,
}

impl Cache {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// All nodes; the order changes only when a node goes.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// Where in [`Cache::nodes`] a node is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The keys of all pods that stand on a node.
    pub fn pods(&self) -> impl Iterator<Item = &ObjectKey> {
        self.pods.keys()
    }

    /// Takes in a node's present state and says what about it changed.
    pub fn set_node(&mut self, facts: NodeFacts) -> Events {
        let Some(&at) = self.by_name.get(&facts.name) else {
            let usage = self.homeless.remove(&facts.name).unwrap_or_default();
            self.by_name
                .insert(Arc::clone(&facts.name), self.nodes.len());
            self.nodes.push(NodeInfo { facts, usage });
            return Events::NODE_ADDED;
        };
        let old = &self.nodes[at].facts;
        let mut changed = Events::NONE;
        if old.labels != facts.labels {
            changed = changed.and(Events::NODE_LABELS);
        }
        if old.taints != facts.taints || old.unschedulable != facts.unschedulable {
            changed = changed.and(Events::NODE_TAINTS);
        }
        if old.allocatable != facts.allocatable {
            changed = changed.and(Events::NODE_RESOURCES);
        }
        self.nodes[at].facts = facts;
        changed
    }

    /// Forgets a node.
    pub fn remove_node(&mut self, name: &str) {
        let Some((name, at)) = self.by_name.remove_entry(name) else {
            return;
        };
        let gone = self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.by_name.insert(Arc::clone(&moved.facts.name), at);
        }
        if !gone.usage.is_empty() {
            self.homeless.insert(name, gone.usage);
        }
    }

    /// Takes in a pod that the API shows on a node. Says whether a pod went from some other place.
    pub fn set_pod(&mut self, info: PodInfo, node: &str) -> Events {
        match self.pods.get_mut(&info.key) {
            Some(placed) if placed.node.as_ref() == node && *placed.info == info => {
                placed.assumed = false;
                Events::NONE
            }
            _ => {
                let went = self.remove_pod(&info.key.clone());
                self.place(Arc::new(info), node, false);
                went
            }
        }
    }

    /// Counts a pod on a node before the API knows of it.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: &str) {
        self.remove_pod(&info.key.clone());
        self.place(info, node, true);
    }

    /// Takes back an assumption about that very pod; what the API has confirmed stays.
    pub fn forget(&mut self, key: &ObjectKey, uid: &str) -> Events {
        if self.is_assumed(key, uid) {
            self.remove_pod(key)
        } else {
            Events::NONE
        }
    }

    /// Whether the pod was given a node here which the API has not shown yet.
    pub fn is_assumed(&self, key: &ObjectKey, uid: &str) -> bool {
        self.pods
            .get(key)
            .is_some_and(|p| p.assumed && p.info.uid == uid)
    }

    /// Takes a pod off its node.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> Events {
        let Some(placed) = self.pods.remove(key) else {
            return Events::NONE;
        };
        if let Some(&at) = self.by_name.get(&placed.node) {
            self.nodes[at].usage.remove(key);
        } else if let Some(usage) = self.homeless.get_mut(&placed.node) {
            usage.remove(key);
            if usage.is_empty() {
                self.homeless.remove(&placed.node);
            }
        }
        Events::POD_GONE
    }

    fn place(&mut self, info: Arc<PodInfo>, node: &str, assumed: bool) {
        let name: Arc<str> = match self.by_name.get_key_value(node) {
            Some((name, &at)) => {
                self.nodes[at].usage.add(&info);
                Arc::clone(name)
            }
            None => {
                let name: Arc<str> = node.into();
                if self.homeless.is_empty() {
                    self.homeless = HashMap::with_capacity(1);
                }
                self.homeless
                    .entry(Arc::clone(&name))
                    .or_default()
                    .add(&info);
                name
            }
        };
        let placed = Placed {
            info: Arc::clone(&info),
            node: name,
            assumed,
        };
        self.pods.insert(info.key.clone(), placed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::requesting;
    use serde_json::json;

    fn facts(name: &str) -> NodeFacts {
        NodeFacts {
            name: name.into(),
            ..NodeFacts::default()
        }
    }

    fn pod(name: &str) -> PodInfo {
        requesting(name, json!({"cpu": "1"}))
    }

    fn cpu(cache: &Cache, node: &str) -> i64 {
        cache.nodes()[cache.position(node).unwrap()]
            .usage
            .requested
            .cpu_milli
    }

    #[test]
    fn usage_follows_pods_from_assumption_to_end() {
        let mut cache = Cache::new();
        assert_eq!(cache.set_node(facts("a")), Events::NODE_ADDED);
        cache.set_node(facts("b"));
        cache.assume(Arc::new(pod("p")), "a");
        assert_eq!(cpu(&cache, "a"), 1000);
        // Confirmed: no longer to be taken back.
        assert_eq!(cache.set_pod(pod("p"), "a"), Events::NONE);
        assert_eq!(cache.forget(&pod("p").key, "p"), Events::NONE);
        assert_eq!(cpu(&cache, "a"), 1000);
        // Another writer put it elsewhere.
        assert_eq!(cache.set_pod(pod("p"), "b"), Events::POD_GONE);
        assert_eq!((cpu(&cache, "a"), cpu(&cache, "b")), (0, 1000));
        assert_eq!(cache.remove_pod(&pod("p").key), Events::POD_GONE);
        assert_eq!(cache.remove_pod(&pod("p").key), Events::NONE);
        assert_eq!(cpu(&cache, "b"), 0);
    }

    #[test]
    fn an_assumption_is_taken_back_only_for_the_same_pod() {
        let mut cache = Cache::new();
        cache.set_node(facts("a"));
        cache.assume(Arc::new(pod("p")), "a");
        assert_eq!(cache.forget(&pod("p").key, "another uid"), Events::NONE);
        assert_eq!(cpu(&cache, "a"), 1000);
        assert_eq!(cache.forget(&pod("p").key, "p"), Events::POD_GONE);
        assert_eq!(cpu(&cache, "a"), 0);
    }

    #[test]
    fn pods_are_counted_again_when_their_node_returns() {
        let mut cache = Cache::new();
        cache.set_pod(pod("early"), "a");
        cache.set_node(facts("a"));
        cache.set_node(facts("b"));
        cache.set_node(facts("c"));
        assert_eq!(cpu(&cache, "a"), 1000);
        cache.remove_node("a");
        assert_eq!(cache.position("a"), None);
        for name in ["b", "c"] {
            let at = cache.position(name).unwrap();
            assert_eq!(cache.nodes()[at].facts.name.as_ref(), name);
        }
        cache.set_pod(pod("late"), "a");
        cache.remove_pod(&pod("early").key);
        cache.set_node(facts("a"));
        assert_eq!(cpu(&cache, "a"), 1000);
    }

    #[test]
    fn only_real_changes_of_a_node_are_reported() {
        let mut cache = Cache::new();
        cache.set_node(facts("a"));
        assert_eq!(cache.set_node(facts("a")), Events::NONE);
        let cordoned = NodeFacts {
            unschedulable: true,
            ..facts("a")
        };
        assert_eq!(cache.set_node(cordoned.clone()), Events::NODE_TAINTS);
        let labelled = NodeFacts {
            labels: [("a".into(), "b".into())].into(),
            ..facts("a")
        };
        assert_eq!(
            cache.set_node(labelled),
            Events::NODE_LABELS.and(Events::NODE_TAINTS)
        );
    }
}
