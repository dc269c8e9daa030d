//! Volumes: directories of the host that containers see.
//!
//! Files of ConfigMaps, Secrets and the downward API are replaced all at once: they lie in a
//! directory of their own that `..data` points to, and the pointer is swapped.

use crate::configs::{ConfigKey, ConfigKind};
use crate::downward::{Fields, resource};
use crate::env::Sources;
use crate::tokens::Tokens;
use bytes::Bytes;
use euston_sandbox::Mount;
use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// Where a pod's volumes lie in its directory; no container can have this name.
const VOLUMES: &str = "volumes~";
/// The pointer to the present set of files.
const DATA: &str = "..data";

/// Files of a volume, by their path in it.
pub(crate) type Files = BTreeMap<String, Bytes>;

/// The objects that the volumes of a pod are made from.
pub(crate) fn needs(namespace: &str, spec: &core::PodSpec) -> Vec<ConfigKey> {
    let mut keys = Vec::new();
    let mut add = |kind, name: &str| {
        let key = ConfigKey::new(kind, namespace, name);
        if !name.is_empty() && !keys.contains(&key) {
            keys.push(key);
        }
    };
    for volume in spec.volumes.iter().flatten() {
        if let Some(map) = &volume.config_map {
            add(ConfigKind::ConfigMap, &map.name);
        }
        if let Some(name) = volume
            .secret
            .as_ref()
            .and_then(|secret| secret.secret_name.as_ref())
        {
            add(ConfigKind::Secret, name);
        }
        for source in volume
            .projected
            .iter()
            .flat_map(|p| p.sources.iter().flatten())
        {
            if let Some(map) = &source.config_map {
                add(ConfigKind::ConfigMap, &map.name);
            }
            if let Some(secret) = &source.secret {
                add(ConfigKind::Secret, &secret.name);
            }
        }
    }
    keys
}

/// What a volume is on this node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A directory of the pod's own.
    Empty,
    /// Files that this node writes and keeps current.
    Files(Files),
    /// A directory of the host.
    Host(PathBuf),
}

/// Works out what a volume holds.
///
/// # Errors
/// What is missing, or that this node has no such volumes.
pub(crate) fn content(
    volume: &core::Volume,
    fields: &Fields<'_>,
    sources: &Sources,
    tokens: &Tokens,
    allow_host_path: bool,
) -> Result<Content, String> {
    let fail = |why: String| format!("the volume {:?} cannot be set up: {why}", volume.name);
    let mut files = Files::new();
    if volume.empty_dir.is_some() {
        return Ok(Content::Empty);
    }
    if let Some(host) = &volume.host_path {
        return if allow_host_path {
            Ok(Content::Host(PathBuf::from(&host.path)))
        } else {
            Err(fail("hostPath is switched off on this node".into()))
        };
    }
    let no_container = core::Container::default();
    if let Some(map) = &volume.config_map {
        let key = ConfigKey::new(ConfigKind::ConfigMap, fields.namespace(), &map.name);
        project(
            &mut files,
            &key,
            map.items.as_deref(),
            map.optional,
            sources,
        )
        .map_err(fail)?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let key = ConfigKey::new(ConfigKind::Secret, fields.namespace(), name);
        project(
            &mut files,
            &key,
            secret.items.as_deref(),
            secret.optional,
            sources,
        )
        .map_err(fail)?;
    } else if let Some(downward) = &volume.downward_api {
        for item in downward.items.iter().flatten() {
            downward_file(&mut files, item, fields, &no_container).map_err(fail)?;
        }
    } else if let Some(projected) = &volume.projected {
        for source in projected.sources.iter().flatten() {
            if let Some(map) = &source.config_map {
                let key = ConfigKey::new(ConfigKind::ConfigMap, fields.namespace(), &map.name);
                project(
                    &mut files,
                    &key,
                    map.items.as_deref(),
                    map.optional,
                    sources,
                )
                .map_err(fail)?;
            } else if let Some(secret) = &source.secret {
                let key = ConfigKey::new(ConfigKind::Secret, fields.namespace(), &secret.name);
                project(
                    &mut files,
                    &key,
                    secret.items.as_deref(),
                    secret.optional,
                    sources,
                )
                .map_err(fail)?;
            } else if let Some(downward) = &source.downward_api {
                for item in downward.items.iter().flatten() {
                    downward_file(&mut files, item, fields, &no_container).map_err(fail)?;
                }
            } else if let Some(token) = &source.service_account_token {
                let bytes = tokens.get(&(volume.name.clone(), token.path.clone()));
                let bytes = bytes.ok_or_else(|| fail(format!("no token for {:?}", token.path)))?;
                files.insert(inner_path(&token.path).map_err(fail)?, bytes.clone());
            } else {
                return Err(fail(
                    "this node projects configMap, secret, downwardAPI and serviceAccountToken \
                     sources only"
                        .into(),
                ));
            }
        }
    } else {
        return Err(fail(
            "this node has emptyDir, configMap, secret, projected, downwardAPI and hostPath \
             volumes only"
                .into(),
        ));
    }
    Ok(Content::Files(files))
}

