//! Node selectors and node affinity, compiled once per pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use crate::node::NodeFacts;

/// What a pod demands of a node's labels and name, and what it prefers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeTerms {
    /// `spec.nodeSelector`: all of these.
    selector: BTreeMap<String, String>,
    /// Required node affinity: any of these, if there is any.
    required: Option<Vec<Term>>,
    /// Preferred node affinity, with weights of 1 to 100.
    preferred: Vec<(i64, Term)>,
}

/// All requirements of a term must hold; a term without any matches nothing.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    labels: Vec<Requirement>,
    names: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
    /// An operator or a bound that cannot be read: matches no node rather than any.
    Never,
}

impl NodeTerms {
    /// Reads `nodeSelector` and `affinity.nodeAffinity`.
    pub fn of_pod(spec: &PodSpec) -> Self {
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref());
        let required = affinity
            .and_then(|a| {
                a.required_during_scheduling_ignored_during_execution
                    .as_ref()
            })
            .map(|s| s.node_selector_terms.iter().map(Term::compile).collect());
        let preferred = affinity
            .and_then(|a| {
                a.preferred_during_scheduling_ignored_during_execution
                    .as_ref()
            })
            .into_iter()
            .flatten()
            .map(|p| (i64::from(p.weight), Term::compile(&p.preference)))
            .collect();
        Self {
            selector: spec.node_selector.clone().unwrap_or_default(),
            required,
            preferred,
        }
    }

    /// Whether there is any demand.
    pub fn demands_anything(&self) -> bool {
        !self.selector.is_empty() || self.required.is_some()
    }

    /// Whether there is any preference.
    pub fn prefers_anything(&self) -> bool {
        !self.preferred.is_empty()
    }

    /// Whether the node meets the demands.
    pub fn matches(&self, node: &NodeFacts) -> bool {
        self.selector
            .iter()
            .all(|(key, value)| node.labels.get(key) == Some(value))
            && self
                .required
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
    }

    /// The weights of the preferences that the node meets, added up.
    pub fn preference(&self, node: &NodeFacts) -> i64 {
        self.preferred
            .iter()
            .filter(|(_, term)| term.matches(node))
            .map(|(weight, _)| weight)
            .sum()
    }

    /// The only nodes that can match, where the demand is for names: what a DaemonSet writes. Spares
    /// looking at all the others.
    pub fn names(&self) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        for term in self.required.as_ref()? {
            let found = term.names.iter().find_map(|r| match &r.test {
                Test::In(values) if r.key == "metadata.name" => Some(values),
                _ => None,
            });
            names.extend(found?.iter().map(String::as_str));
        }
        Some(names)
    }
}

impl Term {
    fn compile(term: &NodeSelectorTerm) -> Self {
        let all = |list: &Option<Vec<NodeSelectorRequirement>>| {
            list.iter().flatten().map(Requirement::compile).collect()
        };
        Self {
            labels: all(&term.match_expressions),
            names: all(&term.match_fields),
        }
    }

    fn matches(&self, node: &NodeFacts) -> bool {
        if self.labels.is_empty() && self.names.is_empty() {
            return false;
        }
        self.labels
            .iter()
            .all(|r| r.test.holds(node.labels.get(&r.key).map(String::as_str)))
            && self.names.iter().all(|r| {
                // The API allows this one field.
                r.key == "metadata.name" && r.test.holds(Some(&node.name))
            })
    }
}

impl Requirement {
    fn compile(requirement: &NodeSelectorRequirement) -> Self {
        let values = requirement.values.clone().unwrap_or_default();
        let bound = || match values.as_slice() {
            [one] => one.parse::<i64>().ok(),
            _ => None,
        };
        let test = match requirement.operator.as_str() {
            "In" => Test::In(values),
            "NotIn" => Test::NotIn(values),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            "Gt" => bound().map_or(Test::Never, Test::GreaterThan),
            "Lt" => bound().map_or(Test::Never, Test::LessThan),
            _ => Test::Never,
        };
        Self {
            key: requirement.key.clone(),
            test,
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Self::LessThan(bound) => number().is_some_and(|n| n < *bound),
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node() -> NodeFacts {
        NodeFacts {
            name: "n1".into(),
            labels: [("disk", "ssd"), ("cores", "8"), ("empty", "")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            ..NodeFacts::default()
        }
    }

    fn terms(spec: Value) -> NodeTerms {
        let mut spec = spec;
        spec["containers"] = json!([]);
        NodeTerms::of_pod(&serde_json::from_value(spec).unwrap())
    }

    fn required(terms_json: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms_json}}}})
    }

    #[test]
    fn demands_on_labels_and_names() {
        let one = |key: &str, operator: &str, values: &[&str]| {
            required(
                json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]),
            )
        };
        for (spec, expect) in [
            (json!({}), true),
            (json!({"nodeSelector": {"disk": "ssd"}}), true),
            (json!({"nodeSelector": {"disk": "ssd", "empty": ""}}), true),
            (json!({"nodeSelector": {"disk": "hdd"}}), false),
            (json!({"nodeSelector": {"none": ""}}), false),
            (one("disk", "In", &["hdd", "ssd"]), true),
            (one("disk", "In", &["hdd"]), false),
            (one("none", "In", &["x"]), false),
            (one("disk", "NotIn", &["hdd"]), true),
            (one("disk", "NotIn", &["ssd"]), false),
            (one("none", "NotIn", &["x"]), true),
            (one("disk", "Exists", &[]), true),
            (one("none", "Exists", &[]), false),
            (one("none", "DoesNotExist", &[]), true),
            (one("cores", "Gt", &["7"]), true),
            (one("cores", "Gt", &["8"]), false),
            (one("cores", "Lt", &["9"]), true),
            (one("disk", "Gt", &["1"]), false),
            (one("cores", "Gt", &["many"]), false),
            (one("cores", "Gt", &["1", "2"]), false),
            (one("disk", "Like", &["s"]), false),
            (required(json!([])), false),
            (required(json!([{}])), false),
            (
                required(
                    json!([{}, {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]),
                ),
                true,
            ),
            (
                required(
                    json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]),
                ),
                true,
            ),
            (
                required(
                    json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]),
                ),
                false,
            ),
            (
                required(json!([{"matchFields": [{"key": "metadata.uid", "operator": "Exists"}]}])),
                false,
            ),
        ] {
            assert_eq!(terms(spec.clone()).matches(&node()), expect, "{spec}");
        }
    }

    #[test]
    fn a_demand_for_names_narrows_the_search() {
        let named =
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
        let labelled = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
        assert_eq!(terms(required(json!([named]))).names(), Some(vec!["n1"]));
        assert_eq!(terms(required(json!([named, labelled]))).names(), None);
        assert_eq!(terms(json!({"nodeSelector": {"a": "b"}})).names(), None);
    }

    #[test]
    fn preferences_add_up() {
        let spec = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}},
            {"weight": 5, "preference": {"matchExpressions": [{"key": "cores", "operator": "Exists"}]}},
            {"weight": 80, "preference": {"matchExpressions": [{"key": "none", "operator": "Exists"}]}},
        ]}}});
        let terms = terms(spec);
        assert!(terms.prefers_anything() && !terms.demands_anything());
        assert_eq!(terms.preference(&node()), 15);
    }
}
