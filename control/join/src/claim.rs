//! A node's name belongs to the machine that took it first.
//!
//! A token alone would let its holder join under the name of a node that runs, and be sent that node's
//! pods and their Secrets. So each machine makes a secret of its own, and the first join under a name
//! keeps the hash of it in the Secret `kube-system/euston-node-NAME`.

use euston_client::errors;
use k8s_openapi::api::core::v1::{Node, Secret as SecretObject};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::refusal::{Refusal, Result};
use crate::secret::{Secret, SecretHash};
use crate::tokens::NAMESPACE;

const TYPE: &str = "euston.dev/node";
const NAME_PREFIX: &str = "euston-node-";
const KEY: &str = "hash";

/// Takes `node` for the machine that knows `secret`, or finds that it has it already.
pub(crate) async fn take(client: &Client, node: &str, secret: &Secret) -> Result<()> {
    if let Some(owner) = owner(client, node).await? {
        return decide(node, &owner, secret);
    }
    // A node that never joined this way: a server's own, or one whose Secret alone was deleted.
    let nodes: Api<Node> = Api::all(client.clone());
    match nodes.get_opt(node).await {
        Ok(None) => {}
        Ok(Some(_)) => return Err(taken(node)),
        Err(e) => return Err(Refusal::api(&format!("look for the node {node}"), &e)),
    }
    match objects(client)
        .create(&PostParams::default(), &encode(node, &secret.hash()))
        .await
    {
        Ok(_) => Ok(()),
        // Two machines at the same moment; or this one, whose first answer was lost.
        Err(e) if errors::is_already_exists(&e) => check(client, node, secret).await,
        Err(e) => Err(Refusal::api(&format!("take the node name {node}"), &e)),
    }
}

/// Whether `node` still belongs to the machine that knows `secret`.
pub(crate) async fn check(client: &Client, node: &str, secret: &Secret) -> Result<()> {
    match owner(client, node).await? {
        Some(owner) => decide(node, &owner, secret),
        None => Err(Refusal::forbidden(format!(
            "the node {node} was given up (its Secret {NAMESPACE}/{NAME_PREFIX}{node} is gone); remove its \
             certificates and join again with a token"
        ))),
    }
}

async fn owner(client: &Client, node: &str) -> Result<Option<SecretHash>> {
    let name = format!("{NAME_PREFIX}{node}");
    let found = objects(client).get_opt(&name).await;
    let Some(object) = found.map_err(|e| Refusal::api(&format!("read the Secret {name}"), &e))?
    else {
        return Ok(None);
    };
    let hash = object
        .data
        .as_ref()
        .filter(|_| object.type_.as_deref() == Some(TYPE))
        .and_then(|data| std::str::from_utf8(&data.get(KEY)?.0).ok()?.parse().ok());
    match hash {
        Some(hash) => Ok(Some(hash)),
        None => Err(Refusal::internal(format!(
            "the Secret {NAMESPACE}/{name} does not say which machine is the node {node}; {}",
            free(node)
        ))),
    }
}

fn decide(node: &str, owner: &SecretHash, secret: &Secret) -> Result<()> {
    if owner.matches(secret) {
        Ok(())
    } else {
        Err(taken(node))
    }
}

fn taken(node: &str) -> Refusal {
    Refusal::forbidden(format!(
        "there is a node {node} already, and it is another machine, or this one has lost its data folder; \
         choose another name, or {}",
        free(node)
    ))
}

fn free(node: &str) -> String {
    format!(
        "if that machine is gone for good, free its name: kubectl delete node {node}; kubectl -n {NAMESPACE} \
         delete secret {NAME_PREFIX}{node}"
    )
}

fn objects(client: &Client) -> Api<SecretObject> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn encode(node: &str, hash: &SecretHash) -> SecretObject {
    SecretObject {
        metadata: ObjectMeta {
            name: Some(format!("{NAME_PREFIX}{node}")),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        string_data: Some([(KEY.to_owned(), hash.to_string())].into()),
        immutable: Some(true),
        ..SecretObject::default()
    }
}
