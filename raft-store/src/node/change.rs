//! Changes of the group: what Raft makes of them, and what the table of members does.
//!
//! A change is one entry of the log, a `ConfChangeV2` whose context carries the members that are new. It is judged when
//! it is applied, on every member alike, since what it was asked for against may have changed by then.

use prost::Message as _;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

use crate::error::Error;
use crate::member::Member;
use crate::mvcc::State;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberChange {
    /// A new member, with a vote or without.
    Add(Member),
    /// A learner gets a vote.
    Promote(u64),
    /// A member goes, for good.
    Remove(u64),
    /// A member goes and another comes in one step (joint consensus): the majority is never one of fewer members.
    Replace { gone: u64, new: Member },
}

impl MemberChange {
    /// As it is proposed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut change = ConfChangeV2::default();
        let mut added = None;
        let mut push = |kind, id| {
            let mut single = ConfChangeSingle::default();
            single.set_change_type(kind);
            single.node_id = id;
            change.changes.push(single);
        };
        let joins = |member: &Member| {
            if member.learner {
                ConfChangeType::AddLearnerNode
            } else {
                ConfChangeType::AddNode
            }
        };
        match self {
            Self::Add(member) => {
                push(joins(member), member.id);
                added = Some(member);
            }
            Self::Promote(id) => push(ConfChangeType::AddNode, *id),
            Self::Remove(id) => push(ConfChangeType::RemoveNode, *id),
            Self::Replace { gone, new } => {
                push(joins(new), new.id);
                push(ConfChangeType::RemoveNode, *gone);
                added = Some(new);
            }
        }
        change.context = added
            .map(|member| Added::from(member).encode_to_vec())
            .unwrap_or_default()
            .into();
        // Fails only for messages that lack a required field, and this has none.
        change.write_to_bytes().unwrap_or_default()
    }
}

/// A change that changes nothing: what Raft is given where the one proposed has become impossible.
pub(super) fn nothing() -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    // Raft skips the node 0, while a change without any node would leave a joint configuration.
    change.changes.push(ConfChangeSingle::default());
    change
}

/// Brings the table of members up to date. The outer error is a change that cannot be read, the inner one a change that
/// is impossible by now; neither changes anything.
pub(super) fn apply(state: &mut State, change: &ConfChangeV2) -> Result<Result<(), Error>, String> {
    let added = if change.context.is_empty() {
        None
    } else {
        let added = Added::decode(&change.context[..])
            .map_err(|error| format!("the member that joins cannot be read: {error}"))?;
        Some(Member::from(added))
    };
    let members = state.members();
    let known = |id: u64| members.iter().find(|member| member.id == id);
    for single in &change.changes {
        let id = single.node_id;
        let joins = added.as_ref().filter(|member| member.id == id);
        let possible = match (single.get_change_type(), joins) {
            (ConfChangeType::AddNode | ConfChangeType::AddLearnerNode, Some(new)) => {
                let taken = known(id).is_some()
                    || state.is_removed(id)
                    || members.iter().any(|member| {
                        change.changes.iter().all(|gone| gone.node_id != member.id)
                            && member
                                .peer_urls
                                .iter()
                                .any(|url| new.peer_urls.contains(url))
                    });
                if taken {
                    Err(Error::MemberExists)
                } else {
                    Ok(())
                }
            }
            (ConfChangeType::AddNode, None) => match known(id) {
                Some(member) if member.learner => Ok(()),
                Some(_) => Err(Error::NotLearner { id }),
                None => Err(Error::MemberNotFound { id }),
            },
            (ConfChangeType::RemoveNode, _) if known(id).is_some() => Ok(()),
            (ConfChangeType::RemoveNode | ConfChangeType::AddLearnerNode, _) => {
                Err(Error::MemberNotFound { id })
            }
        };
        if let Err(error) = possible {
            return Ok(Err(error));
        }
    }
    for single in &change.changes {
        let id = single.node_id;
        match single.get_change_type() {
            ConfChangeType::AddNode | ConfChangeType::AddLearnerNode => {
                let learner = single.get_change_type() == ConfChangeType::AddLearnerNode;
                match added.as_ref().filter(|member| member.id == id) {
                    Some(new) => state.set_member(Member {
                        learner,
                        ..new.clone()
                    }),
                    None => state.set_learner(id, learner),
                }
            }
            ConfChangeType::RemoveNode => state.remove_member(id),
        }
    }
    Ok(Ok(()))
}

/// The wire form of a member that joins. Tags are never reused.
#[derive(Clone, PartialEq, prost::Message)]
struct Added {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    peer_urls: Vec<String>,
}

impl From<&Member> for Added {
    fn from(member: &Member) -> Self {
        Self {
            id: member.id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
        }
    }
}

impl From<Added> for Member {
    fn from(added: Added) -> Self {
        Self {
            id: added.id,
            name: added.name,
            peer_urls: added.peer_urls,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn member(id: u64) -> Member {
        Member {
            id,
            name: format!("m{id}"),
            peer_urls: vec![format!("http://m{id}")],
            ..Member::default()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_an_entry_says_a_change_is_applied_or_refused(
            changes in vec((any::<Index>(), any::<u8>()), 0..4),
            cut in any::<Option<Index>>(),
        ) {
            let replace = MemberChange::Replace { gone: 1, new: member(3) };
            let mut bytes = replace.encode();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let mut state = State::new();
            state.begin_group(vec![member(1), member(2)]);
            if let Ok(change) = ConfChangeV2::parse_from_bytes(&bytes)
                && !matches!(apply(&mut state, &change), Ok(Ok(())))
            {
                prop_assert_eq!(state.members(), vec![member(1), member(2)]);
            }
        }
    }
}
