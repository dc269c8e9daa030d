//! Which layer of a manifest is the program. Pure: manifest in, layer or a sentence out.
//!
//! Layouts: <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>, the older
//! `vnd.wasm.config.v1` of wasm-to-oci, and Spin's application layers.

use serde::{Deserialize, Serialize};

use crate::Digest;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LEGACY_CONFIG: &str = "application/vnd.wasm.config.v1+json";
const SPIN_CONFIG: &str = "application/vnd.fermyon.spin.application.v1+config";
pub(crate) const WASM_LAYER: &str = "application/wasm";
const CONTENT_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// A pointer to a blob or manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
}

/// An image manifest or an index; what it is shows in which lists it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<Descriptor>,
    /// Of an index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

/// How an image is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The CNCF Wasm artifact: `application/vnd.wasm.config.v0+json`.
    WasmArtifact,
    /// Its predecessor: `application/vnd.wasm.config.v1+json`.
    Legacy,
    /// A Spin application with one component.
    Spin,
    /// Some other config, with one layer that is declared to be Wasm.
    Plain,
}

/// Why there is no program to take out of an image. Each is a sentence about "it", the image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Built for Linux.
    #[error(
        "it is a Linux container image ({0}); this cluster runs WebAssembly only: build the program \
         for wasm32-wasip2 and push the .wasm file with `euston image push`"
    )]
    Linux(String),
    /// More than one layer might be the program.
    #[error("it holds {0} Wasm layers and one is expected, so it is unclear which one to run")]
    SeveralPrograms(usize),
    /// Neither Linux nor Wasm.
    #[error("it holds no Wasm layer; its layers are: {0}")]
    NoProgram(String),
    /// An index without an entry that can run here.
    #[error("it is an index without an entry for WebAssembly; it has: {0}")]
    NoPlatform(String),
    /// An index inside an index, or neither lists.
    #[error("its manifest is not an image manifest")]
    NotAnImage,
}

fn is_wasm(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.as_str(), WASM_LAYER | CONTENT_LAYER)
}

fn is_linux_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

impl Manifest {
    /// Every blob and manifest that this one needs.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Descriptor> {
        self.config
            .iter()
            .chain(&self.layers)
            .chain(&self.manifests)
    }

    /// The layer that is the program.
    pub(crate) fn program(&self) -> Result<(Layout, &Descriptor), LayoutError> {
        let Some(config) = &self.config else {
            return Err(LayoutError::NotAnImage);
        };
        let mut programs = self.layers.iter().filter(|layer| is_wasm(layer));
        let Some(program) = programs.next() else {
            let types = list(self.layers.iter().map(|l| l.media_type.as_str()));
            return Err(
                if self.layers.iter().any(|l| is_linux_layer(&l.media_type)) {
                    LayoutError::Linux(types)
                } else {
                    LayoutError::NoProgram(types)
                },
            );
        };
        let more = programs.count();
        if more > 0 {
            return Err(LayoutError::SeveralPrograms(1 + more));
        }
        let layout = match config.media_type.as_str() {
            WASM_CONFIG => Layout::WasmArtifact,
            LEGACY_CONFIG => Layout::Legacy,
            SPIN_CONFIG => Layout::Spin,
            _ => Layout::Plain,
        };
        Ok((layout, program))
    }

    /// Whether this is an index, and then which entry is for this runtime.
    pub(crate) fn entry(&self) -> Option<Result<&Descriptor, LayoutError>> {
        if self.config.is_some() || self.manifests.is_empty() {
            return None;
        }
        let wasm = self.manifests.iter().find(|m| {
            m.platform
                .as_ref()
                .is_some_and(|p| p.architecture == "wasm" || p.os.starts_with("wasi"))
        });
        Some(wasm.ok_or_else(|| {
            let platforms: Vec<String> = self
                .manifests
                .iter()
                .filter_map(|m| m.platform.as_ref())
                .map(|p| format!("{}/{}", p.os, p.architecture))
                .collect();
            let shown = list(platforms.iter().map(String::as_str));
            if platforms.iter().any(|p| p.starts_with("linux/")) {
                LayoutError::Linux(shown)
            } else {
                LayoutError::NoPlatform(shown)
            }
        }))
    }
}

