//! A node that has the code already starts the pod sooner.

use crate::framework::{SCORE_MAX, Score};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) struct ImageLocality;

impl Score for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn applies(&self, pod: &PodInfo) -> bool {
        !pod.images.is_empty()
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let here = pod
            .images
            .iter()
            .filter(|i| node.facts.images.contains(i.as_str()))
            .count();
        // A program takes milliseconds to fetch and compile: worth less than an even load, hence a
        // tenth of the scale.
        here as i64 * SCORE_MAX / 10 / pod.images.len().max(1) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{node, pod};
    use super::*;
    use serde_json::json;

    #[test]
    fn images_that_are_there_count() {
        let two = pod(
            json!({"containers": [{"name": "a", "image": "a:v1"}, {"name": "b", "image": "b:v1"}]}),
        );
        let with = |names: &[&str]| node(json!({"status": {"images": [{"names": names}]}}), vec![]);
        for (names, expect) in [
            (&[][..], 0),
            (&["a:v1"], 50_000),
            (&["a:v1", "b:v1"], 100_000),
            (&["a:v2"], 0),
        ] {
            assert_eq!(ImageLocality.score(&two, &with(names)), expect, "{names:?}");
        }
    }
}