fn project(
    files: &mut Files,
    key: &ConfigKey,
    items: Option<&[core::KeyToPath]>,
    optional: Option<bool>,
    sources: &Sources,
) -> Result<(), String> {
    let optional = optional == Some(true);
    let Some(Some(data)) = sources.get(key) else {
        return if optional {
            Ok(())
        } else {
            Err(format!("{key} not found"))
        };
    };
    match items {
        None | Some([]) => {
            files.extend(
                data.iter()
                    .map(|(name, bytes)| (name.clone(), bytes.clone())),
            );
        }
        Some(items) => {
            for item in items {
                match data.get(&item.key) {
                    Some(bytes) => {
                        files.insert(inner_path(&item.path)?, bytes.clone());
                    }
                    None if optional => {}
                    None => return Err(format!("{key} has no key {:?}", item.key)),
                }
            }
        }
    }
    Ok(())
}

fn downward_file(
    files: &mut Files,
    item: &core::DownwardAPIVolumeFile,
    fields: &Fields<'_>,
    container: &core::Container,
) -> Result<(), String> {
    let text = match (&item.field_ref, &item.resource_field_ref) {
        (Some(field), _) => fields.field(&field.field_path)?,
        (_, Some(wanted)) => resource(fields, container, wanted)?,
        _ => return Err(format!("the file {:?} has no source", item.path)),
    };
    files.insert(inner_path(&item.path)?, Bytes::from(text));
    Ok(())
}

/// A relative path without any way out of the volume.
fn inner_path(path: &str) -> Result<String, String> {
    let inside = !path.is_empty()
        && !path.starts_with("..")
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if inside {
        Ok(path.to_owned())
    } else {
        Err(format!("{path:?} is not a path inside the volume"))
    }
}

/// The directory of a volume.
pub(crate) fn dir(pod_dir: &Path, volume: &str) -> PathBuf {
    pod_dir.join(VOLUMES).join(volume)
}

/// A file of a volume, as it is now.
pub(crate) fn file(pod_dir: &Path, volume: &str, path: &str) -> PathBuf {
    dir(pod_dir, volume).join(DATA).join(path)
}

/// Makes a volume's directory be what it should; called again when its files change.
pub(crate) fn write(pod_dir: &Path, volume: &str, content: &Content) -> io::Result<()> {
    let dir = dir(pod_dir, volume);
    match content {
        Content::Empty => fs::create_dir_all(&dir),
        Content::Files(files) => write_files(&dir, files),
        // It is checked when it is mounted.
        Content::Host(_) => Ok(()),
    }
}

