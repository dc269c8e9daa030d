//! Workers: in with a token, again without one, and nobody in their place.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;

use euston_client::connect;
use euston_join::Role;
use euston_join::client::{JoinError, JoinedAgent, Renewal, join_agent, keep_current};
use euston_join::tokens::{self, NewToken};
use euston_tls::{Identity, SigningRequest};
use http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, PATIENCE};

fn client(agent: &JoinedAgent) -> Client {
    let identity = Some(&agent.identity);
    connect(agent.servers.clone(), &agent.ca_pem, identity)
        .unwrap()
        .0
}

/// A node object, as a node's own agent registers it.
async fn register(client: Client, name: &str) {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let nodes: Api<Node> = Api::all(client);
    nodes.create(&PostParams::default(), &node).await.unwrap();
}

fn refusal(result: Result<JoinedAgent, JoinError>) -> String {
    match result {
        Err(JoinError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_agent_joins_with_a_token_and_starts_again_without() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Agent).await;
    let joined = join_agent(&cluster.agent("w1", Some(token.clone())))
        .await
        .unwrap();
    let subject = joined.identity.subject().unwrap();
    assert_eq!(subject.common_name, "system:node:w1");
    assert_eq!(subject.organizations, ["system:nodes"]);
    assert_eq!(joined.identity.names().unwrap(), ["10.0.0.7", "w1"]);
    register(client(&joined), "w1").await;

    tokens::delete(&cluster.client, &token.id).await.unwrap();
    let again = join_agent(&cluster.agent("w1", None)).await.unwrap();
    assert_eq!(again.identity.cert_pem, joined.identity.cert_pem);
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(client(&again));
    let mine = ListParams::default().fields("spec.nodeName=w1");
    pods.list(&mine).await.unwrap();

    let dir = cluster.agent("w1", None).dir;
    let mode = |file: &str| {
        let path = dir.join(file);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("node.key"), 0o600);
    assert_eq!(mode("node.secret"), 0o600);
    assert_eq!(mode(""), 0o700);
}

#[tokio::test]
async fn what_is_kept_of_a_token_lets_nobody_in() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Server).await;
    join_agent(&cluster.agent("w1", Some(token.clone())))
        .await
        .unwrap();
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    let all = secrets.list(&ListParams::default()).await.unwrap();
    assert_eq!(all.items.len(), 2);
    let own = std::fs::read_to_string(cluster.agent("w1", None).dir.join("node.secret")).unwrap();
    for secret in &all {
        for value in secret.data.iter().flatten().map(|(_, v)| v) {
            let text = String::from_utf8(value.0.clone()).unwrap();
            assert!(!text.contains(&token.secret.to_string()), "{text}");
            assert!(!text.contains(own.trim()), "{text}");
        }
    }
    let listed = tokens::list(&cluster.client).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, listed[0].role, listed[0].created_by.as_str()),
        (&token.id, Role::Server, "a test")
    );
}

#[tokio::test]
async fn tokens_that_are_wrong_deleted_or_over_are_refused_with_what_to_do() {
    let cluster = Cluster::start().await;
    let good = cluster.token(Role::Agent).await;

    let mut wrong = good.clone();
    wrong.secret = cluster.token(Role::Agent).await.secret;
    let why = refusal(join_agent(&cluster.agent("w1", Some(wrong))).await);
    assert!(why.contains("euston token create"), "{why}");

    let new = NewToken {
        role: Role::Agent,
        ttl: Some(std::time::Duration::from_secs(60)),
        description: String::new(),
        created_by: String::new(),
    };
    let past = Timestamp::now() - SignedDuration::from_mins(5);
    let over = tokens::create(&cluster.client, &new, cluster.fingerprint(), past)
        .await
        .unwrap();
    let why = refusal(join_agent(&cluster.agent("w1", Some(over.clone()))).await);
    assert!(why.contains("ended at"), "{why}");
    // The next one that is made clears it away.
    cluster.token(Role::Agent).await;
    let listed = tokens::list(&cluster.client).await.unwrap();
    assert!(listed.iter().all(|t| t.id != over.id), "{listed:?}");

    tokens::delete(&cluster.client, &good.id).await.unwrap();
    let why = refusal(join_agent(&cluster.agent("w1", Some(good.clone()))).await);
    assert!(why.contains("is not known here"), "{why}");
    let twice = tokens::delete(&cluster.client, &good.id).await.unwrap_err();
    assert!(twice.to_string().contains("there is no token"), "{twice}");

    match join_agent(&cluster.agent("w1", None)).await {
        Err(JoinError::NeedsToken { role, .. }) => assert_eq!(role, Role::Agent),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_stays_with_the_machine_that_took_it_until_it_is_freed() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Agent).await;
    let first = cluster.agent("w1", Some(token.clone()));
    let joined = join_agent(&first).await.unwrap();
    register(client(&joined), "w1").await;

    let mut second = first.clone();
    second.dir = cluster.dir.path().join("another machine");
    let why = refusal(join_agent(&second).await);
    assert!(why.contains("kubectl delete node w1"), "{why}");
    assert!(why.contains("delete secret euston-node-w1"), "{why}");

    // The same machine, whose certificate was lost, proves that it is the same.
    std::fs::remove_file(first.dir.join("node.crt")).unwrap();
    join_agent(&first).await.unwrap();

    // Half of what frees a name is not enough: the node may still run.
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    let params = DeleteParams::default();
    secrets.delete("euston-node-w1", &params).await.unwrap();
    refusal(join_agent(&second).await);
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.delete("w1", &params).await.unwrap();
    join_agent(&second).await.unwrap();

    // And the first one is out when its certificate is.
    let why = refusal(
        join_agent(&{
            std::fs::remove_file(first.dir.join("node.crt")).unwrap();
            first
        })
        .await,
    );
    assert!(why.contains("another machine"), "{why}");
}

