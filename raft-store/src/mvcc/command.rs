//! Commands, and what becomes of them.

use super::State;
use crate::command::Command;
use crate::error::Error;
use crate::kv::Revision;
use crate::lessor::LeaseGranted;
use crate::member::Alarm;
use crate::txn::TxnResponse;

/// What a command came to. Each is of the kind of its command.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Txn(Result<TxnResponse, Error>),
    Compact(Result<(), Error>),
    LeaseGrant(Result<LeaseGranted, Error>),
    /// With the newest revision: that of the deletions, if there were any.
    LeaseRevoke(Result<Revision, Error>),
    SetMember(Result<(), Error>),
    /// The alarms that the command was about, and that are on or off now because of it.
    Alarm(Vec<(u64, Alarm)>),
}

impl State {
    /// Applies a command. What it refuses leaves the state as it was.
    pub(crate) fn apply_command(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Txn(txn) if self.is_alarmed(Alarm::NoSpace) && txn.has_puts() => {
                Outcome::Txn(Err(Error::NoSpace))
            }
            Command::Txn(txn) => Outcome::Txn(self.apply(txn)),
            Command::Compact(at) => Outcome::Compact(self.compact(*at)),
            Command::LeaseGrant { .. } if self.is_alarmed(Alarm::NoSpace) => {
                Outcome::LeaseGrant(Err(Error::NoSpace))
            }
            Command::LeaseGrant { id, ttl_seconds } => {
                Outcome::LeaseGrant(self.lease_grant(*id, *ttl_seconds))
            }
            Command::LeaseRevoke { id } => Outcome::LeaseRevoke(self.lease_revoke(*id)),
            Command::SetMember(member) => Outcome::SetMember(self.describe_member(member)),
            Command::Alarm { member, alarm, on } => {
                Outcome::Alarm(self.set_alarm(*member, *alarm, *on))
            }
        }
    }
}