fn write_files(dir: &Path, files: &Files) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && same(&dir.join(old), files)
    {
        return Ok(());
    }
    let number = old
        .as_ref()
        .and_then(|old| old.to_str()?.strip_prefix("..")?.parse::<u64>().ok())
        .unwrap_or(0)
        + 1;
    let name = format!("..{number}");
    let fresh = dir.join(&name);
    // A crash may have left it behind, half written.
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700))?;
    for (path, bytes) in files {
        let path = fresh.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    let pointer = dir.join("..data~");
    let _ = fs::remove_file(&pointer);
    symlink(&name, &pointer)?;
    fs::rename(&pointer, dir.join(DATA))?;
    let top: std::collections::BTreeSet<&str> = files
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    for name in &top {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with("..") && !top.contains(name) {
            fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old {
        let _ = fs::remove_dir_all(dir.join(old));
    }
    Ok(())
}

fn same(dir: &Path, files: &Files) -> bool {
    fn count(dir: &Path) -> usize {
        let Ok(entries) = fs::read_dir(dir) else {
            return 0;
        };
        entries
            .flatten()
            .map(|entry| {
                if entry.path().is_dir() {
                    count(&entry.path())
                } else {
                    1
                }
            })
            .sum()
    }
    count(dir) == files.len()
        && files
            .iter()
            .all(|(path, bytes)| fs::read(dir.join(path)).is_ok_and(|found| found == *bytes))
}

/// The directories that a container sees.
///
/// # Errors
/// When a mount names no volume, or a part of one that is not a directory.
pub(crate) fn mounts(
    pod_dir: &Path,
    spec: &core::PodSpec,
    container: &core::Container,
) -> Result<Vec<Mount>, String> {
    container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| {
            let volume = spec
                .volumes
                .iter()
                .flatten()
                .find(|volume| volume.name == mount.name)
                .ok_or_else(|| format!("no volume of the pod is named {:?}", mount.name))?;
            let mut host = match &volume.host_path {
                Some(path) => PathBuf::from(&path.path),
                None => dir(pod_dir, &volume.name),
            };
            if let Some(sub) = mount.sub_path.as_deref().filter(|sub| !sub.is_empty()) {
                host = host.join(inner_path(sub)?);
                if volume.empty_dir.is_some() {
                    fs::create_dir_all(&host).map_err(|error| {
                        format!(
                            "cannot make {sub:?} in the volume {:?}: {error}",
                            volume.name
                        )
                    })?;
                }
                if !host.is_dir() {
                    return Err(format!(
                        "subPath {sub:?} of the volume {:?} is not a directory; Wasm containers \
                         mount directories, so mount the volume itself",
                        volume.name
                    ));
                }
            }
            Ok(Mount {
                host,
                guest: mount.mount_path.clone(),
                read_only: mount.read_only == Some(true)
                    || (volume.empty_dir.is_none() && volume.host_path.is_none()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configs::ConfigData;
    use serde_json::json;
    use std::sync::Arc;

    fn sources() -> Sources {
        let entries = [("a.conf", "1"), ("b.conf", "2")];
        let data =
            ConfigData::of(entries.map(|(k, v)| (k.to_owned(), Bytes::from_static(v.as_bytes()))));
        [(
            ConfigKey::new(ConfigKind::ConfigMap, "shop", "cm"),
            Some(Arc::new(data)),
        )]
        .into()
    }

    fn tokens() -> Tokens {
        [(
            ("v".to_owned(), "token".to_owned()),
            Bytes::from_static(b"t"),
        )]
        .into()
    }

    #[test]
    fn volumes_are_made_from_their_sources() {
        let pod: core::Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": []}
        }))
        .unwrap();
        let fields = Fields::new(&pod, None, "127.0.0.1", (1000, 1 << 30));
        for (volume, expect) in [
            (
                json!({"name": "v", "configMap": {"name": "cm"}}),
                Ok("a.conf=1 b.conf=2"),
            ),
            (
                json!({"name": "v", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "cm", "items": [{"key": "a.conf", "path": "ca.crt"}]}},
                ]}}),
                Ok("ca.crt=1 token=t"),
            ),
            (
                json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "a.conf", "path": "x/y"}]}}),
                Ok("x/y=1"),
            ),
            (
                json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "a.conf", "path": "../y"}]}}),
                Err("\"../y\" is not a path inside the volume"),
            ),
            (
                json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "zz", "path": "y"}]}}),
                Err("configmap \"shop/cm\" has no key \"zz\""),
            ),
            (
                json!({"name": "v", "configMap": {"name": "no"}}),
                Err("configmap \"shop/no\" not found"),
            ),
            (
                json!({"name": "v", "configMap": {"name": "no", "optional": true}}),
                Ok(""),
            ),
            (
                json!({"name": "v", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels['app']"}}]}}),
                Ok("l=web"),
            ),
            (
                json!({"name": "v", "projected": {"sources": [{"configMap": {"name": "cm"}},
                    {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
                Ok("a.conf=1 b.conf=2 n=p"),
            ),
            (
                json!({"name": "v", "hostPath": {"path": "/"}}),
                Err("hostPath is switched off on this node"),
            ),
            (
                json!({"name": "v", "nfs": {"path": "/", "server": "s"}}),
                Err(
                    "this node has emptyDir, configMap, secret, projected, downwardAPI and hostPath volumes only",
                ),
            ),
        ] {
            let parsed: core::Volume = serde_json::from_value(volume.clone()).unwrap();
            let got =
                content(&parsed, &fields, &sources(), &tokens(), false).map(
                    |content| match content {
                        Content::Files(files) => files
                            .iter()
                            .map(|(path, bytes)| {
                                format!("{path}={}", String::from_utf8_lossy(bytes))
                            })
                            .collect::<Vec<_>>()
                            .join(" "),
                        other => format!("{other:?}"),
                    },
                );
            let expect = expect
                .map(str::to_owned)
                .map_err(|why| format!("the volume \"v\" cannot be set up: {why}"));
            assert_eq!(got, expect, "{volume}");
        }
    }

    #[test]
    fn files_are_replaced_as_a_whole() {
        let root = tempfile::tempdir().unwrap();
        let files = |pairs: &[(&str, &'static str)]| -> Content {
            Content::Files(
                pairs
                    .iter()
                    .map(|(path, text)| ((*path).to_owned(), Bytes::from_static(text.as_bytes())))
                    .collect(),
            )
        };
        let read = |path: &str| fs::read_to_string(dir(root.path(), "v").join(path)).ok();
        write(root.path(), "v", &files(&[("a", "1"), ("sub/b", "2")])).unwrap();
        assert_eq!(
            (read("a").as_deref(), read("sub/b").as_deref()),
            (Some("1"), Some("2"))
        );
        write(root.path(), "v", &files(&[("a", "3"), ("c", "4")])).unwrap();
        assert_eq!(
            (read("a").as_deref(), read("c").as_deref()),
            (Some("3"), Some("4"))
        );
        assert_eq!(read("sub/b"), None, "what is no longer there goes");
        let before = fs::read_link(dir(root.path(), "v").join(DATA)).unwrap();
        write(root.path(), "v", &files(&[("a", "3"), ("c", "4")])).unwrap();
        assert_eq!(
            fs::read_link(dir(root.path(), "v").join(DATA)).unwrap(),
            before,
            "no change, no write"
        );
    }
}
