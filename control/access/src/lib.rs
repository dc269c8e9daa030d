//! Who may do what, as pure decisions over what the caller knows.
//!
//! ```text
//! user      who asks: name, groups, and what else an authenticator says
//! action    what is asked, and the sentence that refuses it
//! rule      one RBAC rule: what it allows, what it covers
//! policy    roles and bindings, indexed by subject: a decision is a few look-ups
//! escalate  what a user would grant and does not hold
//! defaults  the roles and bindings that every cluster has, and how they are kept
//! node      what agents may
//! csr       certificate signing requests
//! token     service accounts' tokens and bootstrap tokens
//! aggregate ClusterRoles that are made of others
//! ```
//!
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/>. Nothing here does I/O or knows the time.

pub mod action;
pub mod aggregate;
pub mod csr;
pub mod defaults;
pub mod escalate;
pub mod node;
pub mod policy;
pub mod rule;
pub mod token;
pub mod user;

pub use action::{Action, Asked};
pub use policy::{Policy, Scope};
pub use user::User;
