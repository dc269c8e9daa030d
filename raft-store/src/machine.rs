//! The state machine without anything around it: what the crates around this one hold their translations against, in
//! tests and under fuzzers. Not part of the public interface.

use crate::error::Error;
use crate::mvcc::State;
use crate::txn::{RangeRequest, RangeResponse, Txn, TxnResponse};

/// See the module.
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
        let config = crate::Config::new("machine", "");
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
