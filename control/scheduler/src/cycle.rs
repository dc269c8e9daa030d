//! One decision: filter, score, choose. Pure: everything known in, a node or a diagnosis out.

use std::fmt::Write;

use ahash::{HashMap, HashMapExt};

use crate::cache::Cache;
use crate::framework::{Events, Plugins, Reason};
use crate::node::NodeInfo;
use crate::plugins::AFFINITY_MISMATCH;
use crate::pod::PodInfo;
use crate::random::Random;

/// Up to so many nodes, all that fit are ranked.
const SAMPLE_MIN: usize = 100;
/// Beyond that, ranking stops at 50 % of the nodes less 1 % per 125 nodes, though not below 5 %,
/// as kube-scheduler does it: the best of hundreds is good enough.
const SAMPLE_PERCENT: usize = 50;
const SAMPLE_PERCENT_MIN: usize = 5;
const SAMPLE_NODES_PER_PERCENT: usize = 125;

/// What came out for a pod.
#[derive(Debug)]
pub enum Decision {
    /// The node's position in [`Cache::nodes`].
    Node(usize),
    /// No node suits.
    None(Diagnosis),
}

/// Why no node suits a pod.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many nodes each reason spoke against. A node can have several.
    pub reasons: HashMap<Reason, usize>,
    /// What may change that.
    pub cured_by: Events,
}

impl Diagnosis {
    /// The message of `FailedScheduling`, as kube-scheduler words it.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        reasons.sort_unstable();
        let mut message = format!("0/{} nodes are available", self.nodes);
        if !reasons.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(message, ": {}", reasons.join(", "));
        }
        message.push('.');
        message
    }
}

/// Decides for one pod after another, and remembers where it stopped looking, so that all nodes
/// get their turn.
pub struct Scheduler {
    plugins: Plugins,
    random: Random,
    next_start: usize,
    // Kept for their memory.
    feasible: Vec<usize>,
    totals: Vec<i64>,
    scores: Vec<i64>,
    reasons: Vec<Reason>,
}

