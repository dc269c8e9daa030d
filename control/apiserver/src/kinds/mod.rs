//! One file per kind: its defaults, its rules, its columns. Follows Kubernetes v1.37's
//! `pkg/apis/*/v1/defaults.go`, `pkg/apis/*/validation`, `pkg/registry/*/strategy.go`
//! and `pkg/printers/internalversion`.
//!
//! A new kind is a file here with a unit struct that implements
//! [`Strategy`](crate::registry::strategy::Strategy), and a row in the registration.
//! What several kinds share stands in [`cells`] (tables), [`pod_spec`] (pods and their
//! templates) and [`workload`] (kinds that own pods).

mod cells;
mod conditions;
mod pod_spec;
mod workload;

pub mod admissionregistration;
pub mod api_service;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod config_map;
pub mod custom_resource_definition;
pub mod deployment;
pub mod endpoint_slice;
pub mod event;
pub mod flowcontrol;
pub mod lease;
pub mod limits;
pub mod namespace;
pub mod networking;
pub mod node;
pub mod pod;
pub mod pod_template;
pub mod policy;
pub mod priority_class;
pub mod rbac;
pub mod replica_set;
pub mod replication_controller;
pub mod resource;
pub mod reviews;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod storage;
pub mod storage_version_migration;

#[cfg(test)]
mod testing;
