//! Leases, as far as they are replicated: that they exist, and what hangs on them.

use bytes::Bytes;

use super::{State, apply};
use crate::error::Error;
use crate::kv::Revision;
use crate::lessor::{LEASE_TTL_MAX_SECONDS, LEASE_TTL_MIN_SECONDS, LeaseGranted};

impl State {
    /// Grants a lease. Makes no revision.
    pub(super) fn lease_grant(&mut self, id: i64, ttl: i64) -> Result<LeaseGranted, Error> {
        if id == 0 {
            return Err(Error::LeaseNotFound { id });
        }
        if ttl > LEASE_TTL_MAX_SECONDS {
            return Err(Error::LeaseTtl {
                ttl,
                max: LEASE_TTL_MAX_SECONDS,
            });
        }
        if self.leases.contains_key(&id) {
            return Err(Error::LeaseExists { id });
        }
        let ttl_seconds = ttl.max(LEASE_TTL_MIN_SECONDS);
        self.leases.insert(id, ttl_seconds);
        Ok(LeaseGranted {
            id,
            ttl_seconds,
            revision: self.revision,
        })
    }

    /// Ends a lease and deletes the keys attached to it, in one revision; without any, there is none.
    pub(super) fn lease_revoke(&mut self, id: i64) -> Result<Revision, Error> {
        self.leases.remove(&id).ok_or(Error::LeaseNotFound { id })?;
        let revision = self.revision + 1;
        let mut events = Vec::new();
        for key in self.lease_keys(id) {
            if let Some(prev) = self.live.get(&key).cloned() {
                events.push(apply::deletion(revision, (*prev).clone()));
                self.remove(revision, prev);
            }
        }
        if !events.is_empty() {
            self.record(events.into());
        }
        Ok(self.revision)
    }

    /// The keys attached to a lease, in order of their bytes.
    pub(crate) fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.attached
            .range((id, Bytes::new())..)
            .take_while(|(lease, _)| *lease == id)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// Every lease with its seconds, by id.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.leases.iter().map(|(id, ttl)| (*id, *ttl))
    }

    /// The seconds of a lease; `None` if it does not exist.
    pub(crate) fn lease_ttl(&self, id: i64) -> Option<i64> {
        self.leases.get(&id).copied()
    }

    /// Refuses a lease that does not exist; 0 is none at all.
    pub(super) fn check_lease(&self, id: i64) -> Result<(), Error> {
        if id == 0 || self.leases.contains_key(&id) {
            Ok(())
        } else {
            Err(Error::LeaseNotFound { id })
        }
    }

    /// Moves a key from one lease to another; 0 is none.
    pub(super) fn attach(&mut self, key: &Bytes, from: i64, to: i64) {
        if from == to {
            return;
        }
        if from != 0 {
            self.attached.remove(&(from, key.clone()));
        }
        if to != 0 {
            self.attached.insert((to, key.clone()));
        }
    }

    /// A lease that keys are attached to although it does not exist, which can only be in a damaged snapshot.
    pub(super) fn missing_lease(&self) -> Option<i64> {
        self.attached
            .iter()
            .map(|(id, _)| *id)
            .find(|id| !self.leases.contains_key(id))
    }
}
