//! Two opinions on how full a node becomes: as empty as possible, and cpu as full as memory.

use crate::framework::{SCORE_MAX, Score};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct LeastAllocated;
pub(super) struct BalancedAllocation;

/// Parts of cpu and memory in use with the pod on the node, 0 to [`SCORE_MAX`]. A node that has
/// none of a resource counts as full.
fn used(pod: &PodInfo, node: &NodeInfo) -> [i64; 2] {
    let part = |used: i64, wanted: i64, has: i64| {
        if has <= 0 {
            return SCORE_MAX;
        }
        let sum = i128::from(used) + i128::from(wanted);
        (sum * i128::from(SCORE_MAX) / i128::from(has)).clamp(0, i128::from(SCORE_MAX)) as i64
    };
    let (usage, has) = (&node.usage, &node.facts.allocatable);
    [
        part(usage.scored_cpu_milli, pod.scored_cpu_milli, has.cpu_milli),
        part(usage.scored_memory, pod.scored_memory, has.memory),
    ]
}

impl Score for LeastAllocated {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let [cpu, memory] = used(pod, node);
        SCORE_MAX - (cpu + memory) / 2
    }
}

impl Score for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        // The standard deviation of two numbers is half their distance.
        let [cpu, memory] = used(pod, node);
        SCORE_MAX - (cpu - memory).abs() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{allocatable, node, requesting};
    use super::*;
    use serde_json::{Value, json};

    fn check(used: Value, wanted: Value, least: i64, balanced: i64) {
        let case = format!("{used} {wanted}");
        let has = allocatable(json!({"cpu": "10", "memory": "1000Mi"}));
        let node = node(has, vec![requesting("used", used)]);
        let pod = requesting("new", wanted);
        let scores = (
            LeastAllocated.score(&pod, &node),
            BalancedAllocation.score(&pod, &node),
        );
        assert_eq!(scores, (least, balanced), "{case}");
    }

    #[test]
    fn emptier_and_more_even_nodes_score_higher() {
        let half = json!({"cpu": "2500m", "memory": "250Mi"});
        check(half.clone(), half.clone(), 500_000, 1_000_000);
        check(
            json!({"cpu": "4", "memory": "250Mi"}),
            json!({"cpu": "4", "memory": "250Mi"}),
            350_000,
            850_000,
        );
        check(
            json!({"cpu": "9"}),
            json!({"cpu": "9", "memory": "984Mi"}),
            0,
            1_000_000,
        );
        // Pods that ask for nothing still weigh something.
        check(json!({}), json!({}), 983_000, 985_000);
    }

    #[test]
    fn a_node_that_says_nothing_of_itself_is_full() {
        let bare = node(json!({}), vec![]);
        assert_eq!(LeastAllocated.score(&requesting("p", json!({})), &bare), 0);
    }
}
