//! Requests and their answers.

use bytes::Bytes;

use crate::error::Error;
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

/// The side of a [`Compare`] that is given, and with it what it is compared to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The revision that wrote a key last.
    ModRevision(Revision),
    /// The revision that created a key.
    CreateRevision(Revision),
    /// The number of writes since a key was created.
    Version(u64),
    /// A key's value, ordered by its bytes.
    Value(Bytes),
    /// The lease that a key is attached to.
    Lease(i64),
}

/// A condition on the keys of a range, judged on the state before the transaction: it must hold for every one of them.
///
/// Where the range holds no key, it is judged once, on a key with revision, version and lease 0; but a comparison of
/// *values* is then false, whatever the operator. Both as in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys.
    pub range: KeyRange,
    /// What to compare, and the given side.
    pub target: CompareTarget,
    /// The relation that must hold.
    pub op: CompareOp,
}

impl Compare {
    /// A condition on one key.
    pub fn new(key: impl Into<Bytes>, op: CompareOp, target: CompareTarget) -> Self {
        Self {
            range: KeyRange::key(key),
            target,
            op,
        }
    }

    /// A condition on the revision that wrote a key last; 0 for a key that does not exist.
    pub fn mod_revision(key: impl Into<Bytes>, op: CompareOp, value: Revision) -> Self {
        Self::new(key, op, CompareTarget::ModRevision(value))
    }

    /// A condition on the revision that created a key; 0 for a key that does not exist.
    pub fn create_revision(key: impl Into<Bytes>, op: CompareOp, value: Revision) -> Self {
        Self::new(key, op, CompareTarget::CreateRevision(value))
    }

    /// A condition on the number of writes since a key was created; 0 for a key that does not exist.
    pub fn version(key: impl Into<Bytes>, op: CompareOp, value: u64) -> Self {
        Self::new(key, op, CompareTarget::Version(value))
    }

    /// A condition on a key's value; false for a key that does not exist.
    pub fn value(key: impl Into<Bytes>, op: CompareOp, value: impl Into<Bytes>) -> Self {
        Self::new(key, op, CompareTarget::Value(value.into()))
    }

    /// A condition on the lease that a key is attached to; 0 for none.
    pub fn lease(key: impl Into<Bytes>, op: CompareOp, value: i64) -> Self {
        Self::new(key, op, CompareTarget::Lease(value))
    }

    /// The same condition on every key of a range.
    pub fn over(self, range: KeyRange) -> Self {
        Self { range, ..self }
    }
}

/// One step of a transaction. Steps run in order, and a later step sees what an earlier one did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates or updates a key. See [`Op::put`] for the common case.
    Put {
        /// The key; not empty.
        key: Bytes,
        /// The new value.
        value: Bytes,
        /// The lease to attach the key to; 0 for none.
        lease: i64,
        /// Keep the value that the key has, whatever `value` says. The key must exist.
        ignore_value: bool,
        /// Keep the lease that the key has, whatever `lease` says. The key must exist.
        ignore_lease: bool,
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
    /// A transaction within the transaction. Its conditions, too, are judged on the state before the outermost one.
    Txn(Txn),
}

impl Op {
    /// Puts a value, without a lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::put_with_lease(key, value, 0)
    }

    /// Puts a value and attaches the key to a lease.
    pub fn put_with_lease(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: i64) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease,
            ignore_value: false,
            ignore_lease: false,
        }
    }
}

/// How deep transactions may be nested: this many within each other, the outermost included. Far below what would
/// endanger a thread's stack, or meet the bound of the decoder (100 messages within each other, two for each of these).
pub const TXN_DEPTH_MAX: usize = 32;

