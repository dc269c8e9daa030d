//! Integration tests: the API in this process, through the `kube` client.

#![allow(clippy::unwrap_used)] // here a failed unwrap is a failed test

mod apply;
mod bad_input;
mod custom_resources;
mod every_kind;
mod list_and_watch;
mod operator;
mod protobuf;
mod quotas;
mod raw;
