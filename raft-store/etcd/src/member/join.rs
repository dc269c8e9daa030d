//! How a member that joins finds out who it is.

use std::time::Duration;

use raft_store::Start;
use raft_store_peer::{Group, PeerNetwork};
use tokio::time::{Instant, sleep};

use super::{MemberConfig, MemberError};

/// How long to go on asking: what was told to the group just now may not have come to the members that are asked.
const ASK_FOR: Duration = Duration::from_secs(30);
/// Between rounds of questions.
const ASK_PAUSE: Duration = Duration::from_millis(250);

/// Asks the other members, one after the other, until one knows a member with this one's peer url.
pub(super) async fn ask(
    network: &PeerNetwork,
    config: &MemberConfig,
) -> Result<Start, MemberError> {
    let own = config.own_peer_urls();
    let others: Vec<&String> = config
        .initial_cluster
        .iter()
        .filter(|(name, _)| *name != config.store.name)
        .flat_map(|(_, urls)| urls)
        .collect();
    let mut last = "no other member is listed in the initial cluster".to_owned();
    let deadline = Instant::now() + ASK_FOR;
    while !others.is_empty() {
        for url in &others {
            match network.ask_members(url).await {
                Ok(group) => match myself(&group, own) {
                    Some(member_id) => {
                        return Ok(Start::Join {
                            cluster_id: group.cluster_id,
                            member_id,
                            members: group.members,
                        });
                    }
                    None => last = format!("the member at {url} knows none"),
                },
                Err(error) => last = error.to_string(),
            }
        }
        if Instant::now() >= deadline {
            break;
        }
        tracing::info!("not a member yet: {last}");
        sleep(ASK_PAUSE).await;
    }
    Err(MemberError::NotAdded {
        own: own.join(", "),
        last,
    })
}

/// The id of the member that has one of these peer urls.
fn myself(group: &Group, own: &[String]) -> Option<u64> {
    let mut members = group.members.iter();
    let found = members.find(|member| {
        let mut urls = member.peer_urls.iter();
        urls.any(|url| own.iter().any(|own| same(own, url)))
    });
    found.map(|member| member.id)
}

/// A slash at the end makes no other url.
fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_finds_itself_by_any_of_its_urls() {
        let member = |id, urls: &[&str]| raft_store::Member {
            id,
            peer_urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            ..raft_store::Member::default()
        };
        let group = Group {
            cluster_id: 1,
            members: vec![
                member(1, &["http://10.0.0.1:2380"]),
                member(2, &["http://10.0.0.2:2380/", "http://10.1.0.2:2380"]),
            ],
        };
        let check = |own: &[&str], expect: Option<u64>| {
            let own: Vec<String> = own.iter().map(|url| (*url).to_owned()).collect();
            assert_eq!(myself(&group, &own), expect, "{own:?}");
        };
        check(&["http://10.0.0.1:2380"], Some(1));
        check(&["http://10.9.0.2:2380", "http://10.0.0.2:2380"], Some(2));
        check(&["http://10.1.0.2:2380/"], Some(2));
        check(&["http://10.0.0.3:2380"], None);
        check(&["https://10.0.0.1:2380"], None);
        check(&[], None);
    }
}
