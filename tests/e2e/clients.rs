//! Clients that others wrote, against the real binary: Helm 4, Python's `kubernetes`, npm's
//! `@kubernetes/client-node`. `tests/fetch-kubectl.sh` and `tests/fetch-clients.sh` get them; what
//! is not here is not run, and that is said.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A tool that was fetched; says past the test harness, which keeps the output of tests that pass
/// to itself, that it is not here.
fn fetched(path: &str, by: &str) -> Option<PathBuf> {
    let path = here("../target/tools").join(path);
    if path.exists() {
        return Some(path);
    }
    let line = format!(
        "NOT RUN, as {} is not here: tests/{by} gets it\n",
        path.display()
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

fn run(command: &mut Command) -> (bool, String) {
    let out = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A helm command, whether it succeeds, and what it prints.
type Step = (&'static str, bool, &'static str);

/// The life of a release. `CHART` is the chart's folder, `MODE` how the manifests are applied.
const RELEASE: &[Step] = &[
    (
        "install shop CHART MODE --wait --timeout 50s",
        true,
        "STATUS: deployed",
    ),
    ("list", true, "shop-0.1.0"),
    ("status shop", true, "shop"),
    ("get values shop --all", true, "greeting: hello"),
    ("get manifest shop", true, "kind: Deployment"),
    ("get hooks shop", true, "shop-before"),
    ("get manifest shop", true, "kind: Cookie"),
    ("test shop --timeout 50s", true, "Succeeded"),
    (
        "upgrade shop CHART MODE --set greeting=hi --set replicas=2 --wait --timeout 50s",
        true,
        "REVISION: 2",
    ),
    (
        "upgrade shop CHART MODE --set broken=true",
        false,
        "spec.ports[0].port: Invalid value: 99999",
    ),
    ("history shop", true, "failed"),
    (
        "rollback shop 1 MODE --wait --timeout 50s",
        true,
        "Rollback was a success",
    ),
    ("get values shop --all", true, "greeting: hello"),
    (
        "upgrade shop CHART MODE --install --dry-run=server --set replicas=3",
        true,
        "REVISION: 5",
    ),
    ("history shop", true, "Rollback to 1"),
    ("uninstall shop --wait --timeout 50s", true, "uninstalled"),
    ("status shop", false, "release: not found"),
    ("uninstall shop", false, "release: not found"),
    // A second life under the same name.
    (
        "upgrade shop CHART MODE --install --wait --timeout 50s",
        true,
        "STATUS: deployed",
    ),
    ("uninstall shop --wait --timeout 50s", true, "uninstalled"),
];

#[test]
fn helm_installs_upgrades_rolls_back_tests_and_uninstalls_a_chart() {
    let Some(helm) = fetched("kubectl-1.37/helm", "fetch-kubectl.sh") else {
        return;
    };
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello", "envprint"]);
    let chart = here("clients/chart");
    for mode in MODES {
        for (line, succeeds, prints) in RELEASE {
            let words = line.split(' ').map(|word| match word {
                "CHART" => chart.to_str().unwrap(),
                "MODE" => mode,
                other => other,
            });
            let mut command = Command::new(&helm);
            command
                .args(words)
                .env("KUBECONFIG", cluster.kubeconfig())
                .env("HELM_CACHE_HOME", cluster.dir.join("helm/cache"))
                .env("HELM_CONFIG_HOME", cluster.dir.join("helm/config"))
                .env("HELM_DATA_HOME", cluster.dir.join("helm/data"));
            let (success, text) = run(&mut command);
            assert_eq!(success, *succeeds, "{mode}: helm {line}\n{text}");
            assert!(
                text.contains(prints),
                "{mode}: helm {line}: {prints:?} is not in\n{text}"
            );
        }
    }
}

/// How Helm applies manifests.
const MODES: &[&str] = &["--server-side=false", "--server-side=true"];

#[test]
fn the_clients_of_python_and_node_do_what_programs_do_with_them() {
    let cluster = Cluster::start(&[]);
    let kubeconfig = cluster.kubeconfig();
    if let Some(python) = fetched("clients/python/bin/python", "fetch-clients.sh") {
        let mut command = Command::new(python);
        command
            .arg(here("clients/client.py"))
            .arg(&kubeconfig)
            .arg("by-python");
        let (success, text) = run(&mut command);
        assert!(success && text.contains("ok elections"), "{text}");
    }
    if let Some(node) = fetched("clients/node/node", "fetch-clients.sh") {
        let mut command = Command::new(&node);
        command
            .arg(here("clients/client.mjs"))
            .arg(node.parent().unwrap());
        command.arg(&kubeconfig).arg("by-node");
        let (success, text) = run(&mut command);
        assert!(success && text.contains("ok informer"), "{text}");
    }
}
