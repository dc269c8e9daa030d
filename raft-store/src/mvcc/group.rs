//! Who the members are, and what is wrong with them. Who votes is Raft's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::State;
use crate::error::Error;
use crate::member::{Alarm, Member};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    members: BTreeMap<u64, Member>,
    /// Never used again.
    removed: BTreeSet<u64>,
    alarms: BTreeSet<(u64, Alarm)>,
}

impl State {
    /// The members, by id.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.group.members.values().cloned().collect()
    }

    /// A member, by id.
    pub(crate) fn member(&self, id: u64) -> Option<&Member> {
        self.group.members.get(&id)
    }

    /// Adds a member, or replaces what is known of it. One that was removed stays removed.
    pub(crate) fn set_member(&mut self, member: Member) {
        if !self.is_removed(member.id) {
            self.group_mut().members.insert(member.id, member);
        }
    }

    /// Forgets the group, with those that were removed and all alarms, and begins another one.
    pub(crate) fn begin_group(&mut self, members: Vec<Member>) {
        *self.group_mut() = Group {
            members: members
                .into_iter()
                .map(|member| (member.id, member))
                .collect(),
            ..Group::default()
        };
    }

    /// Removes a member, for good; its alarms go with it.
    pub(crate) fn remove_member(&mut self, id: u64) {
        let group = self.group_mut();
        group.members.remove(&id);
        group.removed.insert(id);
        group.alarms.retain(|(member, _)| *member != id);
    }

    /// Notes whether a member is a learner.
    pub(crate) fn set_learner(&mut self, id: u64, learner: bool) {
        if let Some(member) = self.group_mut().members.get_mut(&id) {
            member.learner = learner;
        }
    }

    /// Whether a member was removed once.
    pub(crate) fn is_removed(&self, id: u64) -> bool {
        self.group.removed.contains(&id)
    }

    /// The ids of all members that were removed.
    pub(crate) fn removed_members(&self) -> impl Iterator<Item = u64> + '_ {
        self.group.removed.iter().copied()
    }

    /// Takes over name and URLs of a member, except those that are empty, so that a member that publishes its name and
    /// somebody who moves it do not undo each other's change. A member that is not in the table comes into it.
    pub(super) fn describe_member(&mut self, told: &Member) -> Result<(), Error> {
        if self.is_removed(told.id) {
            return Err(Error::MemberNotFound { id: told.id });
        }
        let member = self
            .group_mut()
            .members
            .entry(told.id)
            .or_insert_with(|| told.clone());
        if !told.name.is_empty() {
            member.name.clone_from(&told.name);
        }
        if !told.peer_urls.is_empty() {
            member.peer_urls.clone_from(&told.peer_urls);
        }
        if !told.client_urls.is_empty() {
            member.client_urls.clone_from(&told.client_urls);
        }
        Ok(())
    }

    /// The alarms that are on.
    pub(crate) fn alarms(&self) -> Vec<(u64, Alarm)> {
        self.group.alarms.iter().copied().collect()
    }

    /// Whether an alarm is on, for any member.
    pub(crate) fn is_alarmed(&self, alarm: Alarm) -> bool {
        self.group.alarms.iter().any(|(_, on)| *on == alarm)
    }

    /// Turns an alarm on or off (off for all members if `member` is 0). Returns what is on now, or was until now.
    pub(super) fn set_alarm(&mut self, member: u64, alarm: Alarm, on: bool) -> Vec<(u64, Alarm)> {
        let group = self.group_mut();
        if on {
            group.alarms.insert((member, alarm));
            return vec![(member, alarm)];
        }
        let meant = |(of, which): &(u64, Alarm)| *which == alarm && (member == 0 || *of == member);
        let off: Vec<_> = group.alarms.iter().copied().filter(meant).collect();
        group.alarms.retain(|on| !meant(on));
        off
    }

    fn group_mut(&mut self) -> &mut Group {
        Arc::make_mut(&mut self.group)
    }
}
