//! Who owns which field of an object: the decisions behind Kubernetes' server-side apply and
//! `metadata.managedFields` (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>).
//!
//! Everything here is a pure function of texts, trees and a schema; nothing knows of HTTP, of
//! the store or of a kind. The rules are those of `sigs.k8s.io/structured-merge-diff` and of
//! `k8s.io/apimachinery/pkg/util/managedfields`.
//!
//! - `tree.rs`: JSON that borrows from the text it was read from;
//! - `element.rs`, `set.rs`: a step of a path, and a set of paths (`fieldsV1`);
//! - `schema.rs`: what has to be known about a type, as a trait; [`OpenApi`] is the schema of a
//!   custom resource, built-in types bring their own;
//! - `owned.rs`: what a configuration says something about;
//! - `compare.rs`: what a write changed, and what it took away;
//! - `merge.rs`, `remove.rs`: what an applied configuration makes of an object;
//! - `managed.rs`: the entries of `metadata.managedFields` and what an ordinary write makes of them;
//! - `apply.rs`: what an apply makes of object and entries; `conflict.rs`: or why it may not.

mod apply;
mod compare;
mod conflict;
mod element;
mod last_applied;
mod managed;
mod merge;
mod open_api;
mod owned;
mod remove;
mod schema;
mod set;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

pub use apply::{Applied, ApplyError, Config, apply};
pub use compare::{Diff, compare, compare_objects};
pub use conflict::{Conflict, Conflicts};
pub use element::{Element, MalformedElement};
pub use managed::{Managed, Manager, Operation, Owner};
pub use open_api::OpenApi;
pub use owned::{Misfit, owned};
pub use schema::{Field, Place, Schema, Shape};
pub use set::Set;
pub use tree::{Map, Tree};
