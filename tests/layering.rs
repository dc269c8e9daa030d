//! The architecture's arrows, held against what the manifests and sources really name.
//! ARCHITECTURE.md ("Invariants") says why the layers are as they are; the tables here are the
//! same rules for a machine. A new crate needs a row in [`ARROWS`].

#![allow(clippy::unwrap_used)] // here a failed unwrap is a failed test

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// A crate of the workspace, the others that it may name (`*` at the end: whatever follows), and why.
type Arrow = (&'static str, &'static [&'static str], &'static str);

const ARROWS: &[Arrow] = &[
    (
        "fuzz-support",
        &[],
        "bytes and files: what every fuzz target may lean on",
    ),
    (
        "raft-store",
        &["fuzz-support"],
        "the store knows keys, bytes and revisions, and nothing of this project",
    ),
    (
        "raft-store-peer",
        &["raft-store", "fuzz-support"],
        "the store's members talk to each other without Kubernetes",
    ),
    (
        "raft-store-etcd",
        &["raft-store", "raft-store-peer", "fuzz-support"],
        "the store is usable alone, by clients of etcd",
    ),
    (
        "euston-api",
        &["fuzz-support"],
        "the vocabulary is below everything",
    ),
    (
        "euston-access",
        &["euston-api"],
        "who may do what is decided without I/O, by whoever has the facts",
    ),
    ("euston-tls", &[], "certificates know neither API nor store"),
    (
        "euston-images",
        &[],
        "the registry is useful without the API server",
    ),
    (
        "euston-protobuf",
        &["fuzz-support"],
        "Kubernetes' wire form is facts and bytes, and of use to whoever has JSON",
    ),
    (
        "euston-streams",
        &[],
        "wires and sessions; whoever has bytes and commands can use them",
    ),
    (
        "euston-custom",
        &["euston-api"],
        "what a definition says of its objects is decided without I/O",
    ),
    (
        "euston-fields",
        &[],
        "who owns a field is decided on trees and a schema alone",
    ),
    (
        "euston-apiserver",
        &[
            "euston-api",
            "euston-access",
            "euston-custom",
            "euston-fields",
            "euston-protobuf",
            "euston-streams",
            "euston-tls",
            "euston-images",
            "raft-store",
        ],
        "the one way to the store; it knows its clients only by the API",
    ),
    (
        "euston-client",
        &["euston-api", "euston-tls"],
        "clients know the control plane only through the API",
    ),
    (
        "euston-join",
        &[
            "euston-api",
            "euston-client",
            "euston-tls",
            // In its tests, which join a real cluster.
            "euston-apiserver",
            "euston-images",
            "raft-store",
        ],
        "joining needs certificates and the API; the group of servers stands behind its own trait",
    ),
    (
        "euston-controllers",
        &["euston-api", "euston-access", "euston-client"],
        "controllers are ordinary API clients",
    ),
    (
        "euston-scheduler",
        &["euston-api", "euston-client"],
        "the scheduler is an ordinary API client",
    ),
    (
        "euston-sandbox",
        &[],
        "the sandbox knows no Kubernetes and no network policy",
    ),
    (
        "euston-network",
        &["euston-api"],
        "the pod network knows no sandbox; the agent joins the two",
    ),
    (
        "euston-agent",
        &[
            "euston-api",
            "euston-client",
            "euston-tls",
            "euston-images",
            "euston-streams",
            "euston-sandbox",
            "euston-network",
        ],
        "the kubelet is an API client; it knows no store and no server",
    ),
    (
        "euston",
        &["euston-*", "raft-store*"],
        "the binary wires everything together; the tests are nobody's dependency",
    ),
    (
        "euston-tests",
        &["euston-*", "raft-store*"],
        "tests look at every part from outside",
    ),
];

/// A package from outside, the crates that may name it, and why no other.
const ONLY: &[(&str, &[&str], &str)] = &[
    (
        "wasmtime*",
        &["euston-sandbox"],
        "what a guest may do is decided in one place",
    ),
    (
        "raft",
        &["raft-store", "raft-store-peer"],
        "consensus is the store's own affair",
    ),
    (
        "raft-engine",
        &["raft-store"],
        "the log is the store's own affair",
    ),
    (
        "tonic*",
        &["raft-store-peer", "raft-store-etcd", "euston-tests"],
        "gRPC is what etcd's clients speak; the Kubernetes API is HTTP and JSON",
    ),
];

/// A crate, a package that it never names, and why.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "raft-store*",
        &[
            "kube*",
            "k8s-openapi",
            "serde_json",
            "serde-saphyr",
            "json-patch",
        ],
        "the store contains no Kubernetes type and no JSON",
    ),
    (
        "euston-api",
        &["tokio*", "hyper*", "http*", "axum", "tower", "kube*"],
        "the vocabulary does no I/O",
    ),
    (
        "euston-fields",
        &[
            "tokio*",
            "hyper*",
            "http*",
            "axum",
            "tower",
            "kube*",
            "k8s-openapi",
        ],
        "owning fields is pure, and knows no kind",
    ),
    (
        "euston-sandbox",
        &["kube*", "k8s-openapi", "schemars"],
        "the sandbox contains no Kubernetes type",
    ),
    (
        "euston-controllers",
        &["hyper*", "axum", "http*"],
        "controllers speak to the API through kube::Client and to nobody else",
    ),
    (
        "euston-scheduler",
        &["hyper*", "axum", "http*"],
        "the scheduler speaks to the API through kube::Client and to nobody else",
    ),
];

