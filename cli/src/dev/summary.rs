//! What `dev` prints: where the cluster is, what runs, how to reach it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use euston_images::Pushed;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use serde::Serialize;

use super::boot::Cluster;
use super::manifest::Applied;
use super::nodes;
use super::rollout::{RolledOut, State};
use crate::args::DevArgs;

/// Everything worth knowing about the cluster; `-o json` prints it as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    api: String,
    kubeconfig: PathBuf,
    data_dir: PathBuf,
    temporary: bool,
    nodes: Vec<Node>,
    /// From the start to all nodes Ready.
    ready_seconds: f64,
    pub(crate) images: Vec<Pushed>,
    deployments: Vec<State>,
    services: Vec<Reachable>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    address: String,
}

/// A Service that can be reached from outside.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reachable {
    name: String,
    namespace: String,
    urls: Vec<String>,
}

impl Summary {
    pub(crate) fn new(cluster: &Cluster, args: &DevArgs, ready: Duration) -> Self {
        let nodes = (1..=args.nodes).map(|n| Node {
            name: nodes::name(n),
            address: DevArgs::node_address(n).to_string(),
        });
        Self {
            api: cluster.url.clone(),
            kubeconfig: cluster.place.kubeconfig(),
            data_dir: cluster.place.path().to_path_buf(),
            temporary: cluster.place.is_temporary(),
            nodes: nodes.collect(),
            ready_seconds: ready.as_secs_f64(),
            images: Vec::new(),
            deployments: Vec::new(),
            services: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Adds what the manifests brought.
    ///
    /// # Errors
    /// When a Service cannot be read.
    pub(crate) async fn add(
        &mut self,
        client: &Client,
        applied: &[Applied],
        rolled_out: RolledOut,
    ) -> anyhow::Result<()> {
        self.deployments = rolled_out.deployments;
        self.problems = rolled_out.problems;
        for service in applied.iter().filter(|a| a.kind == "Service") {
            let namespace = service.namespace.as_deref().unwrap_or("default");
            let api: Api<Service> = Api::namespaced(client.clone(), namespace);
            let found = api
                .get_opt(&service.name)
                .await
                .with_context(|| format!("cannot read the Service {}", service.name))?;
            self.services.extend(found.as_ref().and_then(reachable));
        }
        Ok(())
    }

    /// What is known once the nodes are Ready.
    pub(crate) fn cluster_text(&self) -> String {
        let (count, s) = (
            self.nodes.len(),
            if self.nodes.len() == 1 { "" } else { "s" },
        );
        let end = if self.temporary {
            ", removed at the end"
        } else {
            ""
        };
        let shown = match self.nodes.as_slice() {
            [first, .., last] => {
                format!(
                    "{} ({}) to {} ({})",
                    first.name, first.address, last.name, last.address
                )
            }
            [one] => format!("{} ({})", one.name, one.address),
            [] => "none".to_owned(),
        };
        format!(
            "Euston {}: {count} node{s} Ready after {:.2} s\n\n  API    {}\n  nodes  {shown}\n  data   {}{end}\n\n  export KUBECONFIG={}\n\n",
            env!("CARGO_PKG_VERSION"),
            self.ready_seconds,
            self.api,
            self.data_dir.display(),
            quoted(&self.kubeconfig),
        )
    }

    /// What to do now.
    pub(crate) fn closing_text(&self) -> String {
        let pki = |name: &str| quoted(&self.data_dir.join("pki").join(name));
        let mut text = String::from("\nReach it with\n\n");
        for service in &self.services {
            for url in &service.urls {
                text.push_str(&format!(
                    "  curl {url}/   # Service {}/{}\n",
                    service.namespace, service.name
                ));
            }
        }
        text.push_str("  kubectl get pods --all-namespaces\n");
        text.push_str(&format!(
            "  curl --cacert {} --cert {} --key {} {}/version\n",
            pki("ca.crt"),
            pki("admin.crt"),
            pki("admin.key"),
            self.api
        ));
        if self.images.is_empty() && self.deployments.is_empty() {
            text.push_str("  euston image push app.wasm app:v1\n");
        }
        text.push_str("\nCtrl-C stops it.\n");
        text
    }
}

fn reachable(service: &Service) -> Option<Reachable> {
    let spec = service.spec.as_ref()?;
    if !matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer")) {
        return None;
    }
    let urls: Vec<String> = spec
        .ports
        .iter()
        .flatten()
        .filter(|p| p.protocol.as_deref().is_none_or(|p| p == "TCP"))
        .filter_map(|p| p.node_port)
        .map(|port| format!("http://{}:{port}", DevArgs::node_address(1)))
        .collect();
    (!urls.is_empty()).then(|| Reachable {
        name: service.metadata.name.clone().unwrap_or_default(),
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        urls,
    })
}

/// A path for a shell: quoted where it holds anything that a shell might change.
fn quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn services_with_node_ports_have_urls() {
        let check = |spec: Value, expect: Option<&[&str]>| {
            let service: Service =
                serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap();
            let urls = reachable(&service).map(|r| r.urls);
            assert_eq!(
                urls,
                expect.map(|e| e.iter().map(|u| (*u).to_owned()).collect()),
                "{spec}"
            );
        };
        let ports = json!([{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]);
        check(
            json!({"type": "NodePort", "ports": ports}),
            Some(&["http://127.0.0.1:30080"]),
        );
        check(
            json!({"type": "LoadBalancer", "ports": ports}),
            Some(&["http://127.0.0.1:30080"]),
        );
        check(json!({"type": "ClusterIP", "ports": [{"port": 80}]}), None);
        check(json!({"type": "NodePort", "ports": [{"port": 80}]}), None);
    }

    #[test]
    fn paths_survive_a_shell() {
        for (path, expect) in [
            ("/tmp/a-b_1.x", "/tmp/a-b_1.x"),
            ("/a b", "'/a b'"),
            ("/a'b", r"'/a'\''b'"),
            ("/$x", "'/$x'"),
        ] {
            assert_eq!(quoted(std::path::Path::new(path)), expect);
        }
    }
}
