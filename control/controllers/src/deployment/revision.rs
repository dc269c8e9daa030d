//! Revisions of a deployment: which ReplicaSet holds which template, and what its annotations say.
//!
//! Follows `pkg/controller/deployment/util` of Kubernetes; `kubectl rollout history|undo` reads what
//! is written here.

use std::collections::BTreeMap;

use euston_api::labels::{DEPLOYMENT_REVISION, LAST_APPLIED, POD_TEMPLATE_HASH};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::rolling;
use crate::claim::controller_reference;

pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const DEPRECATED_ROLLBACK: &str = "deprecated.deployment.rollback.to";

/// The revision history annotation is cut from its oldest end to at most this many bytes.
const HISTORY_BYTES_MAX: usize = 2000;

/// Letters and digits that cannot form a word by accident; the alphabet of generated names.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name for a pod template: stable for equal templates, different after a collision.
pub(super) fn template_hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    let mut hash = Fnv32::new();
    // Maps are sorted and absent fields left out, so equal templates give equal bytes. Serialising
    // a template to memory cannot fail: its keys are strings.
    let bytes = serde_json::to_vec(template).unwrap_or_default();
    hash.write(&bytes);
    if let Some(count) = collision_count {
        hash.write(&count.to_le_bytes());
    }
    let digits = hash.0.to_string();
    digits
        .bytes()
        .map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()]))
        .collect()
}

/// FNV-1a, 32 bits: the hash that Kubernetes uses here too.
struct Fnv32(u32);

impl Fnv32 {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

/// Whether `rs` was made from `template`; the hash label that was added to it does not count.
pub(super) fn same_template(template: &PodTemplateSpec, rs: &ReplicaSet) -> bool {
    fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
        let mut bare = template.clone();
        if let Some(labels) = bare.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(POD_TEMPLATE_HASH);
        }
        let meta = bare.metadata.get_or_insert_default();
        meta.labels.get_or_insert_default();
        // Annotations left out and empty ones are the same thing.
        meta.annotations.get_or_insert_default();
        meta.creation_timestamp = None;
        bare
    }
    rs.spec
        .template
        .as_ref()
        .is_some_and(|other| bare(template) == bare(other))
}

pub(super) fn by_creation(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    let created = |rs: &ReplicaSet| rs.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created(a)
        .cmp(&created(b))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// The revision noted on an object; 0 if there is none.
pub(super) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, DEPLOYMENT_REVISION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or_default()
}

pub(super) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Notes on `rs` how many replicas its deployment wants and may have; scaling in proportion reads it.
pub(super) fn note_replicas(rs: &mut ReplicaSet, deployment: &Deployment) {
    let desired = rolling::desired(deployment);
    let max = desired.saturating_add(rolling::max_surge(deployment));
    let annotations = rs.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), max.to_string());
}

/// Brings the annotations of the newest ReplicaSet up to date: the deployment's own (among them the
/// cause of the change), the revision, and the revisions it held before.
pub(super) fn annotate(rs: &mut ReplicaSet, deployment: &Deployment, new_revision: i64) {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        let ours = [
            LAST_APPLIED,
            DEPLOYMENT_REVISION,
            REVISION_HISTORY,
            DESIRED_REPLICAS,
            MAX_REPLICAS,
            DEPRECATED_ROLLBACK,
        ];
        if !ours.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let old = annotations
        .get(DEPLOYMENT_REVISION)
        .cloned()
        .unwrap_or_default();
    // A ReplicaSet that already carries a higher revision keeps it.
    if old.parse::<i64>().unwrap_or_default() >= new_revision {
        return;
    }
    annotations.insert(DEPLOYMENT_REVISION.to_owned(), new_revision.to_string());
    if !old.is_empty() {
        push_history(annotations, old);
    }
}

