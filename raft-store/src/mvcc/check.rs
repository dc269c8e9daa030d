//! What no state could make valid in a transaction.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::Error;
use crate::kv::KeyRange;
use crate::txn::{Op, Txn};

/// Refuses empty keys, branches that write one key twice, and nesting beyond the bound.
pub(crate) fn check_txn(txn: &Txn) -> Result<(), Error> {
    // First: the rest walks down as deep as it goes.
    txn.check_depth()?;
    check_keys(txn)?;
    writes(&txn.success)?;
    writes(&txn.failure)?;
    Ok(())
}

/// Refuses a range of the empty key alone. (The empty key as the start of a range is the start of the store.)
pub(super) fn check_range(range: &KeyRange, what: &'static str) -> Result<(), Error> {
    match range {
        KeyRange::Key(key) if key.is_empty() => Err(Error::EmptyKey { what }),
        _ => Ok(()),
    }
}

fn check_keys(txn: &Txn) -> Result<(), Error> {
    for compare in &txn.compare {
        check_range(&compare.range, "compare")?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put { key, .. } if key.is_empty() => return Err(Error::EmptyKey { what: "put" }),
            Op::Put { .. } => {}
            Op::Delete { range, .. } => check_range(range, "delete")?,
            Op::Range(request) => check_range(&request.range, "range")?,
            Op::Txn(txn) => check_keys(txn)?,
        }
    }
    Ok(())
}

/// What a branch can write, with all that is nested in it.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a Bytes>,
    deletes: Vec<&'a KeyRange>,
}

/// Collects what a branch can write, and refuses a key that it would put twice, or put and delete.
///
/// Nested transactions are taken in order, each against the deletes of this level and of those before it, and against
/// the puts of those before it. That leaves the one gap of etcd's check, a delete in a nested transaction behind the
/// one that puts the key.
fn writes(ops: &[Op]) -> Result<Writes<'_>, Error> {
    let mut all = Writes::default();
    for op in ops {
        if let Op::Delete { range, .. } = op {
            all.deletes.push(range);
        }
    }
    for op in ops {
        if let Op::Txn(txn) = op {
            let success = writes(&txn.success)?;
            let failure = writes(&txn.failure)?;
            // One of the two runs, so they may put the same keys.
            let puts: BTreeSet<&Bytes> = success.puts.union(&failure.puts).copied().collect();
            all.add_puts(puts)?;
            all.deletes.extend(success.deletes);
            all.deletes.extend(failure.deletes);
        }
    }
    let mut puts = BTreeSet::new();
    for op in ops {
        if let Op::Put { key, .. } = op
            && !puts.insert(key)
        {
            return Err(Error::DuplicateKey { key: key.clone() });
        }
    }
    all.add_puts(puts)?;
    Ok(all)
}

impl<'a> Writes<'a> {
    /// Adds keys that are put beside, and in spite of, what is there already.
    fn add_puts(&mut self, mut puts: BTreeSet<&'a Bytes>) -> Result<(), Error> {
        let again = puts.intersection(&self.puts).next().copied();
        // The puts are ordered, so the first at or behind a range's start decides.
        let mut deleted = self.deletes.iter().filter_map(|range| {
            let first = puts.range::<&Bytes, _>(range.start()..).next()?;
            range.contains(first).then_some(*first)
        });
        if let Some(key) = again.or_else(|| deleted.next()) {
            return Err(Error::DuplicateKey { key: key.clone() });
        }
        self.puts.append(&mut puts);
        Ok(())
    }
}