/// Finer than crates: within a folder only some files name something. Folder, text, the
/// files and folders that may, and why.
const WITHIN: &[(&str, &str, &[&str], &str)] = &[
    (
        "control/apiserver/src",
        "raft_store::",
        &["storage", "server.rs", "error.rs"],
        "all reads and writes go through storage; server.rs passes the handle on, error.rs names its errors",
    ),
    (
        "control/apiserver/src/endpoints",
        "crate::kinds",
        &[],
        "a verb knows no kind",
    ),
    (
        "cli/src",
        "raft_store::",
        &["dev/boot.rs", "plane", "server", "store", "snapshot.rs"],
        "what runs a member of the store, and what works on its files, names it; other commands are clients of the API",
    ),
];

/// Crates, dependencies that their sources need not name, and what those are there for.
const UNNAMED: &[(&str, &[&str], &str)] = &[
    (
        "euston-images",
        &["k8s-openapi"],
        "chooses the API version that kube is built for",
    ),
    (
        "raft-store-*",
        &["prost", "tonic-prost"],
        "named by the code that build.rs makes of .proto files",
    ),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
    /// Set for the workspace's own crates.
    path: Option<PathBuf>,
}

fn metadata() -> Metadata {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).unwrap()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

fn any(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// What the arrow from a crate to a dependency breaks.
fn broken(from: &str, to: &str, own: bool) -> Vec<String> {
    let mut broken = Vec::new();
    let mut say = |rule: String, why: &str| {
        broken.push(format!("{from} names {to}, but {rule}: {why}"));
    };
    if own {
        match ARROWS.iter().find(|(name, ..)| *name == from) {
            Some((_, may, why)) if !any(may, to) || to == "euston-tests" => {
                say(format!("of the workspace it may name only {may:?}"), why);
            }
            Some(_) => {}
            None => say(
                "it has no row in ARROWS".to_owned(),
                "say there what it may know",
            ),
        }
    }
    for (pattern, may, why) in ONLY {
        if matches(pattern, to) && !may.contains(&from) {
            say(format!("only {may:?} may"), why);
        }
    }
    for (crates, never, why) in NEVER {
        if matches(crates, from) && any(never, to) {
            say(format!("it never names {never:?}"), why);
        }
    }
    broken
}

/// Every Rust file below a folder, with what it says outside of comments.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // A crate inside a crate's folder has its own row.
            if path.is_dir() && !path.join("Cargo.toml").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.lines().map(|line| line.split("//").next().unwrap());
                found.push((path, code.collect::<Vec<_>>().join("\n")));
            }
        }
    }
    found
}

