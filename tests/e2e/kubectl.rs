//! Stock kubectl, the versions that are at hand: 1.32 from the PATH, 1.37 where
//! `tests/fetch-kubectl.sh` put it. Both run the same table of commands (`steps.rs`).

mod access;
mod custom;
mod objects;
mod steps;
mod streams;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, mpsc};
use std::time::Instant;

use euston_tests::wait::PATIENCE;

use crate::cluster::Cluster;
use steps::STEPS;

/// What `kubectl edit` runs on the object's file, and what it changes.
const EDITOR: &str = "sed -i -e s/note:.fresh/note:\\ stale/";

/// The name of a kubectl, its version, and where it is.
struct Kubectl {
    version: String,
    path: PathBuf,
    /// What of its environment is to be another than here.
    envs: &'static [(&'static str, &'static str)],
}

/// Those at hand. What is not at hand is said once, past the test harness, which keeps the output of
/// tests that pass to itself.
fn at_hand() -> Vec<Kubectl> {
    let fetched =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/kubectl-1.37/kubectl");
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (what, path) in [
        ("e2e with the kubectl of the PATH", PathBuf::from("kubectl")),
        (
            "e2e with kubectl 1.37 (tests/fetch-kubectl.sh gets it)",
            fetched,
        ),
    ] {
        match client_version(&path) {
            Some(version) => found.push(Kubectl {
                version,
                path,
                envs: &[],
            }),
            None => missing.push(what),
        }
    }
    static SAID: Once = Once::new();
    if !missing.is_empty() {
        SAID.call_once(|| {
            let line = format!("NOT RUN, as it is not here: {}\n", missing.join(" and "));
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        });
    }
    found
}