impl Scheduler {
    /// Ties are broken by a generator that starts from `seed`.
    pub fn new(plugins: Plugins, seed: u64) -> Self {
        Self {
            plugins,
            random: Random::new(seed),
            next_start: 0,
            feasible: Vec::new(),
            totals: Vec::new(),
            scores: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// Chooses a node for `pod`.
    pub fn decide(&mut self, pod: &PodInfo, cache: &Cache) -> Decision {
        let nodes = cache.nodes();
        let mut diagnosis = Diagnosis {
            nodes: nodes.len(),
            // Without nodes, no filter was asked, and only a node helps.
            cured_by: Events::NODE_ADDED,
            reasons: HashMap::new(),
        };
        self.find_feasible(pod, cache, &mut diagnosis);
        match self.feasible.as_slice() {
            [] => Decision::None(diagnosis),
            [only] => Decision::Node(*only),
            _ => Decision::Node(self.best(pod, nodes)),
        }
    }

    /// Fills `feasible` with positions of nodes that can take the pod.
    fn find_feasible(&mut self, pod: &PodInfo, cache: &Cache, diagnosis: &mut Diagnosis) {
        self.feasible.clear();
        let nodes = cache.nodes();
        if let Some(names) = pod.nodes.names() {
            let mut positions: Vec<usize> =
                names.iter().filter_map(|n| cache.position(n)).collect();
            positions.sort_unstable();
            positions.dedup();
            let unnamed = nodes.len() - positions.len();
            if unnamed > 0 {
                diagnosis.reasons.insert(AFFINITY_MISMATCH, unnamed);
            }
            for at in positions {
                self.ask(pod, nodes, at, diagnosis);
            }
            return;
        }
        let enough = sample_size(nodes.len());
        let mut asked = 0;
        while asked < nodes.len() && self.feasible.len() < enough {
            let at = (self.next_start + asked) % nodes.len();
            asked += 1;
            self.ask(pod, nodes, at, diagnosis);
        }
        if !nodes.is_empty() {
            self.next_start = (self.next_start + asked) % nodes.len();
        }
    }

    fn ask(&mut self, pod: &PodInfo, nodes: &[NodeInfo], at: usize, diagnosis: &mut Diagnosis) {
        for filter in &self.plugins.filters {
            if !filter.applies(pod) {
                continue;
            }
            filter.filter(pod, &nodes[at], &mut self.reasons);
            if !self.reasons.is_empty() {
                diagnosis.cured_by = diagnosis.cured_by.and(filter.cured_by());
                for reason in self.reasons.drain(..) {
                    *diagnosis.reasons.entry(reason).or_insert(0) += 1;
                }
                return;
            }
        }
        self.feasible.push(at);
    }

    /// The position of the node with the highest total; one of them at random if several have it.
    fn best(&mut self, pod: &PodInfo, nodes: &[NodeInfo]) -> usize {
        self.totals.clear();
        self.totals.resize(self.feasible.len(), 0);
        for plugin in &self.plugins.scores {
            if !plugin.applies(pod) {
                continue;
            }
            self.scores.clear();
            let scores = self
                .feasible
                .iter()
                .map(|&at| plugin.score(pod, &nodes[at]));
            self.scores.extend(scores);
            plugin.normalize(&mut self.scores);
            for (total, score) in self.totals.iter_mut().zip(&self.scores) {
                *total += score * plugin.weight();
            }
        }
        let mut best = 0;
        let mut equals = 1;
        for index in 1..self.totals.len() {
            if self.totals[index] > self.totals[best] {
                (best, equals) = (index, 1);
            } else if self.totals[index] == self.totals[best] {
                equals += 1;
                if self.random.one_in(equals) {
                    best = index;
                }
            }
        }
        self.feasible[best]
    }
}

/// How many nodes that can take a pod are enough to choose from.
fn sample_size(nodes: usize) -> usize {
    if nodes <= SAMPLE_MIN {
        return nodes;
    }
    let percent = SAMPLE_PERCENT
        .saturating_sub(nodes / SAMPLE_NODES_PER_PERCENT)
        .max(SAMPLE_PERCENT_MIN);
    (nodes * percent / 100).max(SAMPLE_MIN)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::default_plugins;
    use crate::node::NodeFacts;
    use crate::plugins::testing::{pod, requesting};
    use k8s_openapi::api::core::v1::Node;
    use serde_json::{Value, json};

    fn cache(nodes: &[(&str, Value)]) -> Cache {
        let mut cache = Cache::new();
        for (name, parts) in nodes {
            let mut parts = parts.clone();
            parts["metadata"]["name"] = json!(name);
            if parts["status"].is_null() {
                parts["status"] =
                    json!({"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"}});
            }
            let node: Node = serde_json::from_value(parts).unwrap();
            cache.set_node(NodeFacts::new(&node));
        }
        cache
    }

    fn scheduler() -> Scheduler {
        Scheduler::new(default_plugins(), 7)
    }

    fn refusal(pod: &PodInfo, cache: &Cache) -> String {
        match scheduler().decide(pod, cache) {
            Decision::Node(at) => format!("on {}", cache.nodes()[at].facts.name),
            Decision::None(diagnosis) => diagnosis.message(),
        }
    }

    #[test]
    fn a_refusal_counts_nodes_by_reason() {
        let tainted =
            json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        let three = cache(&[("a", json!({})), ("b", tainted.clone()), ("c", tainted)]);
        assert_eq!(
            refusal(&requesting("p", json!({"cpu": "5"})), &three),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}."
        );
        assert_eq!(
            refusal(
                &requesting("p", json!({"cpu": "5", "memory": "5Gi"})),
                &cache(&[("a", json!({}))])
            ),
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
        );
        assert_eq!(
            refusal(&pod(json!({})), &Cache::new()),
            "no nodes available to schedule pods"
        );
        assert_eq!(
            refusal(&requesting("p", json!({"cpu": "4"})), &three),
            "on a"
        );
    }

