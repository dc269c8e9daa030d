//! Wasm sandboxes on wasmtime; knows no Kubernetes.
//!
//! The way through this crate:
//!
//! 1. [`Runtime::new`] sizes the engine for this machine and says how ([`PoolPlan`]).
//! 2. [`Runtime::prepare`] turns the bytes of a `.wasm` file into an [`Image`]: inspected, compiled
//!    once, cached on disk, mapped, and linked. Nothing is compiled after that.
//! 3. [`Runtime::start`] makes a [`Container`] from an image and a [`ContainerSpec`].
//! 4. An HTTP container answers [`Container::handle`], a fresh sandbox per request; a command runs
//!    until it ends, and [`Container::exec`] runs another one beside it. [`Container::wait`] tells how
//!    it ended.
//!
//! What a guest needs from outside comes in through small traits: [`Output`] (stdout and stderr)
//! and [`OutboundHttp`] (requests it sends). Everything else it could reach (files, memory, time
//! on a CPU) is granted by the spec and bounded here.
//!
//! Guests run on a tokio runtime of their own, so that a guest that spins takes time from other
//! guests at most, never from the tasks that drive the node.

mod body;
mod budget;
mod code_cache;
mod command;
mod container;
mod engine;
mod error;
mod exit;
mod image;
mod inspect;
mod limits;
mod link;
mod meter;
mod outbound;
mod plan;
mod runtime;
mod serve;
mod spec;
mod state;
mod stdio;
mod ticker;
mod trap;

pub use body::{Body, BoxError, empty, full};
pub use container::{Container, Usage};
pub use error::{HandleError, ImageError, OutboundError, SandboxError, StartError};
pub use exit::{Exit, ExitReason};
pub use image::{Entries, Image};
pub use inspect::{ImageInfo, ImageKind, inspect};
pub use plan::PoolPlan;
pub use runtime::{Runtime, RuntimeConfig};
pub use spec::{
    ContainerSpec, Entry, Exec, Input, Mount, OutboundHttp, OutboundOptions, Output, StdStream,
};