#[tokio::test]
async fn a_folder_belongs_to_one_node_of_one_cluster() {
    let (cluster, other) = (Cluster::start().await, Cluster::start().await);
    let token = cluster.token(Role::Agent).await;
    let joined = cluster.agent("w1", Some(token.clone()));
    join_agent(&joined).await.unwrap();

    let mut renamed = joined.clone();
    renamed.name = "w2".to_owned();
    let mut elsewhere = joined.clone();
    elsewhere.token = Some(other.token(Role::Agent).await);
    for wrong in [renamed, elsewhere] {
        match join_agent(&wrong).await {
            Err(e @ JoinError::OtherData { .. }) => {
                assert!(e.to_string().contains("use another folder"), "{e}");
            }
            other => panic!("{other:?}"),
        }
    }
    // A new address needs a new certificate, and that a token.
    let mut moved = joined.clone();
    moved.addresses = vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 8))];
    let again = join_agent(&moved).await.unwrap();
    assert_eq!(again.identity.names().unwrap(), ["10.0.0.8", "w1"]);
}

#[tokio::test]
async fn a_renewed_certificate_is_like_the_one_before_and_works() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Agent).await;
    let join = cluster.agent("w1", Some(token));
    let joined = join_agent(&join).await.unwrap();
    let (client, servers) = connect(
        joined.servers.clone(),
        &joined.ca_pem,
        Some(&joined.identity),
    )
    .unwrap();
    // One that nobody can read is due.
    let (sender, mut receiver) = watch::channel(Identity {
        cert_pem: String::new(),
        key_pem: String::new(),
    });
    let stop = CancellationToken::new();
    let renewal = Renewal {
        client,
        servers,
        dir: join.dir.clone(),
        identity: sender,
    };
    let task = tokio::spawn(keep_current(renewal, stop.clone()));
    tokio::time::timeout(PATIENCE, receiver.changed())
        .await
        .expect("renewed")
        .unwrap();
    stop.cancel();
    task.await.unwrap();

    let renewed = receiver.borrow().clone();
    assert_ne!(renewed.cert_pem, joined.identity.cert_pem);
    assert_ne!(renewed.key_pem, joined.identity.key_pem);
    assert_eq!(
        renewed.subject().unwrap(),
        joined.identity.subject().unwrap()
    );
    assert_eq!(renewed.names().unwrap(), joined.identity.names().unwrap());
    let stored = join_agent(&cluster.agent("w1", None)).await.unwrap();
    assert_eq!(stored.identity.cert_pem, renewed.cert_pem);
    register(self::client(&stored), "w1").await;
}

#[tokio::test]
async fn who_was_given_up_or_is_no_node_gets_no_new_certificate() {
    let cluster = Cluster::start().await;
    let token = cluster.token(Role::Agent).await;
    let join = cluster.agent("w1", Some(token));
    let joined = join_agent(&join).await.unwrap();
    let secret = std::fs::read_to_string(join.dir.join("node.secret")).unwrap();
    let ask = |client: Client, secret: String| async move {
        let csr = SigningRequest::new().unwrap().csr_pem;
        let body = json!({"nodeSecret": secret.trim(), "csr": csr});
        let request = Request::post("/euston/v1/renew").body(body.to_string().into_bytes());
        match client.request::<Value>(request.unwrap()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(e) => panic!("{e}"),
        }
    };
    let anonymous = connect(cluster.servers(), &joined.ca_pem, None).unwrap().0;
    assert_eq!(ask(client(&joined), secret.clone()).await, 200);
    assert_eq!(ask(client(&joined), "0".repeat(32)).await, 403);
    assert_eq!(ask(cluster.admin(), secret.clone()).await, 403);
    assert_eq!(ask(anonymous, secret.clone()).await, 401);
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    secrets
        .delete("euston-node-w1", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(ask(client(&joined), secret).await, 403);
}
