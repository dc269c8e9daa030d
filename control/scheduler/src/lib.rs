//! The scheduler: filter, score, bind.
//!
//! One task owns the cache of nodes and pods and the queue of pods without a node. For each pod it
//! asks every [`framework::Filter`] about enough nodes, ranks what is left by every
//! [`framework::Score`], assumes the pod there at once, and binds it through the API in the
//! background. Deciding takes microseconds and no I/O, so the order of decisions is total and never
//! waits; binding is where the time goes, and many bindings are under way together.
//!
//! A decision on old knowledge is fenced: the binding carries the pod's UID, and the API refuses it
//! for a pod that is gone, terminating or bound.
//!
//! Behaviour follows <https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/>.

mod bind;
mod cache;
pub mod cycle;
pub mod framework;
mod node;
mod plugins;
mod pod;
pub mod queue;
mod random;
mod report;
mod resources;
mod run;
mod terms;

pub use cache::Cache;
pub use node::{NodeFacts, NodeInfo, Usage};
pub use plugins::default_plugins;
pub use pod::{HostPort, PodInfo};
pub use resources::Resources;
pub use run::{Error, Options, run};
pub use terms::NodeTerms;
