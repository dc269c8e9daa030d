//! Integration tests: the API in this process, through the `kube` client.

mod bad_input;
mod every_kind;
mod list_and_watch;
mod raw;