/// Whether some code contains a name, and not just a longer one around it.
fn names(code: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name)
        .any(|(at, _)| !code[..at].ends_with(word) && !code[at + name.len()..].starts_with(word))
}

#[test]
fn every_arrow_between_crates_is_allowed() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        if !ARROWS.iter().any(|(name, ..)| *name == package.name) {
            wrong.push(format!("{} has no row in ARROWS", package.name));
        }
        for dependency in &package.dependencies {
            let own = dependency.path.is_some();
            wrong.extend(broken(&package.name, &dependency.name, own));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_files_that_may_name_something_do() {
    let root = metadata().workspace_root;
    let mut wrong = Vec::new();
    for (folder, text, may, why) in WITHIN {
        let folder_path = root.join(folder);
        for (path, code) in sources(&folder_path) {
            let file = path.strip_prefix(&folder_path).unwrap();
            if code.contains(text) && !may.iter().any(|m| file.starts_with(m)) {
                let file = file.display();
                wrong.push(format!(
                    "{folder}/{file} names {text}, but there only {may:?} may: {why}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    let mut wrong = Vec::new();
    for package in metadata().packages {
        let folder = package.manifest_path.parent().unwrap();
        let sources = sources(folder);
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
            let in_code = name.replace('-', "_");
            let kept = UNNAMED
                .iter()
                .any(|(crates, unnamed, _)| matches(crates, &package.name) && any(unnamed, name));
            if !kept && !sources.iter().any(|(_, code)| names(code, &in_code)) {
                wrong.push(format!("{}: {name} is used nowhere", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_arrow_is_reported_with_its_rule() {
    let cases: &[(&str, &str, bool, &[&str])] = &[
        ("euston-apiserver", "raft-store", true, &[]),
        ("euston", "raft-store-peer", true, &[]),
        ("euston-tests", "raft-store-etcd", true, &[]),
        ("euston-sandbox", "wasmtime-wasi", false, &[]),
        ("euston-agent", "raft-store", true, &["it may name only"]),
        (
            "euston-controllers",
            "euston-apiserver",
            true,
            &["ordinary API clients"],
        ),
        (
            "euston-apiserver",
            "raft-store-peer",
            true,
            &["it may name only"],
        ),
        ("euston-client", "euston-tests", true, &["it may name only"]),
        ("euston", "euston-tests", true, &["it may name only"]),
        (
            "euston-agent",
            "wasmtime",
            false,
            &["only [\"euston-sandbox\"] may"],
        ),
        ("raft-store", "serde_json", false, &["no JSON"]),
        ("raft-store-etcd", "kube", false, &["no Kubernetes type"]),
        ("euston-api", "tokio-util", false, &["no I/O"]),
        ("euston-scheduler", "raft", false, &["consensus"]),
        ("newcomer", "euston-api", true, &["no row in ARROWS"]),
    ];
    for (from, to, own, wanted) in cases {
        let said = broken(from, to, *own);
        assert_eq!(said.len(), wanted.len(), "{from} -> {to}: {said:?}");
        for (said, wanted) in said.iter().zip(*wanted) {
            assert!(
                said.starts_with(&format!("{from} names {to}")) && said.contains(wanted),
                "{said}"
            );
        }
    }
    // A rule about a crate that is gone, or was misspelt, would hold for ever.
    let packages: BTreeMap<_, _> = metadata()
        .packages
        .into_iter()
        .map(|p| (p.name.clone(), p))
        .collect();
    for (name, ..) in ARROWS {
        assert!(packages.contains_key(*name), "there is no crate {name}");
    }
}
