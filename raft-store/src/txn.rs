//! Requests and their answers.

use bytes::Bytes;

use crate::kv::{KeyRange, KeyValue, Revision};

/// How a [`Compare`] relates what is stored (left) to what is given (right).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Stored equals given.
    Equal,
    /// Stored differs from given.
    NotEqual,
    /// Stored is greater than given.
    Greater,
    /// Stored is less than given.
    Less,
}

/// A condition on one key, judged on the state before the transaction.
///
/// A key that does not exist has revision, version and lease 0; a comparison of its *value* is always false, whatever
/// the operator, as in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// On the revision that wrote the key last.
    ModRevision {
        /// The key.
        key: Bytes,
        /// The relation that must hold.
        op: CompareOp,
        /// The given side.
        value: Revision,
    },
    /// On the revision that created the key.
    CreateRevision {
        /// The key.
        key: Bytes,
        /// The relation that must hold.
        op: CompareOp,
        /// The given side.
        value: Revision,
    },
    /// On the number of writes since the key was created.
    Version {
        /// The key.
        key: Bytes,
        /// The relation that must hold.
        op: CompareOp,
        /// The given side.
        value: u64,
    },
    /// On the value, ordered by its bytes.
    Value {
        /// The key.
        key: Bytes,
        /// The relation that must hold.
        op: CompareOp,
        /// The given side.
        value: Bytes,
    },
    /// On the lease that the key is attached to.
    Lease {
        /// The key.
        key: Bytes,
        /// The relation that must hold.
        op: CompareOp,
        /// The given side.
        value: i64,
    },
}

/// One step of a transaction. Steps run in order, and a later step sees what an earlier one did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates or updates a key.
    Put {
        /// The key; not empty.
        key: Bytes,
        /// The new value.
        value: Bytes,
        /// The lease to attach the key to; 0 for none.
        lease: i64,
    },
    /// Deletes every key in a range.
    Delete {
        /// The keys to delete.
        range: KeyRange,
        /// Whether the answer carries the deleted keys.
        prev_kv: bool,
    },
    /// Reads a range.
    Range(RangeRequest),
}

/// Compare, then do: if all of `compare` hold (none given: they hold), `success` runs, else `failure`; all or nothing.
///
/// All writes of one transaction share one revision. A branch may write a key once: two puts of one key, or a put
/// of a key that a delete of the same branch covers, are refused as [`crate::Error::DuplicateKey`], as in etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions, all of which must hold for `success`.
    pub compare: Vec<Compare>,
    /// What to do if they hold.
    pub success: Vec<Op>,
    /// What to do if they do not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions that puts one key.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            success: vec![Op::Put {
                key: key.into(),
                value: value.into(),
                lease: 0,
            }],
            ..Self::default()
        }
    }

    /// A transaction without conditions that deletes a range and answers with what it deleted.
    pub fn delete(range: KeyRange) -> Self {
        Self {
            success: vec![Op::Delete {
                range,
                prev_kv: true,
            }],
            ..Self::default()
        }
    }

    /// Whether neither branch can write, so that the transaction is a read.
    pub(crate) fn is_read_only(&self) -> bool {
        self.success
            .iter()
            .chain(&self.failure)
            .all(|op| matches!(op, Op::Range(_)))
    }
}

/// The answer to one [`Op`], in the order of the branch that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResponse {
    /// To [`Op::Put`].
    Put {
        /// The key before; `None` where it was created.
        prev_kv: Option<KeyValue>,
    },
    /// To [`Op::Delete`].
    Delete {
        /// How many keys were deleted.
        deleted: u64,
        /// The deleted keys in order of their bytes, if they were asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// To [`Op::Range`].
    Range(RangeResponse),
}

/// The answer to a [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResponse {
    /// Whether the conditions held, that is, which branch ran.
    pub succeeded: bool,
    /// The store's revision right after the transaction; of one that wrote, its own revision.
    pub revision: Revision,
    /// One answer for each step of the branch that ran.
    pub responses: Vec<OpResponse>,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write that was acknowledged anywhere before the read began.
    #[default]
    Linearizable,
    /// Sees what this member has applied; never waits.
    Local,
}

/// A read of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// The keys to read.
    pub range: KeyRange,
    /// The revision to read at; `None` for the newest. Inside a transaction that has already written, the newest
    /// includes those writes.
    pub at_revision: Option<Revision>,
    /// At most so many keys are returned; 0 for all.
    pub limit: usize,
    /// Leave the values out (they come back empty).
    pub keys_only: bool,
    /// Return the count alone.
    pub count_only: bool,
    /// How fresh the read must be. Of no effect inside a transaction, which is always linearizable.
    pub consistency: Consistency,
}

impl RangeRequest {
    /// A linearizable read of `range` at the newest revision, without limit.
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            at_revision: None,
            limit: 0,
            keys_only: false,
            count_only: false,
            consistency: Consistency::Linearizable,
        }
    }
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResponse {
    /// The store's revision when it answered; a later watch from `revision + 1` misses nothing.
    pub revision: Revision,
    /// The keys found, in order of their bytes.
    pub kvs: Vec<KeyValue>,
    /// How many keys the range holds, whatever the limit. Counting costs a walk over the range (some 10 ns a key).
    pub count: usize,
    /// Whether the limit left keys out.
    pub more: bool,
}