/// At most a few names: manifests come from anybody.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(4).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        1..=4 => shown,
        n => format!("{shown} and {} more", n - 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(config: &str, layers: &[&str]) -> Manifest {
        let descriptor = |media_type: &str| json!({"mediaType": media_type, "digest": Digest::of(media_type.as_bytes()), "size": 7});
        let layers: Vec<_> = layers.iter().map(|l| descriptor(l)).collect();
        serde_json::from_value(
            json!({"schemaVersion": 2, "config": descriptor(config), "layers": layers}),
        )
        .unwrap()
    }

    #[test]
    fn known_layouts_yield_their_program() {
        let tar = "application/vnd.wasm.content.bundle.v1.tar+gzip";
        for (config, layers, expect) in [
            (WASM_CONFIG, vec![WASM_LAYER], Layout::WasmArtifact),
            (LEGACY_CONFIG, vec![WASM_LAYER], Layout::Legacy),
            (LEGACY_CONFIG, vec![CONTENT_LAYER], Layout::Legacy),
            (SPIN_CONFIG, vec![CONTENT_LAYER], Layout::Spin),
            (SPIN_CONFIG, vec![tar, WASM_LAYER], Layout::Spin),
            (
                "application/vnd.oci.empty.v1+json",
                vec![WASM_LAYER],
                Layout::Plain,
            ),
        ] {
            let manifest = manifest(config, &layers);
            let (layout, program) = manifest.program().unwrap();
            assert_eq!(layout, expect, "{config} {layers:?}");
            assert!(is_wasm(program));
        }
    }

    #[test]
    fn other_images_are_refused_by_what_they_are() {
        let linux = "application/vnd.oci.image.layer.v1.tar+gzip";
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        for (config, layers, expect) in [
            (
                "application/vnd.oci.image.config.v1+json",
                vec![linux, linux],
                "a Linux container image",
            ),
            (
                "application/vnd.docker.container.image.v1+json",
                vec![docker],
                "a Linux container image",
            ),
            (WASM_CONFIG, vec![WASM_LAYER, WASM_LAYER], "2 Wasm layers"),
            (
                "application/vnd.cncf.helm.config.v1+json",
                vec!["application/vnd.cncf.helm.chart.content.v1.tar+gzip"],
                "no Wasm layer; its layers are: application/vnd.cncf.helm",
            ),
            (WASM_CONFIG, vec![], "its layers are: none"),
            (WASM_CONFIG, vec!["a"; 9], "and 5 more"),
        ] {
            let error = manifest(config, &layers).program().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn an_index_names_its_wasm_entry() {
        let index = |platforms: &[(&str, &str)]| -> Manifest {
            let manifests: Vec<_> = platforms
                .iter()
                .map(|(os, arch)| {
                    json!({"mediaType": MANIFEST, "digest": Digest::of(os.as_bytes()), "size": 1,
                           "platform": {"os": os, "architecture": arch}})
                })
                .collect();
            serde_json::from_value(json!({"schemaVersion": 2, "manifests": manifests})).unwrap()
        };
        let mixed = index(&[("linux", "amd64"), ("wasip1", "wasm")]);
        assert_eq!(
            mixed.entry().unwrap().unwrap().digest,
            Digest::of(b"wasip1")
        );
        let linux = index(&[("linux", "amd64"), ("linux", "arm64")]);
        let error = linux.entry().unwrap().unwrap_err();
        assert_eq!(error, LayoutError::Linux("linux/amd64, linux/arm64".into()));
        let other = index(&[("windows", "amd64")]).entry().unwrap().unwrap_err();
        assert_eq!(other, LayoutError::NoPlatform("windows/amd64".into()));
        assert!(manifest(WASM_CONFIG, &[WASM_LAYER]).entry().is_none());
    }
}