    #[test]
    fn a_pod_for_one_node_by_name_goes_there_or_nowhere() {
        let named = |name: &str| {
            pod(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
                ]}}}}),
            )
        };
        let full = json!({"status": {"allocatable": {"pods": "0"}}});
        let three = cache(&[("a", json!({})), ("b", json!({})), ("c", full)]);
        assert_eq!(refusal(&named("b"), &three), "on b");
        assert_eq!(
            refusal(&named("c"), &three),
            "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't match Pod's node affinity/selector."
        );
        assert_eq!(
            refusal(&named("z"), &three),
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
        );
    }

    #[test]
    fn large_clusters_are_sampled() {
        for (nodes, expect) in [
            (0, 0),
            (1, 1),
            (100, 100),
            (101, 100),
            (1000, 420),
            (5000, 500),
            (50_000, 2500),
        ] {
            assert_eq!(sample_size(nodes), expect, "{nodes}");
        }
    }

    #[test]
    fn replicas_spread_evenly_and_the_same_seed_decides_the_same() {
        let run = || {
            let nodes: Vec<_> = (0..4).map(|i| format!("n{i}")).collect();
            let nodes: Vec<_> = nodes.iter().map(|n| (n.as_str(), json!({}))).collect();
            let mut cache = cache(&nodes);
            let mut scheduler = scheduler();
            let mut chosen = Vec::new();
            for i in 0..40 {
                let mut pod = requesting(&format!("p{i}"), json!({}));
                pod.owner = Some("rs".into());
                let Decision::Node(at) = scheduler.decide(&pod, &cache) else {
                    panic!("everything fits")
                };
                let name = Arc::clone(&cache.nodes()[at].facts.name);
                cache.assume(Arc::new(pod), &name);
                chosen.push(name);
            }
            for node in cache.nodes() {
                assert_eq!(node.usage.of_owner("rs"), 10, "{}", node.facts.name);
            }
            chosen
        };
        assert_eq!(run(), run());
    }

    /// A whole day of a large cluster, in memory: every pod lands, no node is overfilled, and what
    /// does not fit says so.
    #[test]
    fn thousands_of_hollow_nodes_fill_up_without_overcommitting() {
        let mut cache = Cache::new();
        for i in 0..2000 {
            let node: Node = serde_json::from_value(json!({
                "metadata": {"name": format!("n{i}")},
                "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}},
            }))
            .unwrap();
            cache.set_node(NodeFacts::new(&node));
        }
        let mut scheduler = scheduler();
        let template = requesting("template", json!({"cpu": "250m", "memory": "64Mi"}));
        let place = |scheduler: &mut Scheduler, cache: &mut Cache, i: usize| {
            let mut pod = template.clone();
            pod.key = euston_client::ObjectKey::new("default", &format!("p{i}"));
            pod.owner = Some(format!("rs-{}", i % 50).into());
            match scheduler.decide(&pod, cache) {
                Decision::Node(at) => {
                    let name = Arc::clone(&cache.nodes()[at].facts.name);
                    cache.assume(Arc::new(pod), &name);
                    true
                }
                Decision::None(_) => false,
            }
        };
        for i in 0..8000 {
            assert!(place(&mut scheduler, &mut cache, i), "pod {i} of 8000 fits");
        }
        for node in cache.nodes() {
            assert_eq!(node.usage.requested.cpu_milli, 1000, "{}", node.facts.name);
        }
        assert!(
            !place(&mut scheduler, &mut cache, 8000),
            "every node is full"
        );
        cache.remove_pod(&euston_client::ObjectKey::new("default", "p17"));
        assert!(
            place(&mut scheduler, &mut cache, 8001),
            "one place is free again"
        );
    }
}
