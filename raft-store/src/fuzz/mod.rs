//! Fuzz targets: every decoder of the store, and its state machine. `raft-store/fuzz` has a binary for each; see
//! docs/fuzzing.md. Not part of the public interface.

#[cfg(test)]
mod tests;

use fuzz_support::Target;

use crate::error::Error;
use crate::mvcc::State;
use crate::txn::{RangeRequest, RangeResponse, Txn, TxnResponse};

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    ("command", crate::command::fuzz::command),
    ("entries", crate::node::fuzz::entries),
    ("frame", crate::node::fuzz::frame),
    ("history", crate::mvcc::fuzz::history),
    ("identity", crate::node::fuzz::identity),
    ("log_dir", crate::node::fuzz::log_dir),
    ("log_file", crate::node::fuzz::log_file),
    ("snapshot", crate::node::fuzz::snapshot),
];

/// Runs a target of this crate by its name.
///
/// # Panics
/// Where the target finds something, and if there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("there is no fuzz target {name:?}"));
    target(data);
}

/// The state machine without anything around it, for targets of other crates.
#[derive(Debug)]
pub struct Machine(State);

impl Default for Machine {
    fn default() -> Self {
        Self(State::new())
    }
}

impl Machine {
    /// Applies a transaction, within the bounds that a store has by default.
    ///
    /// # Errors
    /// As [`crate::Store::txn`].
    pub fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, Error> {
        let config = crate::Config::new("fuzz", "");
        txn.check_bounds(config.txn_ops_max, config.request_bytes_max)?;
        self.0.apply(txn)
    }

    /// Reads.
    ///
    /// # Errors
    /// As [`crate::Store::range`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.0.range(request)
    }
}
