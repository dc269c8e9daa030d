//! The shape of a plugin: pure functions of a pod, a node, and everything known.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// The best a node can score in one plugin. Finer than Kubernetes' 100, for a node of Euston takes
/// ten thousand pods, and one pod more must still make a difference.
pub const SCORE_MAX: i64 = 1_000_000;

/// Why a node does not suit a pod, in the words of `FailedScheduling`. Cheap to make per node.
#[derive(Clone, Debug, Eq)]
pub enum Reason {
    /// Always the same words.
    Fixed(&'static str),
    /// Words that name something, made once and shared.
    Shared(Arc<str>),
}

impl Reason {
    /// The words.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Hash for Reason {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of things that happen in the cluster and may let a pod fit that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A node appeared.
    pub const NODE_ADDED: Self = Self(1);
    /// A node's labels changed.
    pub const NODE_LABELS: Self = Self(1 << 1);
    /// A node's taints changed, or it was cordoned or uncordoned.
    pub const NODE_TAINTS: Self = Self(1 << 2);
    /// A node's allocatable resources changed.
    pub const NODE_RESOURCES: Self = Self(1 << 3);
    /// A pod left its node.
    pub const POD_GONE: Self = Self(1 << 4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have one in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Says whether a node can take a pod at all.
pub trait Filter: Send + Sync {
    /// The plugin's name, as Kubernetes has it.
    fn name(&self) -> &'static str;

    /// Whether this pod can be refused by this filter anywhere; if not, no node is asked.
    fn applies(&self, _pod: &PodInfo) -> bool {
        true
    }

    /// Adds every reason against the node to `reasons`; none means that the node suits.
    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<Reason>);

    /// What may change this filter's mind. A refused pod is tried again when that happens.
    fn cured_by(&self) -> Events;
}

/// Says how well a node that can take a pod would suit it.
pub trait Score: Send + Sync {
    /// The plugin's name, as Kubernetes has it.
    fn name(&self) -> &'static str;

    /// How much its opinion counts next to the others'.
    fn weight(&self) -> i64;

    /// Whether it has an opinion about this pod; if not, no node is asked.
    fn applies(&self, _pod: &PodInfo) -> bool {
        true
    }

    /// A node's score, in the plugin's own units.
    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64;

    /// Maps the scores of all candidates to 0..=[`SCORE_MAX`]. As they are, unless overridden.
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// Stretches scores so that the largest becomes [`SCORE_MAX`]; `reverse` makes the smallest the
/// best. What most plugins that count something need.
pub fn normalize_by_largest(scores: &mut [i64], reverse: bool) {
    let largest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let part = if largest > 0 {
            (i128::from(*score) * i128::from(SCORE_MAX) / i128::from(largest)) as i64
        } else {
            0
        };
        *score = if reverse { SCORE_MAX - part } else { part };
    }
}

/// What a scheduler asks, in order.
pub struct Plugins {
    /// All must agree; the cheap ones come first.
    pub filters: Vec<Box<dyn Filter>>,
    /// Added up by weight.
    pub scores: Vec<Box<dyn Score>>,
}
