//! A container's environment: literals, ConfigMaps, Secrets, the pod's own fields, and the Services
//! of its namespace.

use crate::configs::{ConfigKey, ConfigKind, Found};
use crate::downward::{Fields, resource};
use euston_network::Service;
use k8s_openapi::api::core::v1 as core;
use std::collections::HashMap;
use std::sync::Arc;

/// What has been fetched for a container: an object, or the fact that there is none.
pub(crate) type Sources = HashMap<ConfigKey, Found>;

/// The ConfigMaps and Secrets that a container's environment refers to.
pub(crate) fn needs(namespace: &str, container: &core::Container) -> Vec<ConfigKey> {
    let mut keys = Vec::new();
    let mut add = |kind, name: &str| {
        let key = ConfigKey::new(kind, namespace, name);
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    for from in container.env_from.iter().flatten() {
        if let Some(map) = &from.config_map_ref {
            add(ConfigKind::ConfigMap, &map.name);
        }
        if let Some(secret) = &from.secret_ref {
            add(ConfigKind::Secret, &secret.name);
        }
    }
    for source in container
        .env
        .iter()
        .flatten()
        .filter_map(|var| var.value_from.as_ref())
    {
        if let Some(map) = &source.config_map_key_ref {
            add(ConfigKind::ConfigMap, &map.name);
        }
        if let Some(secret) = &source.secret_key_ref {
            add(ConfigKind::Secret, &secret.name);
        }
    }
    keys
}

/// Puts the environment together. What comes later wins: Services, then `envFrom`, then `env`.
///
/// # Errors
/// A sentence that names the object or key that is missing. No value of a Secret is ever in it.
pub(crate) fn resolve(
    fields: &Fields<'_>,
    container: &core::Container,
    services: &[Arc<Service>],
    sources: &Sources,
) -> Result<Vec<(String, String)>, String> {
    let mut env = Env::default();
    for service in services {
        service_variables(service, &mut env);
    }
    let namespace = fields.namespace();
    for from in container.env_from.iter().flatten() {
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => (ConfigKind::ConfigMap, &map.name, map.optional),
            (_, Some(secret)) => (ConfigKind::Secret, &secret.name, secret.optional),
            _ => continue,
        };
        let key = ConfigKey::new(kind, namespace, name);
        let Some(Some(data)) = sources.get(&key) else {
            if optional == Some(true) {
                continue;
            }
            return Err(format!("{key} not found"));
        };
        let prefix = from.prefix.as_deref().unwrap_or_default();
        for (key, value) in data.iter() {
            // A binary value cannot be a variable; the kubelet leaves it out as well.
            if let Ok(value) = std::str::from_utf8(value) {
                env.set(&format!("{prefix}{key}"), value.to_owned());
            }
        }
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (_, Some(source)) => match from_source(fields, container, source, sources)? {
                Some(value) => value,
                None => continue,
            },
            (Some(text), None) => expand(text, |name| env.get(name)),
            (None, None) => String::new(),
        };
        env.set(&var.name, value);
    }
    Ok(env.0)
}

fn from_source(
    fields: &Fields<'_>,
    container: &core::Container,
    source: &core::EnvVarSource,
    sources: &Sources,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return fields.field(&field.field_path).map(Some);
    }
    if let Some(wanted) = &source.resource_field_ref {
        return resource(fields, container, wanted).map(Some);
    }
    let (kind, name, key, optional) = if let Some(map) = &source.config_map_key_ref {
        (ConfigKind::ConfigMap, &map.name, &map.key, map.optional)
    } else if let Some(secret) = &source.secret_key_ref {
        (
            ConfigKind::Secret,
            &secret.name,
            &secret.key,
            secret.optional,
        )
    } else {
        return Err("env.valueFrom names a source that this node does not know".into());
    };
    let object = ConfigKey::new(kind, fields.namespace(), name);
    let optional = optional == Some(true);
    let Some(Some(data)) = sources.get(&object) else {
        return if optional {
            Ok(None)
        } else {
            Err(format!("{object} not found"))
        };
    };
    match data.get(key).map(|value| std::str::from_utf8(value)) {
        Some(Ok(value)) => Ok(Some(value.to_owned())),
        Some(Err(_)) => Err(format!("the key {key:?} of {object} is not UTF-8 text")),
        None if optional => Ok(None),
        None => Err(format!("couldn't find key {key} in {object}")),
    }
}

/// Variables in the order in which they were first set.
#[derive(Default)]
struct Env(Vec<(String, String)>);

