//! Servers: a place in the group and the CA, and what administrators do with the group.

use euston_client::connect;
use euston_join::Role;
use euston_join::client::{
    JoinError, JoinedServer, join_agent, join_server, list_members, move_leader, promote_member,
    remove_member, replace_member,
};
use euston_tls::Fingerprint;

use crate::cluster::Cluster;

fn refusal(result: Result<JoinedServer, JoinError>) -> String {
    match result {
        Err(JoinError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_gets_the_ca_and_a_place_and_the_same_one_when_it_asks_again() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Server).await;
    let join = cluster.joining_server("s2", Some(token.clone()));
    let joined = join_server(&join).await.unwrap();
    assert_eq!(
        Fingerprint::of_ca(joined.authority.ca_pem()).unwrap(),
        cluster.fingerprint()
    );
    // What it signs, the others trust.
    let identity = joined
        .authority
        .issue_client("kate", &["system:masters"])
        .unwrap();
    let (admin, _) = connect(
        cluster.servers(),
        joined.authority.ca_pem(),
        Some(&identity),
    )
    .unwrap();
    let list = list_members(&admin).await.unwrap();
    assert_eq!(list.cluster_id, joined.cluster_id);
    assert_eq!(list.members.len(), 2);
    let me = list.members.iter().find(|m| m.id == joined.member_id);
    assert_eq!(me.unwrap().peer_urls, [join.peer_url.as_str()]);
    assert!(me.unwrap().learner);

    // From its folder, without a token; and with nothing left of it, from the group.
    let stored = join_server(&cluster.joining_server("s2", None))
        .await
        .unwrap();
    assert_eq!(stored.member_id, joined.member_id);
    std::fs::remove_dir_all(&join.dir).unwrap();
    let again = join_server(&join).await.unwrap();
    assert_eq!(again.member_id, joined.member_id);
    assert_eq!(again.members.len(), 2);
}

#[tokio::test]
async fn a_member_that_has_run_is_not_replaced_by_joining() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Server).await;
    let why = refusal(join_server(&cluster.joining_server("s1", Some(token))).await);
    assert!(why.contains("euston member remove"), "{why}");
    assert_eq!(cluster.store.members().len(), 1);
}

#[tokio::test]
async fn a_removed_member_comes_back_as_another() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Server).await;
    let join = cluster.joining_server("s2", Some(token));
    let first = join_server(&join).await.unwrap();
    let admin = cluster.admin();
    let left = remove_member(&admin, &first.member_id.to_string())
        .await
        .unwrap();
    assert_eq!(left.members.len(), 1);
    std::fs::remove_dir_all(&join.dir).unwrap();
    let second = join_server(&join).await.unwrap();
    assert_ne!(second.member_id, first.member_id);
}

#[tokio::test]
async fn what_the_group_refuses_comes_with_its_sentence() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Server).await;
    let learner = join_server(&cluster.joining_server("s2", Some(token)))
        .await
        .unwrap()
        .member_id
        .to_string();
    let admin = cluster.admin();
    let own = cluster.store.status().member_id;
    let list = list_members(&admin).await.unwrap();
    assert_eq!(list.leader.map(|l| l.0), Some(own));

    // It has not caught up, for it does not run.
    let why = promote_member(&admin, &learner).await.unwrap_err();
    assert!(why.to_string().contains("caught up"), "{why}");
    let why = remove_member(&admin, "s1").await.unwrap_err().to_string();
    assert!(why.starts_with("cannot remove the member s1: "), "{why}");
    let why = move_leader(&admin, "s9").await.unwrap_err().to_string();
    assert!(why.contains("s1") && why.contains(&learner), "{why}");
    // Asking for what is the case changes nothing.
    move_leader(&admin, "s1").await.unwrap();
    promote_member(&admin, "s1").await.unwrap();
    let url = "http://s3.example:2380";
    let why = replace_member(&admin, &learner, url).await.unwrap_err();
    assert!(why.to_string().contains("https://HOST:PORT"), "{why}");
    assert_eq!(list_members(&admin).await.unwrap().members.len(), 2);
}

#[tokio::test]
async fn only_administrators_look_after_the_group() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Agent).await;
    let agent = join_agent(&cluster.agent("w1", Some(token))).await.unwrap();
    let identity = Some(&agent.identity);
    let node = connect(cluster.servers(), &agent.ca_pem, identity)
        .unwrap()
        .0;
    let anonymous = connect(cluster.servers(), &agent.ca_pem, None).unwrap().0;
    for (client, expect) in [(node, "system:masters"), (anonymous, "certificate")] {
        let why = list_members(&client).await.unwrap_err().to_string();
        assert!(why.contains(expect), "{why}");
        let why = remove_member(&client, "s1").await.unwrap_err().to_string();
        assert!(why.contains(expect), "{why}");
    }
}

#[tokio::test]
async fn an_agents_token_lets_no_server_in() {
    let cluster = Cluster::start().await;
    let mut token = cluster.token(Role::Agent).await;
    match join_server(&cluster.joining_server("s2", Some(token.clone()))).await {
        Err(e @ JoinError::NeedsToken { .. }) => {
            assert!(e.to_string().contains("--role server"), "{e}");
        }
        other => panic!("{other:?}"),
    }
    // The cluster goes by what it noted, not by what the text says.
    token.role = Role::Server;
    let why = refusal(join_server(&cluster.joining_server("s2", Some(token))).await);
    assert!(why.contains("--role server"), "{why}");
    assert_eq!(cluster.store.members().len(), 1);
}
