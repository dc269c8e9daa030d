//! A checksum of the keys, to compare members by.

use super::State;
use crate::error::Error;
use crate::kv::{KeyRange, KeyValue, Revision};

/// What [`crate::Store::txn`]s have made of the keys, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// The checksum.
    pub hash: u32,
    /// The revision that it is of.
    pub revision: Revision,
    /// The compaction point of the member that was asked. Has no part in the hash.
    pub compacted: Revision,
}

impl State {
    /// The hash of every key as it was at revision `at` (0: the newest), with its value, revisions, version and lease.
    ///
    /// Members that agree on a revision have the same hash of it, wherever their compactions are. (etcd's covers the
    /// history since the compaction point too, so that it can be compared only between members compacted alike.)
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::FutureRevision`] for a revision that cannot be read.
    pub(crate) fn hash(&self, at: Revision) -> Result<StateHash, Error> {
        let revision = if at == 0 { self.revision } else { at };
        self.check_revision(revision)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&revision.to_le_bytes());
        let all = KeyRange::all();
        if revision == self.revision {
            // Spares the search for versions that ended since, of which there are none.
            self.live_in(&all).for_each(|kv| add(&mut hasher, kv));
        } else {
            self.visit_at(&all, revision, |kv| add(&mut hasher, kv));
        }
        Ok(StateHash {
            hash: hasher.finalize(),
            revision,
            compacted: self.compacted,
        })
    }
}

/// Lengths first, so that no two lists of keys are the same bytes.
fn add(hasher: &mut crc32fast::Hasher, kv: &KeyValue) {
    let numbers = [
        kv.key.len() as u64,
        kv.value.len() as u64,
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.lease.cast_unsigned(),
    ];
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&kv.key);
    hasher.update(&kv.value);
}