impl Env {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

/// `REDIS_SERVICE_HOST`, `REDIS_SERVICE_PORT`, and the variables that Docker links had, as
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables> lists.
fn service_variables(service: &Service, env: &mut Env) {
    let def = &service.def;
    let (Some(ip), Some(first)) = (def.cluster_ips.first(), def.ports.first()) else {
        return;
    };
    let name = def.name.to_ascii_uppercase().replace('-', "_");
    env.set(&format!("{name}_SERVICE_HOST"), ip.to_string());
    env.set(&format!("{name}_SERVICE_PORT"), first.port.to_string());
    env.set(
        &format!("{name}_PORT"),
        format!("tcp://{ip}:{}", first.port),
    );
    for port in &def.ports {
        if !port.name.is_empty() {
            let port_name = port.name.to_ascii_uppercase().replace('-', "_");
            env.set(
                &format!("{name}_SERVICE_PORT_{port_name}"),
                port.port.to_string(),
            );
        }
        let link = format!("{name}_PORT_{}_TCP", port.port);
        env.set(&link, format!("tcp://{ip}:{}", port.port));
        env.set(&format!("{link}_PROTO"), "tcp".into());
        env.set(&format!("{link}_PORT"), port.port.to_string());
        env.set(&format!("{link}_ADDR"), ip.to_string());
    }
}

/// Replaces `$(NAME)` by the variable's value. `$$` stands for `$`, and what is not a known variable
/// stays as it is.
pub(crate) fn expand<'a>(text: &str, value_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            match value_of(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The arguments a command sees: `command` and `args` expanded, the image's name first where there
/// is no command.
pub(crate) fn arguments(container: &core::Container, env: &[(String, String)]) -> Vec<String> {
    let value_of = |name: &str| {
        env.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    let mut all = Vec::with_capacity(1 + command.len() + args.len());
    if command.is_empty() {
        all.push(container.image.clone().unwrap_or_default());
    }
    all.extend(
        command
            .iter()
            .chain(args)
            .map(|text| expand(text, value_of)),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configs::ConfigData;
    use serde_json::json;

    #[test]
    fn references_are_expanded() {
        for (text, expect) in [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(B)z", "x1y2z"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost: 5$", "cost: 5$"),
            ("", ""),
        ] {
            let value = |name: &str| match name {
                "A" => Some("1"),
                "B" => Some("2"),
                _ => None,
            };
            assert_eq!(expand(text, value), expect, "{text:?}");
        }
    }

    fn pod() -> core::Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": []}
        }))
        .unwrap()
    }

    fn resolved(container: serde_json::Value) -> Result<Vec<(String, String)>, String> {
        let pod = pod();
        let fields = Fields::new(
            &pod,
            "10.128.0.9".parse().ok(),
            "127.0.0.1",
            (2000, 1 << 30),
        );
        let container: core::Container = serde_json::from_value(container).unwrap();
        let data = |pairs: &[(&str, &str)]| -> Found {
            Some(Arc::new(ConfigData::of(pairs.iter().map(|(k, v)| {
                ((*k).to_owned(), bytes::Bytes::copy_from_slice(v.as_bytes()))
            }))))
        };
        let sources: Sources = [
            (
                ConfigKey::new(ConfigKind::ConfigMap, "shop", "cm"),
                data(&[("K", "v"), ("L", "w")]),
            ),
            (
                ConfigKey::new(ConfigKind::Secret, "shop", "s"),
                data(&[("TOKEN", "hush")]),
            ),
            (ConfigKey::new(ConfigKind::ConfigMap, "shop", "gone"), None),
        ]
        .into_iter()
        .collect();
        resolve(&fields, &container, &[], &sources)
    }

    #[test]
    fn variables_come_from_everywhere_and_later_ones_win() {
        let env = |list: serde_json::Value| json!({"name": "c", "env": list});
        for (container, expect) in [
            (
                env(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}])),
                Ok("A=1 B=12"),
            ),
            (env(json!([{"name": "E"}])), Ok("E=")),
            (
                env(
                    json!([{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
                ),
                Ok("N=p"),
            ),
            (
                env(
                    json!([{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "K"}}}]),
                ),
                Ok("V=v"),
            ),
            (
                env(
                    json!([{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "TOKEN"}}}]),
                ),
                Ok("V=hush"),
            ),
            (
                env(
                    json!([{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "X"}}}]),
                ),
                Err("couldn't find key X in configmap \"shop/cm\""),
            ),
            (
                env(
                    json!([{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "X", "optional": true}}}]),
                ),
                Ok(""),
            ),
            (
                env(
                    json!([{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "X"}}}]),
                ),
                Err("configmap \"shop/gone\" not found"),
            ),
            (
                json!({"name": "c", "envFrom": [{"configMapRef": {"name": "cm"}, "prefix": "P_"}],
                    "env": [{"name": "P_L", "value": "mine"}]}),
                Ok("P_K=v P_L=mine"),
            ),
            (
                json!({"name": "c", "envFrom": [{"secretRef": {"name": "none", "optional": true}}]}),
                Ok(""),
            ),
            (
                json!({"name": "c", "envFrom": [{"secretRef": {"name": "none"}}]}),
                Err("secret \"shop/none\" not found"),
            ),
        ] {
            let got = resolved(container.clone()).map(|env| {
                let list: Vec<_> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
                list.join(" ")
            });
            assert_eq!(
                got.as_deref().map_err(String::as_str),
                expect,
                "{container}"
            );
        }
    }

    #[test]
    fn arguments_begin_with_a_program_name() {
        let env = [("WHO".to_owned(), "you".to_owned())];
        for (container, expect) in [
            (json!({"name": "c", "image": "app:v1"}), vec!["app:v1"]),
            (
                json!({"name": "c", "image": "app:v1", "args": ["-v", "$(WHO)"]}),
                vec!["app:v1", "-v", "you"],
            ),
            (
                json!({"name": "c", "image": "app:v1", "command": ["run"], "args": ["x"]}),
                vec!["run", "x"],
            ),
        ] {
            let container: core::Container = serde_json::from_value(container).unwrap();
            assert_eq!(arguments(&container, &env), expect);
        }
    }
}