/// Compare, then do: if all of `compare` hold (none given: they hold), `success` runs, else `failure`; all or nothing.
///
/// All writes of one transaction share one revision. What it puts is put once: two puts of one key, or a put of a key
/// that a delete of the same branch covers, are refused as [`crate::Error::DuplicateKey`]. The steps of nested
/// transactions count as steps of the branch that they are in, whichever way their conditions turn out; the two
/// branches of one transaction exclude each other. All as in etcd, down to its one gap: a key that a nested transaction
/// puts may be deleted by a later one beside it, and then has two events in one revision.
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
            success: vec![Op::put(key, value)],
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

    /// Whether no branch can write, so that the transaction is a read.
    pub(crate) fn is_read_only(&self) -> bool {
        !self.any(|op| matches!(op, Op::Put { .. } | Op::Delete { .. }))
    }

    /// Whether a branch can put a key, so that the store can grow.
    pub(crate) fn has_puts(&self) -> bool {
        self.any(|op| matches!(op, Op::Put { .. }))
    }

    fn any(&self, found: impl Fn(&Op) -> bool + Copy) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            Op::Txn(txn) => txn.any(found),
            op => found(op),
        })
    }

    /// Refuses a transaction beyond the bounds, and returns its size in bytes of keys and values.
    ///
    /// Bounded are the conditions, and the steps of each branch with all that is nested in them, for they are what an
    /// apply may cost. (etcd bounds each level, less what the levels around it take.)
    pub(crate) fn check_bounds(&self, ops_max: usize, bytes_max: usize) -> Result<usize, Error> {
        let check_count = |what, size| {
            if size > ops_max {
                Err(Error::TooManySteps {
                    what,
                    size,
                    max: ops_max,
                })
            } else {
                Ok(())
            }
        };
        // First: the others walk down as deep as it goes.
        self.check_depth()?;
        check_count("a transaction's number of conditions", self.compare.len())?;
        check_count(
            "a transaction's number of steps in a branch",
            steps(&self.success).max(steps(&self.failure)),
        )?;
        match self.bytes() {
            bytes if bytes > bytes_max => Err(Error::TooLarge {
                what: "a transaction's size in bytes",
                size: bytes,
                max: bytes_max,
            }),
            bytes => Ok(bytes),
        }
    }

    /// Refuses a transaction that is nested too deeply.
    pub(crate) fn check_depth(&self) -> Result<(), Error> {
        if self.fits_in(TXN_DEPTH_MAX) {
            return Ok(());
        }
        Err(Error::TooManySteps {
            what: "a transaction's depth",
            size: TXN_DEPTH_MAX + 1,
            max: TXN_DEPTH_MAX,
        })
    }

    /// Looks no deeper than it must.
    fn fits_in(&self, depth: usize) -> bool {
        depth > 0
            && self
                .success
                .iter()
                .chain(&self.failure)
                .all(|op| !matches!(op, Op::Txn(txn) if !txn.fits_in(depth - 1)))
    }

    fn bytes(&self) -> usize {
        let compares: usize = self.compare.iter().map(compare_bytes).sum();
        let ops = self.success.iter().chain(&self.failure);
        compares + ops.map(op_bytes).sum::<usize>()
    }
}

/// The most that a branch can come to, conditions of nested transactions included.
fn steps(ops: &[Op]) -> usize {
    let nested = ops.iter().map(|op| match op {
        Op::Txn(txn) => txn.compare.len() + steps(&txn.success).max(steps(&txn.failure)),
        _ => 0,
    });
    ops.len() + nested.sum::<usize>()
}

fn compare_bytes(compare: &Compare) -> usize {
    let value = match &compare.target {
        CompareTarget::Value(value) => value.len(),
        _ => 0,
    };
    range_bytes(&compare.range) + value
}

fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { range, .. } => range_bytes(range),
        Op::Range(request) => range_bytes(&request.range),
        Op::Txn(txn) => txn.bytes(),
    }
}

fn range_bytes(range: &KeyRange) -> usize {
    match range {
        KeyRange::Key(key) | KeyRange::From(key) => key.len(),
        KeyRange::Between { start, end } => start.len() + end.len(),
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
    /// To [`Op::Txn`]. Its revision is the store's at this point of the outermost transaction.
    Txn(TxnResponse),
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
    /// How many keys the range holds, whatever the limit. Counting costs a walk over the range (some 10 ns a key),
    /// unless it holds every key at the newest revision.
    pub count: usize,
    /// Whether the limit left keys out.
    pub more: bool,
}
