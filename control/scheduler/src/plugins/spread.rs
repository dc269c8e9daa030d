//! Replicas of one owner stand on different nodes where they can, so that one node's death leaves
//! some of them. A preference; demands are `topologySpreadConstraints`.

use crate::framework::{Score, normalize_by_largest};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct OwnerSpread;

impl Score for OwnerSpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn applies(&self, pod: &PodInfo) -> bool {
        pod.owner.is_some()
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let owner = pod.owner.as_deref().unwrap_or_default();
        i64::from(node.usage.of_owner(owner))
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_largest(scores, true);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{named_pod, node};
    use super::*;
    use crate::framework::SCORE_MAX;
    use serde_json::json;

    #[test]
    fn fewer_replicas_of_the_same_owner_score_higher() {
        let replica = |name: &str, owner: &str| {
            let mut pod = named_pod(name, json!({}));
            pod.owner = Some(owner.into());
            pod
        };
        let pod = replica("new", "a");
        let two = node(
            json!({}),
            vec![replica("1", "a"), replica("2", "a"), replica("3", "b")],
        );
        let one = node(json!({}), vec![replica("4", "a")]);
        let none = node(json!({}), vec![replica("5", "b")]);
        let mut scores = [&two, &one, &none].map(|n| OwnerSpread.score(&pod, n));
        OwnerSpread.normalize(&mut scores);
        assert_eq!(scores, [0, SCORE_MAX / 2, SCORE_MAX]);
        assert!(!OwnerSpread.applies(&named_pod("bare", json!({}))));
    }
}
