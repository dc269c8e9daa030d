//! Asking who the members are, before being one.

use super::*;
use crate::{Group, PeerError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_about_to_join_learns_who_the_members_are() {
    let (a, b) = pair().await;
    let joining = PeerNetwork::listen(PeerConfig::new(local(0)))
        .await
        .expect("listening");
    let url = format!("http://{}", b.address());
    let group = joining.ask_members(&url).await.expect("an answer");
    let members = vec![a.member(), b.member()];
    assert_eq!(
        group,
        Group {
            cluster_id: CLUSTER,
            members
        }
    );
    // It asked, and is no member for that.
    assert_eq!(b.network.counters().members.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_be_asked_is_named_with_the_reason() {
    let joining = PeerNetwork::listen(PeerConfig::new(local(0)))
        .await
        .expect("listening");
    let nobody = tokio::net::TcpListener::bind(local(0))
        .await
        .expect("a port");
    let free = nobody.local_addr().expect("an address");
    drop(nobody);
    for (url, expect) in [
        (format!("http://{free}"), "refused"),
        (format!("https://{free}"), "is for TLS"),
        ("bogus".to_owned(), "no port"),
    ] {
        match joining.ask_members(&url).await {
            Err(error @ PeerError::Ask { .. }) => {
                let said = error.to_string();
                assert!(said.contains(expect) && said.contains(&url), "{said}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}
