//! Which objects the pods on each node refer to.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{Container, Volume};
use serde::Deserialize;

/// The sorts of objects that pods refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Referred {
    /// Secrets.
    Secret,
    /// ConfigMaps.
    ConfigMap,
    /// PersistentVolumeClaims.
    Claim,
    /// ServiceAccounts.
    Account,
}

/// What is read of a pod: where it is, and to what it refers.
#[derive(Debug, Default, Deserialize)]
pub struct References {
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    service_account_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    volumes: Vec<Volume>,
    image_pull_secrets: Vec<Local>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Local {
    name: String,
}

impl References {
    /// The node that the pod is on; empty if it is on none.
    pub fn node(&self) -> &str {
        &self.spec.node_name
    }

    /// Every object that the pod called `pod` refers to.
    fn all(&self, pod: &str) -> HashSet<(Referred, String)> {
        use Referred::{Account, Claim, ConfigMap, Secret};
        let mut all = HashSet::new();
        let mut add = |what, name: &str| {
            if !name.is_empty() {
                all.insert((what, name.to_owned()));
            }
        };
        let spec = &self.spec;
        add(Account, &spec.service_account_name);
        for secret in &spec.image_pull_secrets {
            add(Secret, &secret.name);
        }
        for container in spec.containers.iter().chain(&spec.init_containers) {
            for source in container.env_from.iter().flatten() {
                if let Some(map) = &source.config_map_ref {
                    add(ConfigMap, &map.name);
                }
                if let Some(secret) = &source.secret_ref {
                    add(Secret, &secret.name);
                }
            }
            let sources = container
                .env
                .iter()
                .flatten()
                .filter_map(|e| e.value_from.as_ref());
            for source in sources {
                if let Some(key) = &source.config_map_key_ref {
                    add(ConfigMap, &key.name);
                }
                if let Some(key) = &source.secret_key_ref {
                    add(Secret, &key.name);
                }
            }
        }
        for volume in &spec.volumes {
            if let Some(map) = &volume.config_map {
                add(ConfigMap, &map.name);
            }
            if let Some(secret) = &volume.secret {
                add(Secret, secret.secret_name.as_deref().unwrap_or_default());
            }
            if let Some(claim) = &volume.persistent_volume_claim {
                add(Claim, &claim.claim_name);
            }
            if volume.ephemeral.is_some() {
                add(Claim, &format!("{pod}-{}", volume.name));
            }
            let csi = volume.csi.as_ref();
            if let Some(secret) = csi.and_then(|csi| csi.node_publish_secret_ref.as_ref()) {
                add(Secret, &secret.name);
            }
            let projected = volume.projected.iter();
            for source in projected.flat_map(|p| p.sources.iter().flatten()) {
                if let Some(map) = &source.config_map {
                    add(ConfigMap, &map.name);
                }
                if let Some(secret) = &source.secret {
                    add(Secret, &secret.name);
                }
            }
        }
        all
    }
}

#[derive(Debug)]
struct Placed {
    node: String,
    refers_to: HashSet<(Referred, String)>,
}

/// What pods refer to, and how many of them.
type Counted = HashMap<(Referred, String), usize>;

/// Pods by node, and what they refer to.
#[derive(Debug, Default)]
pub struct Graph {
    /// By namespace, then name.
    pods: HashMap<String, HashMap<String, Placed>>,
    /// How many pods of a node refer to an object: by node, then namespace.
    referred: HashMap<String, HashMap<String, Counted>>,
}

impl Graph {
    /// True if the pod is known and on a node: neither that nor what it refers to changes any more.
    pub fn is_placed(&self, namespace: &str, name: &str) -> bool {
        self.pods
            .get(namespace)
            .is_some_and(|pods| pods.contains_key(name))
    }

    /// Puts a pod in, if it is on a node.
    pub fn place(&mut self, namespace: &str, name: &str, pod: &References) {
        self.remove(namespace, name);
        if pod.node().is_empty() {
            return;
        }
        let placed = Placed {
            node: pod.node().to_owned(),
            refers_to: pod.all(name),
        };
        let of_node = self.referred.entry(placed.node.clone()).or_default();
        let counts = of_node.entry(namespace.to_owned()).or_default();
        for target in &placed.refers_to {
            *counts.entry(target.clone()).or_default() += 1;
        }
        let pods = self.pods.entry(namespace.to_owned()).or_default();
        pods.insert(name.to_owned(), placed);
    }

