//! The store's group of members, as those who let others join need it.

use async_trait::async_trait;
use euston_join::{Group, GroupError, GroupId, Member};
use raft_store::{Error, Store};

/// The group that `store` is a member of.
pub(crate) struct StoreGroup(pub(crate) Store);

#[async_trait]
impl Group for StoreGroup {
    fn cluster_id(&self) -> GroupId {
        GroupId(self.0.status().cluster_id)
    }

    async fn members(&self) -> Result<Vec<Member>, GroupError> {
        self.0.read_index().await.map_err(group_error)?;
        Ok(self.0.members().into_iter().map(member).collect())
    }

    fn leader(&self) -> Option<GroupId> {
        self.0.status().leader.map(GroupId)
    }

    async fn add_learner(&self, peer_url: &str) -> Result<Member, GroupError> {
        let urls = vec![peer_url.to_owned()];
        let added = self.0.member_add(urls, true).await;
        added.map(member).map_err(group_error)
    }

    async fn promote(&self, id: GroupId) -> Result<(), GroupError> {
        self.0.member_promote(id.0).await.map_err(group_error)
    }

    async fn remove(&self, id: GroupId) -> Result<(), GroupError> {
        self.0.member_remove(id.0).await.map_err(group_error)
    }

    async fn replace(&self, gone: GroupId, peer_url: &str) -> Result<Member, GroupError> {
        let urls = vec![peer_url.to_owned()];
        let replaced = self.0.member_replace(gone.0, urls).await;
        replaced.map(member).map_err(group_error)
    }

    async fn move_leader(&self, to: GroupId) -> Result<(), GroupError> {
        self.0.move_leader(to.0).await.map_err(group_error)
    }
}

fn member(member: raft_store::Member) -> Member {
    Member {
        id: GroupId(member.id),
        // Published by the member itself, once it runs.
        started: !member.name.is_empty(),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
        reachable: None,
    }
}

fn group_error(error: Error) -> GroupError {
    let sentence = error.to_string();
    match error {
        Error::MemberNotFound { .. } => GroupError::NotFound(sentence),
        Error::MemberExists
        | Error::NotLearner { .. }
        | Error::LearnerNotReady
        | Error::UnhealthyGroup => GroupError::Refused(sentence),
        _ if error.outcome_unknown() => GroupError::Unknown(sentence),
        _ => GroupError::Unavailable(sentence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_to_try_again() {
        let check = |error: Error, expect: fn(String) -> GroupError| {
            let sentence = error.to_string();
            assert_eq!(group_error(error), expect(sentence));
        };
        check(Error::MemberNotFound { id: 1 }, GroupError::NotFound);
        check(Error::UnhealthyGroup, GroupError::Refused);
        check(Error::LearnerNotReady, GroupError::Refused);
        check(Error::Unavailable { what: "busy" }, GroupError::Unavailable);
        let timeout = Error::Timeout {
            what: "a change",
            after: std::time::Duration::from_secs(1),
        };
        check(timeout, GroupError::Unknown);
    }
}