fn client_version(path: &Path) -> Option<String> {
    let out = Command::new(path)
        .args(["version", "--client"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Some(text.lines().next()?.to_owned())
}

impl Kubectl {
    fn command(&self, cluster: &Cluster, namespace: &str, line: &str) -> Command {
        let mut command = Command::new(&self.path);
        command
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .args(["-n", namespace, "--cache-dir"])
            .arg(cluster.dir.join(format!("cache-{namespace}")))
            .args(line.split(' '))
            .env("KUBE_EDITOR", EDITOR)
            .envs(self.envs.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end; whether it succeeded and all that it printed.
    fn run(&self, cluster: &Cluster, namespace: &str, line: &str, input: &str) -> (bool, String) {
        let mut child = self.command(cluster, namespace, line).spawn().unwrap();
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let out = child.wait_with_output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        (out.status.success(), text)
    }

    /// As [`run`](Self::run), and fails unless it does as expected.
    fn expect(
        &self,
        cluster: &Cluster,
        namespace: &str,
        line: &str,
        input: &str,
        (succeeds, prints): (bool, &str),
    ) {
        let version = &self.version;
        let (success, text) = self.run(cluster, namespace, line, input);
        assert_eq!(success, succeeds, "{version}: kubectl {line}\n{text}");
        assert!(
            text.contains(prints),
            "{version}: kubectl {line}: {prints:?} is not in\n{text}"
        );
    }
}

#[test]
fn stock_kubectl_does_what_its_users_expect() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["hello", "counter"]);
    for (i, kubectl) in at_hand().iter().enumerate() {
        let namespace = format!("v{i}");
        let object = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
        kubectl.expect(
            &cluster,
            "default",
            "apply -f -",
            &object,
            (true, "created"),
        );
        for (line, input, succeeds, prints) in STEPS {
            kubectl.expect(&cluster, &namespace, line, input, (*succeeds, prints));
        }
        too_large(kubectl, &cluster, &namespace);
        let delete = format!("delete namespace {namespace} --timeout=50s");
        kubectl.expect(&cluster, "default", &delete, "", (true, "deleted"));
    }
}

#[test]
fn stock_kubectl_asks_and_says_who_may_do_what() {
    let cluster = Cluster::start(&[]);
    for (i, kubectl) in at_hand().iter().enumerate() {
        let namespace = format!("v{i}");
        let create = format!("create namespace {namespace}");
        kubectl.expect(&cluster, "default", &create, "", (true, "created"));
        let requests = access::requests();
        kubectl.expect(
            &cluster,
            &namespace,
            "apply -f -",
            &requests,
            (true, "created"),
        );
        for (line, input, succeeds, prints) in access::STEPS {
            kubectl.expect(&cluster, &namespace, line, input, (*succeeds, prints));
        }
        bearer(kubectl, &cluster, &namespace);
    }
}

/// A token alone is enough to be somebody, and a wrong one is not to be anybody.
fn bearer(kubectl: &Kubectl, cluster: &Cluster, namespace: &str) {
    let (made, token) = kubectl.run(cluster, namespace, "create token robot", "");
    assert!(made, "{token}");
    let (_, config) = kubectl.run(cluster, namespace, "config view --raw -o json", "");
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let mut config = config.clone();
    config["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
    let file = cluster.dir.join(format!("token-{namespace}"));
    std::fs::write(&file, config.to_string()).unwrap();
    let file = file.to_string_lossy().into_owned();
    let check = |line: &str, succeeds: bool, prints: &str| {
        let line = format!("{line} --kubeconfig {file}");
        kubectl.expect(cluster, namespace, &line, "", (succeeds, prints));
    };
    let name = format!("system:serviceaccount:{namespace}:robot");
    check("auth whoami", true, &name);
    check(
        "get pods",
        false,
        &format!("User \"{name}\" cannot list resource \"pods\""),
    );
    config["users"][0]["user"] = serde_json::json!({ "token": "eyJhbGciOiJub25lIn0.e30." });
    std::fs::write(&file, config.to_string()).unwrap();
    check("get pods", false, "You must be logged in to the server");
}

#[test]
fn kinds_without_a_controller_are_checked_listed_and_described() {
    let cluster = Cluster::start(&[]);
    for (i, kubectl) in at_hand().iter().enumerate() {
        let namespace = format!("objects{i}");
        let create = format!("create namespace {namespace}");
        kubectl.expect(&cluster, "default", &create, "", (true, "created"));
        for (line, input, succeeds, prints) in objects::STEPS {
            kubectl.expect(&cluster, &namespace, line, input, (*succeeds, prints));
        }
    }
}

#[test]
fn kinds_that_users_define_are_kinds_like_any_other() {
    let cluster = Cluster::start(&[]);
    for kubectl in &at_hand() {
        for (line, input, succeeds, prints) in custom::STEPS {
            kubectl.expect(&cluster, "default", line, input, (*succeeds, prints));
        }
    }
}

#[test]
fn helm_installs_upgrades_and_removes_a_chart_with_a_kind_of_its_own() {
    let cluster = Cluster::start(&[]);
    let chart = cluster.dir.join("wardrobe");
    for (file, text) in custom::CHART {
        let file = chart.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    for kubectl in &at_hand() {
        let helm = kubectl.path.with_file_name("helm");
        if !helm.is_file() {
            continue;
        }
        let run = |line: &str, prints: &str| {
            let mut command = Command::new(&helm);
            command.args(line.split(' ')).current_dir(&cluster.dir);
            let out = command
                .env("KUBECONFIG", cluster.kubeconfig())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            assert!(out.status.success(), "helm {line}\n{text}");
            assert!(
                text.contains(prints),
                "helm {line}: {prints:?} is not in\n{text}"
            );
        };
        run("install one ./wardrobe --timeout 50s", "STATUS: deployed");
        run(
            "upgrade one ./wardrobe --set color=blue --timeout 50s",
            "REVISION: 2",
        );
        let color = "get shirt one -o jsonpath={.spec.color}";
        kubectl.expect(&cluster, "default", color, "", (true, "blue"));
        run("rollback one 1 --timeout 50s", "Rollback was a success");
        kubectl.expect(&cluster, "default", color, "", (true, "red"));
        run("uninstall one --timeout 50s", "uninstalled");
        kubectl.expect(
            &cluster,
            "default",
            "get shirts",
            "",
            (true, "No resources found"),
        );
    }
}

/// Ten megabytes are refused in a sentence, and nothing is there afterwards.
fn too_large(kubectl: &Kubectl, cluster: &Cluster, namespace: &str) {
    let object = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: huge}}\ndata: {{a: {}}}\n",
        "x".repeat(10 << 20)
    );
    let refused = (false, "limit is 3145728");
    kubectl.expect(cluster, namespace, "create -f -", &object, refused);
    let absent = (false, "NotFound");
    kubectl.expect(cluster, namespace, "get configmap huge", "", absent);
}

/// A `kubectl get -w` under way.
struct Watching {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watching {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split_whitespace().collect();
                if tell.send(words.join(" ")).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn next(&self, what: &str) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Ctrl-C; returns what it printed after what was taken.
    fn interrupt(mut self) -> Vec<String> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let end = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("kubectl get -w does not end"),
            }
        }
        self.child.wait().unwrap();
        rest
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn get_w_prints_every_change_in_order_until_it_is_stopped() {
    let cluster = Cluster::start(&[]);
    cluster.push_guests(&["counter"]);
    for kubectl in at_hand() {
        let watch = "get configmaps -l walk=yes -w --output-watch-events --no-headers";
        let watching = Watching::start(kubectl.command(&cluster, "default", watch));
        let object =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: walk, labels: {walk: \"yes\"}}\n";
        let steps = [
            ("create -f -", "ADDED walk 0"),
            (
                "patch configmap walk -p {\"data\":{\"a\":\"1\"}}",
                "MODIFIED walk 1",
            ),
            ("annotate configmap walk seen=yes", "MODIFIED walk 1"),
            // No longer selected: to this watcher it is gone.
            ("label configmap walk walk-", "DELETED walk 1"),
            ("label configmap walk walk=yes", "ADDED walk 1"),
            ("delete configmap walk", "DELETED walk 1"),
        ];
        for (line, prints) in steps {
            kubectl.expect(&cluster, "default", line, object, (true, "walk"));
            let printed = watching.next(line);
            assert!(
                printed.starts_with(prints),
                "{}: {line}: {prints:?}, not {printed:?}",
                kubectl.version
            );
        }
        let rest = watching.interrupt();
        assert!(
            rest.is_empty(),
            "{}: more than happened: {rest:?}",
            kubectl.version
        );

        // A pod's way, as a user watches it.
        let watch = "get pods -l run=walker -w --no-headers";
        let watching = Watching::start(kubectl.command(&cluster, "default", watch));
        let run = "run walker --image=counter:v1 --restart=Never -- 3";
        kubectl.expect(&cluster, "default", run, "", (true, "created"));
        let mut seen: Vec<String> = Vec::new();
        while !seen.last().is_some_and(|last| last.contains(" Completed ")) {
            seen.push(watching.next(&format!("the pod completes after {seen:?}")));
        }
        let order = ["Pending", "ContainerCreating", "Running", "Completed"];
        let places: Vec<_> = seen
            .iter()
            .map(|line| order.iter().position(|state| line.contains(state)))
            .collect();
        assert!(
            places.iter().all(Option::is_some) && places.is_sorted(),
            "{}: {seen:#?}",
            kubectl.version
        );
        kubectl.expect(
            &cluster,
            "default",
            "delete pod walker",
            "",
            (true, "deleted"),
        );
        watching.interrupt();
    }
}