    /// Takes a pod out.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(pods) = self.pods.get_mut(namespace) else {
            return;
        };
        let Some(gone) = pods.remove(name) else {
            return;
        };
        if pods.is_empty() {
            self.pods.remove(namespace);
        }
        let Some(of_node) = self.referred.get_mut(&gone.node) else {
            return;
        };
        if let Some(counts) = of_node.get_mut(namespace) {
            for target in &gone.refers_to {
                if let Some(count) = counts.get_mut(target) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(target);
                    }
                }
            }
            if counts.is_empty() {
                of_node.remove(namespace);
            }
        }
        if of_node.is_empty() {
            self.referred.remove(&gone.node);
        }
    }

    /// True if a pod on `node` refers to the object.
    pub fn refers(&self, node: &str, what: Referred, namespace: &str, name: &str) -> bool {
        self.referred
            .get(node)
            .and_then(|of_node| of_node.get(namespace))
            .is_some_and(|counts| counts.contains_key(&(what, name.to_owned())))
    }

    /// True if the pod is on `node`.
    pub fn is_on(&self, node: &str, namespace: &str, name: &str) -> bool {
        let pods = self.pods.get(namespace);
        pods.and_then(|pods| pods.get(name))
            .is_some_and(|pod| pod.node == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(node: &str) -> Value {
        json!({
            "metadata": { "name": "p", "labels": { "spec": "x" } },
            "spec": {
                "nodeName": node,
                "serviceAccountName": "account",
                "imagePullSecrets": [{ "name": "pull" }, {}],
                "containers": [{
                    "name": "c",
                    "envFrom": [{ "configMapRef": { "name": "env-map" } }, { "secretRef": { "name": "env-secret" } }],
                    "env": [
                        { "name": "A", "valueFrom": { "configMapKeyRef": { "name": "key-map", "key": "k" } } },
                        { "name": "B", "valueFrom": { "secretKeyRef": { "name": "key-secret", "key": "k" } } },
                        { "name": "C", "value": "x" },
                    ],
                }],
                "initContainers": [{ "name": "i", "envFrom": [{ "secretRef": { "name": "init-secret" } }] }],
                "volumes": [
                    { "name": "a", "configMap": { "name": "map" } },
                    { "name": "b", "secret": { "secretName": "secret" } },
                    { "name": "c", "projected": { "sources": [
                        { "configMap": { "name": "projected-map" } },
                        { "secret": { "name": "projected-secret" } },
                        { "serviceAccountToken": { "path": "token" } },
                    ] } },
                    { "name": "d", "persistentVolumeClaim": { "claimName": "claim" } },
                    { "name": "e", "ephemeral": {} },
                    { "name": "f", "emptyDir": {} },
                ],
            },
            "status": { "phase": "Running" },
        })
    }

    fn placed(graph: &mut Graph, name: &str, pod: &Value) {
        let pod: References = serde_json::from_value(pod.clone()).unwrap();
        graph.place("ns", name, &pod);
    }

    #[test]
    fn every_reference_of_a_pod_is_known_on_its_node_and_nowhere_else() {
        use Referred::{Account, Claim, ConfigMap, Secret};
        let mut graph = Graph::default();
        placed(&mut graph, "p", &pod("n"));
        for (what, name) in [
            (Account, "account"),
            (Secret, "pull"),
            (ConfigMap, "env-map"),
            (Secret, "env-secret"),
            (ConfigMap, "key-map"),
            (Secret, "key-secret"),
            (Secret, "init-secret"),
            (ConfigMap, "map"),
            (Secret, "secret"),
            (ConfigMap, "projected-map"),
            (Secret, "projected-secret"),
            (Claim, "claim"),
            (Claim, "p-e"),
        ] {
            assert!(graph.refers("n", what, "ns", name), "{what:?} {name}");
            assert!(!graph.refers("m", what, "ns", name), "{what:?} {name}");
            assert!(!graph.refers("n", what, "other", name), "{what:?} {name}");
        }
        for (what, name) in [
            (Secret, "map"),
            (ConfigMap, "secret"),
            (Secret, ""),
            (Claim, "e"),
        ] {
            assert!(!graph.refers("n", what, "ns", name), "{what:?} {name}");
        }
        assert!(graph.is_on("n", "ns", "p") && !graph.is_on("m", "ns", "p"));
    }

    #[test]
    fn an_object_is_referred_to_until_the_last_pod_goes() {
        let mut graph = Graph::default();
        let secret = |graph: &Graph, node| graph.refers(node, Referred::Secret, "ns", "secret");
        placed(&mut graph, "p", &pod(""));
        assert!(!graph.is_placed("ns", "p") && !secret(&graph, ""));
        placed(&mut graph, "p", &pod("n"));
        placed(&mut graph, "p", &pod("n"));
        placed(&mut graph, "q", &pod("n"));
        placed(&mut graph, "r", &pod("m"));
        graph.remove("ns", "p");
        assert!(secret(&graph, "n") && secret(&graph, "m"));
        graph.remove("ns", "q");
        graph.remove("ns", "q");
        assert!(!secret(&graph, "n") && secret(&graph, "m"));
        graph.remove("ns", "r");
        graph.remove("other", "r");
        assert!(graph.pods.is_empty() && graph.referred.is_empty());
    }
}
