//! Creating many pods from one template: the body is encoded once, and of each answer only the
//! metadata is decoded.

use bytes::Bytes;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::core::{PartialObjectMeta, Request};
use kube::{Client, Resource};

use crate::claim::controller_reference;
use crate::error::{Attempt, Error};

/// The JSON of a pod of `rs`. The API server completes its name from `generateName`.
pub(super) fn encode(rs: &ReplicaSet) -> Result<Bytes, Error> {
    let pod = pod(rs);
    serde_json::to_vec(&pod)
        .map(Bytes::from)
        .map_err(kube::Error::SerdeError)
        .attempting(|| {
            format!(
                "encode a pod of ReplicaSet {}",
                rs.metadata.name.as_deref().unwrap_or_default()
            )
        })
}

fn pod(rs: &ReplicaSet) -> Pod {
    let template = rs.spec.template.clone().unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!(
                "{}-",
                rs.metadata.name.as_deref().unwrap_or_default()
            )),
            namespace: rs.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(rs)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Creates one pod from an encoded body and returns its metadata.
pub(super) async fn post(
    client: &Client,
    namespace: &str,
    body: &Bytes,
) -> Result<ObjectMeta, Error> {
    let attempt = || format!("create a pod in namespace {namespace}");
    let request = Request::new(Pod::url_path(&(), Some(namespace)))
        .create(&PostParams::default(), body.to_vec())
        .map_err(kube::Error::BuildRequest)
        .attempting(attempt)?;
    let created: PartialObjectMeta<Pod> = client.request(request).await.attempting(attempt)?;
    Ok(created.metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_follows_its_template() {
        let rs: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "web-5d9c", "namespace": "ns", "uid": "u1"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}, "annotations": {"a": "1"}, "finalizers": ["f/x"], "name": "ignored"},
                    "spec": {"containers": [{"name": "c", "image": "web:v1"}]},
                },
            },
        }))
        .unwrap();
        let encoded: serde_json::Value = serde_json::from_slice(&encode(&rs).unwrap()).unwrap();
        assert_eq!(
            encoded,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "generateName": "web-5d9c-", "namespace": "ns", "labels": {"app": "web"}, "annotations": {"a": "1"},
                    "finalizers": ["f/x"],
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d9c", "uid": "u1",
                        "controller": true, "blockOwnerDeletion": true,
                    }],
                },
                "spec": {"containers": [{"name": "c", "image": "web:v1"}]},
            })
        );
    }
}
