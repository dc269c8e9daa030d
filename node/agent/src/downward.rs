//! The downward API: what a pod may know about itself.

use euston_api::quantity;
use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The fields of one pod on this node.
pub(crate) struct Fields<'a> {
    pod: &'a core::Pod,
    ip: Option<IpAddr>,
    host_ip: &'a str,
    /// CPU in thousandths and memory in bytes that the node offers: what a container without limits
    /// may use.
    node: (i64, i64),
}

impl<'a> Fields<'a> {
    pub(crate) fn new(
        pod: &'a core::Pod,
        ip: Option<IpAddr>,
        host_ip: &'a str,
        node: (i64, i64),
    ) -> Self {
        Self {
            pod,
            ip,
            host_ip,
            node,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The value of a field by its path.
    ///
    /// # Errors
    /// When this node does not offer that field.
    pub(crate) fn field(&self, path: &str) -> Result<String, String> {
        let meta = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
        let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
            Ok(map
                .as_ref()
                .and_then(|map| map.get(key))
                .cloned()
                .unwrap_or_default())
        };
        if let Some(key) = subscript(path, "metadata.labels") {
            return entry(&meta.labels, key);
        }
        if let Some(key) = subscript(path, "metadata.annotations") {
            return entry(&meta.annotations, key);
        }
        match path {
            "metadata.name" => text(meta.name.as_ref()),
            "metadata.namespace" => text(meta.namespace.as_ref()),
            "metadata.uid" => text(meta.uid.as_ref()),
            "metadata.labels" => Ok(lines(&meta.labels)),
            "metadata.annotations" => Ok(lines(&meta.annotations)),
            "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
            "spec.serviceAccountName" => {
                text(spec.and_then(|spec| spec.service_account_name.as_ref()))
            }
            "status.hostIP" | "status.hostIPs" => Ok(self.host_ip.to_owned()),
            "status.podIP" | "status.podIPs" => {
                Ok(self.ip.map(|ip| ip.to_string()).unwrap_or_default())
            }
            _ => Err(format!(
                "the field {path:?} of a pod is not offered to its containers"
            )),
        }
    }
}

/// `key` of `prefix['key']`.
fn subscript<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?
        .strip_prefix("['")?
        .strip_suffix("']")
}

/// A line `key="value"` for each entry, with the value quoted.
fn lines(map: &Option<BTreeMap<String, String>>) -> String {
    let list: Vec<_> = map
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    list.join("\n")
}

/// A limit or request of a container, in units of the divisor, rounded up.
///
/// # Errors
/// When the resource or the divisor makes no sense.
pub(crate) fn resource(
    fields: &Fields<'_>,
    container: &core::Container,
    wanted: &core::ResourceFieldSelector,
) -> Result<String, String> {
    let container = match &wanted.container_name {
        Some(name) if *name != container.name => fields
            .pod
            .spec
            .iter()
            .flat_map(|spec| {
                spec.containers
                    .iter()
                    .chain(spec.init_containers.iter().flatten())
            })
            .find(|other| other.name == *name)
            .ok_or_else(|| format!("the pod has no container {name:?}"))?,
        _ => container,
    };
    let (list, name) = wanted
        .resource
        .split_once('.')
        .ok_or_else(|| format!("{:?} is not a resource of a container", wanted.resource))?;
    let resources = container.resources.as_ref();
    let (limits, requests) = (
        resources.and_then(|r| r.limits.as_ref()),
        resources.and_then(|r| r.requests.as_ref()),
    );
    let found = match list {
        "limits" => limits.and_then(|list| list.get(name)),
        "requests" => requests.and_then(|list| list.get(name)),
        _ => {
            return Err(format!(
                "{:?} is not a resource of a container",
                wanted.resource
            ));
        }
    };
    let unlimited = list == "limits";
    let milli = match (name, found) {
        (_, Some(found)) => i128::from(quantity::parse_milli(found).unwrap_or(0)),
        ("cpu", None) if unlimited => i128::from(fields.node.0),
        ("memory", None) if unlimited => i128::from(fields.node.1) * 1000,
        ("cpu" | "memory" | "ephemeral-storage", None) => 0,
        _ => {
            return Err(format!(
                "{:?} is not a resource of a container",
                wanted.resource
            ));
        }
    };
    let divisor = match &wanted.divisor {
        None => 1000,
        Some(divisor) => match quantity::parse_milli(divisor) {
            Some(0) => 1000,
            Some(milli) if milli > 0 => i128::from(milli),
            _ => return Err(format!("{:?} is not a divisor", divisor.0)),
        },
    };
    Ok(((milli + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> core::Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "u1",
                "labels": {"app": "web", "tier": "a\"b"}, "annotations": {"x/y": "z"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "baker", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}},
                {"name": "free"}
            ]}
        }))
        .unwrap()
    }

    #[test]
    fn fields_are_found_by_path() {
        let pod = pod();
        let fields = Fields::new(
            &pod,
            "10.128.0.9".parse().ok(),
            "127.0.0.1",
            (2000, 1 << 30),
        );
        for (path, expect) in [
            ("metadata.name", Some("p")),
            ("metadata.namespace", Some("shop")),
            ("metadata.uid", Some("u1")),
            ("metadata.labels['app']", Some("web")),
            ("metadata.labels['none']", Some("")),
            ("metadata.annotations['x/y']", Some("z")),
            ("metadata.labels", Some("app=\"web\"\ntier=\"a\\\"b\"")),
            ("spec.nodeName", Some("n1")),
            ("spec.serviceAccountName", Some("baker")),
            ("status.podIP", Some("10.128.0.9")),
            ("status.hostIP", Some("127.0.0.1")),
            ("spec.priority", None),
        ] {
            assert_eq!(fields.field(path).ok().as_deref(), expect, "{path}");
        }
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        let fields = Fields::new(&pod, None, "127.0.0.1", (2000, 1 << 30));
        let containers = &pod.spec.as_ref().unwrap().containers;
        for (container, resource_name, divisor, expect) in [
            (0, "limits.cpu", "", Some("2")),
            (0, "limits.cpu", "1m", Some("1500")),
            (0, "limits.memory", "1Mi", Some("64")),
            (0, "limits.memory", "1", Some("67108864")),
            (0, "requests.cpu", "1m", Some("250")),
            (1, "limits.cpu", "1", Some("2")),
            (1, "limits.memory", "1Gi", Some("1")),
            (1, "requests.memory", "1", Some("0")),
            (0, "limits.gpu", "1", None),
            (0, "cpu", "1", None),
        ] {
            let divisor = match divisor {
                "" => json!(null),
                text => json!(text),
            };
            let wanted =
                serde_json::from_value(json!({"resource": resource_name, "divisor": divisor}))
                    .unwrap();
            let got = resource(&fields, &containers[container], &wanted);
            assert_eq!(got.ok().as_deref(), expect, "{resource_name} / {divisor}");
        }
    }
}
