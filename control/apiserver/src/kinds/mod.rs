//! One file per kind: its defaults, its rules, its columns. Follows Kubernetes v1.37's
//! `pkg/apis/*/v1/defaults.go`, `pkg/apis/*/validation`, `pkg/registry/*/strategy.go`
//! and `pkg/printers/internalversion`.
//!
//! A new kind is a file here with a unit struct that implements
//! [`Strategy`](crate::registry::strategy::Strategy), and a row in the registration.
//! What several kinds share stands in [`cells`] (tables), [`pod_spec`] (pods and their
//! templates) and [`workload`] (kinds that own pods).

mod cells;
mod pod_spec;
mod workload;

pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod config_map;
pub mod deployment;
pub mod endpoint_slice;
pub mod event;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod pod_template;
pub mod policy;
pub mod replica_set;
pub mod replication_controller;
pub mod secret;
pub mod service;
pub mod service_account;

#[cfg(test)]
mod testing;
