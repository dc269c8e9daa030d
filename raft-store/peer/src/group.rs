//! Asking a running group who its members are.

use std::time::Duration;

use raft_store::Member;

use crate::address::Address;
use crate::config::PeerConfig;
use crate::error::PeerError;
use crate::link::Link;
use crate::proto;

/// For the answer, once there is a connection: it is one message, made of what is in memory.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A group, as one of its members knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's id.
    pub cluster_id: u64,
    /// Its members; a change that was just made may not have come to the member that was asked.
    pub members: Vec<Member>,
}

/// Asks the member at a peer url.
pub(crate) async fn ask(url: &str, config: &PeerConfig) -> Result<Group, PeerError> {
    let failed = |why: String| PeerError::Ask {
        url: url.to_owned(),
        why,
    };
    let address = Address::parse(url, config.tls.is_some()).map_err(failed)?;
    let link = Link::connect(&address, config).await;
    let link = link.map_err(|trouble| failed(trouble.to_string()))?;
    let answer = link.members(ANSWER_MAX).await;
    let answer = answer.map_err(|trouble| failed(trouble.to_string()))?;
    Ok(Group {
        cluster_id: answer.cluster_id,
        members: answer.members.into_iter().map(of_wire).collect(),
    })
}

pub(crate) fn to_wire(member: Member) -> proto::Member {
    proto::Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
    }
}

pub(crate) fn of_wire(member: proto::Member) -> Member {
    Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
    }
}
