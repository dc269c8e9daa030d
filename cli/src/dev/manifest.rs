//! Manifests: reading files and folders, and applying what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use euston_api::labels::LAST_APPLIED;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, ResourceExt};

/// An object from a manifest, with its place for error messages.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) object: DynamicObject,
    /// `FILE, document 2`
    place: String,
}

/// Something that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

/// Reads every manifest before the cluster starts, so that a mistake in one costs no time.
///
/// # Errors
/// When a file cannot be read, or is no manifest.
pub(crate) fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        for file in files(path)? {
            let shown = file.display().to_string();
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read the manifest {shown}"))?;
            documents.extend(parse(&text, &shown)?);
        }
    }
    Ok(documents)
}

/// The file itself, or the manifests in a folder in order of their names.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let shown = path.display();
    let context = || format!("cannot read the manifest {shown}");
    if !fs::metadata(path).with_context(context)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(context)? {
        let file = entry.with_context(context)?.path();
        let extension = file.extension().and_then(|e| e.to_str());
        if file.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            found.push(file);
        }
    }
    if found.is_empty() {
        bail!("there is no .yaml, .yml or .json file in the folder {shown}");
    }
    found.sort();
    Ok(found)
}

/// Takes a text apart into objects; a `List` into its items.
fn parse(text: &str, file: &str) -> anyhow::Result<Vec<Document>> {
    let values: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(text).map_err(|e| anyhow!("{file} is not valid YAML: {e}"))?;
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        if value.is_null() {
            continue;
        }
        let place = format!("{file}, document {}", index + 1);
        let is_list = value.get("kind").and_then(|k| k.as_str()) == Some("List");
        let items = match value.get("items") {
            Some(serde_json::Value::Array(items)) if is_list => items.clone(),
            _ => vec![value],
        };
        for item in items {
            let object: DynamicObject = serde_json::from_value(item)
                .map_err(|e| anyhow!("{place} is not a Kubernetes object: {e}"))?;
            let types = object.types.as_ref();
            if types.is_none_or(|t| t.kind.is_empty() || t.api_version.is_empty()) {
                bail!("{place} is not a Kubernetes object: apiVersion and kind are needed");
            }
            if object.metadata.name.is_none() {
                bail!("{place} has no metadata.name, so that it could not be found again");
            }
            documents.push(Document {
                object,
                place: place.clone(),
            });
        }
    }
    Ok(documents)
}

/// Creates every object, or patches the one that is there: fields in the manifest are set, lists
/// replaced, and everything else is left. What was applied is noted as kubectl notes it, so that
/// `kubectl apply` can go on from there.
///
/// # Errors
/// At the first object that is refused; those before it stay applied.
pub(crate) async fn apply(client: &Client, documents: &[Document]) -> anyhow::Result<Vec<Applied>> {
    let mut kinds = BTreeMap::new();
    let mut applied = Vec::new();
    for document in documents {
        let types = document.object.types.clone().unwrap_or_default();
        let name = document.object.name_any();
        let what = || format!("cannot apply {} {name} ({})", types.kind, document.place);
        let kind = (types.api_version.clone(), types.kind.clone());
        let (resource, scope) = match kinds.get(&kind) {
            Some(known) => known,
            None => {
                let found = find_kind(client, &types).await.with_context(what)?;
                kinds.entry(kind).or_insert(found)
            }
        };
        let namespace = (*scope == Scope::Namespaced).then(|| {
            document
                .object
                .namespace()
                .unwrap_or_else(|| "default".to_owned())
        });
        let api: Api<DynamicObject> = match &namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
            None => Api::all_with(client.clone(), resource),
        };
        create_or_patch(&api, &document.object)
            .await
            .with_context(what)?;
        applied.push(Applied {
            kind: types.kind,
            namespace,
            name,
        });
    }
    Ok(applied)
}

async fn find_kind(client: &Client, types: &TypeMeta) -> anyhow::Result<(ApiResource, Scope)> {
    let gvk = GroupVersionKind::try_from(types)
        .map_err(|e| anyhow!("apiVersion {:?} cannot be read: {e}", types.api_version))?;
    let (resource, capabilities) = pinned_kind(client, &gvk).await.map_err(|e| {
        anyhow!(
            "the cluster does not know the kind {} of {}: {e}",
            types.kind,
            types.api_version
        )
    })?;
    Ok((resource, capabilities.scope))
}

async fn create_or_patch(api: &Api<DynamicObject>, object: &DynamicObject) -> anyhow::Result<()> {
    let mut object = object.clone();
    let note = serde_json::to_string(&object)? + "\n";
    object
        .annotations_mut()
        .insert(LAST_APPLIED.to_owned(), note);
    let params = PostParams {
        field_manager: Some("euston-dev".to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
            let params = PatchParams {
                field_manager: Some("euston-dev".to_owned()),
                ..PatchParams::default()
            };
            api.patch(&object.name_any(), &params, &Patch::Merge(&object))
                .await?;
            Ok(())
        }
        Err(kube::Error::Api(status)) => Err(anyhow!("{}", status.message)),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> anyhow::Result<Vec<String>> {
        let documents = parse(text, "f.yaml")?;
        Ok(documents
            .iter()
            .map(|d| {
                format!(
                    "{} {}",
                    d.object.types.clone().unwrap_or_default().kind,
                    d.object.name_any()
                )
            })
            .collect())
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}}]}"#;
        for (text, expect) in [
            (String::new(), vec![]),
            (pod.to_owned(), vec!["Pod a"]),
            (
                format!("---\n{pod}---\n---\n# nothing\n---\n{pod}"),
                vec!["Pod a", "Pod a"],
            ),
            (
                format!("{pod}---\n{list}"),
                vec!["Pod a", "Pod b", "Service c"],
            ),
        ] {
            assert_eq!(kinds(&text).unwrap(), expect, "{text}");
        }
    }

    #[test]
    fn what_is_no_manifest_is_named_with_its_place() {
        for (text, expect) in [
            ("a: [", "f.yaml is not valid YAML"),
            ("- 1", "f.yaml, document 1 is not a Kubernetes object"),
            ("kind: Pod\nmetadata: {name: a}", "apiVersion"),
            ("apiVersion: v1\nmetadata: {name: a}", "kind"),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}",
                "has no metadata.name",
            ),
            ("---\n---\napiVersion: v1\nkind: Pod", "document"),
        ] {
            let error = kinds(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_folder_is_read_in_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let error = files(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no .yaml, .yml or .json file"), "{error}");
        for name in ["b.yaml", "a.yml", "c.json", "README.md"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = files(dir.path()).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|f| f.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.yml", "b.yaml", "c.json"]);
        let error = read_all(&[dir.path().join("none")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot read the manifest"), "{error}");
    }
}
