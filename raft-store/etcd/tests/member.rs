//! Whole members as a group on 127.0.0.1, in this process.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::net::SocketAddr;

use common::{Client, soon, until};
use raft_store::{KeyRange, RangeRequest, Txn};
use raft_store_etcd::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
    MoveLeaderRequest, PutRequest, StatusRequest,
};
use raft_store_etcd::{InitialState, Member, MemberConfig, MemberError};
use tempfile::TempDir;
use tonic::Code;

/// Addresses that nobody else in these tests has: a loopback address for each member.
fn peer_address(group: u8, at: usize) -> SocketAddr {
    let at = u8::try_from(at).unwrap();
    SocketAddr::from(([127, 77, group, at + 1], 2380))
}

struct Group {
    number: u8,
    dirs: Vec<TempDir>,
    list: Vec<(String, Vec<String>)>,
    members: Vec<Member>,
}

impl Group {
    async fn of(number: u8, size: usize) -> Self {
        let entry = |at| {
            let url = format!("http://{}", peer_address(number, at));
            (format!("m{at}"), vec![url])
        };
        let mut group = Self {
            number,
            dirs: (0..size).map(|_| tempfile::tempdir().unwrap()).collect(),
            list: (0..size).map(entry).collect(),
            members: Vec::new(),
        };
        for at in 0..size {
            let member = Member::start(group.config(at)).await.unwrap();
            group.members.push(member);
        }
        group
    }

    fn config(&self, at: usize) -> MemberConfig {
        MemberConfig::new(
            format!("m{at}"),
            self.dirs[at].path(),
            SocketAddr::from(([127, 0, 0, 1], 0)),
            peer_address(self.number, at),
            self.list.clone(),
        )
    }

    async fn client(&self, at: usize) -> Client {
        Client::connect(self.members[at].client_address())
            .await
            .unwrap()
    }

    async fn leader(&self) -> usize {
        until("there is a leader", async || {
            self.members.iter().position(|member| {
                let status = member.store().status();
                status.leader == Some(status.member_id)
            })
        })
        .await
    }

    fn id(&self, at: usize) -> u64 {
        self.members[at].store().status().member_id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_find_each_other_publish_where_they_serve_and_hand_over_when_they_stop() {
    let mut group = Group::of(1, 3).await;
    let mut client = group.client(0).await;
    client
        .kv
        .put(PutRequest {
            key: "a".into(),
            ..PutRequest::default()
        })
        .await
        .unwrap();
    let expect: Vec<String> = group
        .members
        .iter()
        .map(|member| format!("http://{}", member.client_address()))
        .collect();
    until("all have published", async || {
        let list = client
            .cluster
            .member_list(MemberListRequest { linearizable: true });
        let members = list.await.ok()?.into_inner().members;
        let urls = expect.iter().zip(0..).all(|(url, at)| {
            let name = format!("m{at}");
            let mut members = members.iter();
            members.any(|member| member.name == name && member.client_urls == [url.clone()])
        });
        urls.then_some(())
    })
    .await;

    let leader = group.leader().await;
    let term = group.members[leader].store().term();
    let follower = (leader + 1) % 3;
    let to_follower = MoveLeaderRequest {
        target_id: group.id(follower),
    };
    let mut maintenance = group.client(follower).await.maintenance;
    let refused = maintenance.move_leader(to_follower).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "etcdserver: not leader")
    );
    let mut maintenance = group.client(leader).await.maintenance;
    maintenance.move_leader(to_follower).await.unwrap();
    let status = maintenance
        .status(StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.leader, group.id(follower));

    let gone = group.members.remove(follower);
    soon("the end", gone.shutdown()).await.unwrap();
    // Handed over, not elected after a silence; one term for each of the two moves.
    let next = group.leader().await;
    assert!(group.members[next].store().term() >= term + 2);
    group.members[next]
        .store()
        .txn(Txn::put("b", "1"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_the_group_was_told_of_joins_as_a_learner_and_is_promoted() {
    let mut group = Group::of(2, 3).await;
    group.members[0]
        .store()
        .txn(Txn::put("a", "1"))
        .await
        .unwrap();
    let url = format!("http://{}", peer_address(2, 3));
    let mut client = group.client(0).await;
    let add = MemberAddRequest {
        peer_urls: vec![url.clone()],
        is_learner: true,
    };
    let added = until("it is added", async || {
        client.cluster.member_add(add.clone()).await.ok()
    })
    .await
    .into_inner();
    let id = added.member.unwrap().id;
    assert_eq!(added.members.len(), 4);

    group.dirs.push(tempfile::tempdir().unwrap());
    group.list.push(("m3".to_owned(), vec![url]));
    let joining = || MemberConfig {
        state: InitialState::Existing,
        ..group.config(3)
    };
    let member = soon("the joining", Member::start(joining())).await.unwrap();
    assert_eq!(member.store().status().member_id, id);
    let read = RangeRequest::new(KeyRange::key("a"));
    let found = soon("a read", async {
        loop {
            // Until the snapshot has come, it knows of nobody to ask.
            if let Ok(found) = member.store().range(read.clone()).await {
                return found;
            }
        }
    })
    .await;
    assert_eq!(found.kvs[0].value, "1");
    until("it is promoted", async || {
        let promote = MemberPromoteRequest { id };
        match client.cluster.member_promote(promote).await {
            Ok(answer) => Some(answer),
            Err(status) => {
                let expect = "can only promote a learner member which is in sync with leader";
                assert!(status.message().contains(expect), "{status}");
                None
            }
        }
    })
    .await;
    let again = client
        .cluster
        .member_promote(MemberPromoteRequest { id })
        .await;
    let again = again.unwrap_err();
    assert_eq!(
        again.message(),
        "etcdserver: can only promote a learner member"
    );

    // Started again, it goes on as who it is and asks nobody.
    soon("the end", member.shutdown()).await.unwrap();
    let member = soon("the start", Member::start(joining())).await.unwrap();
    assert_eq!(member.store().status().member_id, id);
    let removed = until("it is removed", async || {
        let remove = MemberRemoveRequest { id };
        client.cluster.member_remove(remove).await.ok()
    })
    .await;
    assert_eq!(removed.into_inner().members.len(), 3);
    let ended = soon("the end", member.run(std::future::pending::<()>())).await;
    assert!(matches!(ended, Err(MemberError::Stopped(_))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_clients_is_refused_without_tls_beyond_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let list = vec![("a".to_owned(), vec!["http://127.77.3.1:2380".to_owned()])];
    let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = MemberConfig::new("a", dir.path(), anywhere, peer_address(3, 0), list);
    let refused = Member::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("without TLS"), "{refused}");
}
