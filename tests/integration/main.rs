//! Integration tests: the API in this process, through the `kube` client.

#![allow(clippy::unwrap_used)] // here a failed unwrap is a failed test

mod abuse;
mod access;
mod apply;
mod bad_input;
mod custom_resources;
mod deletion;
mod every_kind;
mod eviction;
mod garbage;
mod list_and_watch;
mod list_rules;
mod methods;
mod operator;
mod protobuf;
mod quotas;
mod raw;
mod traces;
mod versions;
mod watch_rules;
mod workloads;
