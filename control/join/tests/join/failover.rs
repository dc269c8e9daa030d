//! What an agent does when the server that it talks to goes away.

use std::collections::BTreeMap;

use euston_client::connect;
use euston_join::Role;
use euston_join::client::join_agent;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};

use crate::cluster::{Cluster, PATIENCE};

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::new()),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn a_watch_goes_on_at_another_server() {
    let cluster = Cluster::start().await;
    let second = cluster.another_server(2).await;
    let token = cluster.token(Role::Agent).await;
    let agent = join_agent(&cluster.agent("w1", Some(token))).await.unwrap();
    let both = vec![cluster.server.address.into(), second.address.into()];
    let admin = cluster.authority.issue_client("kate", &["system:masters"]);
    let admin = admin.unwrap();
    let (client, servers) = connect(both, &agent.ca_pem, Some(&admin)).unwrap();

    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let events = watcher(maps, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    pin_mut!(events);
    let through_store: Api<ConfigMap> = {
        // By whichever server stays.
        let ca_pem = cluster.authority.ca_pem();
        let (client, _) = connect(servers.list(), ca_pem, Some(&admin)).unwrap();
        Api::namespaced(client, "default")
    };
    let mut stopped = None;
    for name in ["before", "after"] {
        through_store
            .create(&PostParams::default(), &config_map(name))
            .await
            .unwrap();
        let seen = async {
            loop {
                match events.next().await.expect("a watcher never ends") {
                    Ok(map) if map.metadata.name.as_deref() == Some(name) => return,
                    // A list after the change, or an error that the watcher gets over.
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect(name);
        if stopped.is_none() {
            let used = servers.preferred().unwrap();
            let first = used == cluster.server.address.into();
            let server = if first { &cluster.server } else { &second };
            server.stop.cancel();
            stopped = Some(used);
        }
    }
    assert_ne!(servers.preferred(), stopped);
}