fn push_history(annotations: &mut BTreeMap<String, String>, old: String) {
    let mut history: Vec<String> = annotations
        .get(REVISION_HISTORY)
        .map(|history| {
            history
                .split(',')
                .filter(|entry| !entry.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    history.push(old);
    let mut joined = history.join(",");
    while joined.len() > HISTORY_BYTES_MAX {
        history.remove(0);
        joined = history.join(",");
    }
    annotations.insert(REVISION_HISTORY.to_owned(), joined);
}

/// A new ReplicaSet for the deployment's present template, with `replicas`.
pub(super) fn new_replica_set(deployment: &Deployment, revision: i64, replicas: i32) -> ReplicaSet {
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count);
    let hash = template_hash(&deployment.spec.template, collisions);
    let mut template = deployment.spec.template.clone();
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector: LabelSelector = deployment.spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let mut rs = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}-{hash}",
                deployment.metadata.name.as_deref().unwrap_or_default()
            )),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    };
    annotate(&mut rs, deployment, revision);
    note_replicas(&mut rs, deployment);
    rs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]},
        }))
        .unwrap()
    }

    fn deployment(image: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "d1", "annotations": {
                "kubernetes.io/change-cause": "because", LAST_APPLIED: "{}", DEPLOYMENT_REVISION: "3",
            }},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)},
        }))
        .unwrap()
    }

    #[test]
    fn hashes_are_stable_and_tell_templates_apart() {
        let one = template_hash(&template("web:v1"), None);
        assert_eq!(one, template_hash(&template("web:v1"), None));
        assert_ne!(one, template_hash(&template("web:v2"), None));
        assert_ne!(one, template_hash(&template("web:v1"), Some(1)));
        assert!(
            (1..=10).contains(&one.len()) && one.bytes().all(|b| SAFE.contains(&b)),
            "{one}"
        );
    }

    #[test]
    fn a_replica_set_is_recognised_by_its_template() {
        let rs = new_replica_set(&deployment("web:v1"), 1, 2);
        assert!(same_template(&template("web:v1"), &rs));
        assert!(!same_template(&template("web:v2"), &rs));
        let mut unlabelled = template("web:v1");
        unlabelled.metadata.as_mut().unwrap().annotations = Some(BTreeMap::new());
        assert!(
            same_template(&unlabelled, &rs),
            "empty annotations are none"
        );
    }

    #[test]
    fn a_new_replica_set_carries_hash_owner_and_annotations() {
        let rs = new_replica_set(&deployment("web:v1"), 4, 2);
        let hash = rs.metadata.labels.as_ref().unwrap()[POD_TEMPLATE_HASH].clone();
        assert_eq!(rs.metadata.name, Some(format!("web-{hash}")));
        assert_eq!(
            rs.spec.selector.match_labels.as_ref().unwrap()[POD_TEMPLATE_HASH],
            hash
        );
        let pod_labels = rs
            .spec
            .template
            .as_ref()
            .unwrap()
            .metadata
            .as_ref()
            .unwrap()
            .labels
            .clone()
            .unwrap();
        assert_eq!(pod_labels[POD_TEMPLATE_HASH], hash);
        let owner = &rs.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.uid.as_str(), owner.controller),
            ("Deployment", "d1", Some(true))
        );
        let annotations: Vec<_> = rs
            .metadata
            .annotations
            .iter()
            .flatten()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            annotations,
            [
                (DESIRED_REPLICAS, "4"),
                (MAX_REPLICAS, "5"),
                (DEPLOYMENT_REVISION, "4"),
                ("kubernetes.io/change-cause", "because"),
            ]
        );
    }

    #[test]
    fn an_older_replica_set_that_becomes_current_gets_a_new_revision_and_remembers_the_old() {
        let mut rs = new_replica_set(&deployment("web:v1"), 1, 0);
        for (revision, expect, history) in [
            (1, "1", None),
            (3, "3", Some("1")),
            (2, "3", Some("1")),
            (5, "5", Some("1,3")),
        ] {
            annotate(&mut rs, &deployment("web:v1"), revision);
            assert_eq!(
                annotation(&rs.metadata, DEPLOYMENT_REVISION),
                Some(expect),
                "asked for {revision}"
            );
            assert_eq!(
                annotation(&rs.metadata, REVISION_HISTORY),
                history,
                "asked for {revision}"
            );
        }
        for revision in 6..1500 {
            annotate(&mut rs, &deployment("web:v1"), revision);
        }
        let history = annotation(&rs.metadata, REVISION_HISTORY).unwrap();
        assert!(
            history.len() <= HISTORY_BYTES_MAX && history.ends_with(",1498"),
            "{}",
            history.len()
        );
    }
}
