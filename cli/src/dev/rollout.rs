//! Waiting until applied Deployments are available, and saying what holds them up.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::manifest::Applied;

/// After so long the wait is given up, and the reasons are shown; the cluster goes on trying.
const PATIENCE: Duration = Duration::from_secs(120);
/// States on their way to the display; the display is faster than any watch.
const QUEUE: usize = 64;

/// How far a Deployment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Replicas of the newest template that are available.
    pub(crate) available: i32,
    /// Replicas wanted.
    pub(crate) wanted: i32,
    /// Nothing is left to do.
    pub(crate) done: bool,
}

/// What became of the wait.
#[derive(Debug, Default)]
pub(crate) struct RolledOut {
    pub(crate) deployments: Vec<State>,
    /// Why some are not available; empty if all are.
    pub(crate) problems: Vec<String>,
}

impl RolledOut {
    /// One line per outcome.
    pub(crate) fn text(&self, took: Duration) -> String {
        if self.deployments.is_empty() {
            return String::new();
        }
        let states: Vec<String> = self.deployments.iter().map(State::text).collect();
        if self.problems.is_empty() {
            return format!(
                "Available after {:.2} s: {}\n",
                took.as_secs_f64(),
                states.join(", ")
            );
        }
        let problems: String = self.problems.iter().map(|p| format!("  {p}\n")).collect();
        format!(
            "Not available after {:.0} s: {}\n{problems}The cluster goes on trying; see `kubectl get pods` and `kubectl describe`.\n",
            took.as_secs_f64(),
            states.join(", ")
        )
    }
}

impl State {
    fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.as_ref();
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let count = |n: Option<i32>| n.unwrap_or(0);
        let updated = count(status.and_then(|s| s.updated_replicas));
        let available = count(status.and_then(|s| s.available_replicas)).min(updated);
        let seen = status.and_then(|s| s.observed_generation).unwrap_or(0);
        let old_gone = count(status.and_then(|s| s.replicas)) == updated;
        Self {
            name: deployment.metadata.name.clone().unwrap_or_default(),
            namespace: deployment.metadata.namespace.clone().unwrap_or_default(),
            available,
            wanted,
            done: seen >= deployment.metadata.generation.unwrap_or(0)
                && updated >= wanted
                && available >= wanted
                && old_gone,
        }
    }

    fn text(&self) -> String {
        format!("{} {}/{}", self.name, self.available, self.wanted)
    }
}

/// Waits for every Deployment among `applied`. Shows progress on stderr if `show`.
///
/// # Errors
/// When the cluster cannot be watched. Deployments that do not become available are no error.
pub(crate) async fn wait(
    client: &Client,
    applied: &[Applied],
    show: bool,
) -> anyhow::Result<RolledOut> {
    let deployments: Vec<&Applied> = applied.iter().filter(|a| a.kind == "Deployment").collect();
    if deployments.is_empty() {
        return Ok(RolledOut::default());
    }
    let mut states = BTreeMap::new();
    let (send, mut news) = mpsc::channel(QUEUE);
    let watches = deployments.iter().map(|d| follow(client, d, send.clone()));
    let watches = futures::future::try_join_all(watches);
    drop(send);
    let display = async {
        let bar = progress(show);
        while let Some(state) = news.recv().await {
            states.insert((state.namespace.clone(), state.name.clone()), state);
            let line: Vec<String> = states.values().map(State::text).collect();
            bar.set_message(line.join(", "));
        }
        bar.finish_and_clear();
    };
    let deadline = Instant::now() + PATIENCE;
    let both = async { tokio::join!(watches, display).0 };
    let in_time = tokio::time::timeout_at(deadline, both).await;
    let mut problems = Vec::new();
    match in_time {
        Ok(result) => {
            result?;
        }
        Err(_) => {
            for namespace in namespaces(&deployments) {
                problems.extend(complaints(client, &namespace).await?);
            }
            if problems.is_empty() {
                problems.push(format!("gave up after {PATIENCE:?}"));
            }
        }
    }
    Ok(RolledOut {
        deployments: states.into_values().collect(),
        problems,
    })
}

/// Reports every state of one Deployment until it is done.
async fn follow(
    client: &Client,
    deployment: &Applied,
    news: mpsc::Sender<State>,
) -> anyhow::Result<()> {
    let namespace = deployment.namespace.as_deref().unwrap_or("default");
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let mut watch = watch_object(api, &deployment.name).boxed();
    let failed = || format!("cannot watch the Deployment {}", deployment.name);
    while let Some(seen) = watch.try_next().await.with_context(failed)? {
        let Some(seen) = seen else {
            anyhow::bail!("the Deployment {} was deleted", deployment.name);
        };
        let state = State::of(&seen);
        let done = state.done;
        // Fails when nobody listens any more, after the deadline.
        if news.send(state).await.is_err() || done {
            break;
        }
    }
    Ok(())
}

fn namespaces(deployments: &[&Applied]) -> Vec<String> {
    let mut names: Vec<String> = deployments
        .iter()
        .map(|d| d.namespace.clone().unwrap_or_else(|| "default".to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What the pods of a namespace say about why they are not ready.
async fn complaints(client: &Client, namespace: &str) -> anyhow::Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods
        .list(&ListParams::default())
        .await
        .context("cannot list pods")?;
    Ok(pods.iter().filter_map(complaint).collect())
}

fn complaint(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let containers = || {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    };
    let waiting = containers().find_map(|c| {
        let waiting = c.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        Some(match &waiting.message {
            Some(message) => format!("{name}: {reason}: {message}"),
            None => format!("{name}: {reason}"),
        })
    });
    waiting.or_else(|| {
        let mut conditions = status.conditions.iter().flatten();
        let unscheduled = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        let message = unscheduled
            .message
            .as_deref()
            .unwrap_or("no node was found for it");
        Some(format!("{name}: Pending: {message}"))
    })
}

fn progress(show: bool) -> ProgressBar {
    if !show {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} waiting: {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_deployment_is_done_when_only_new_replicas_are_left_and_available() {
        let full = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
        let with = |key: &str, value: i32| {
            let mut status = full.clone();
            status[key] = json!(value);
            status
        };
        for (replicas, status, expect) in [
            (json!(3), full.clone(), (3, true)),
            (json!(3), json!({}), (0, false)),
            (json!(3), with("observedGeneration", 1), (3, false)),
            (json!(3), with("availableReplicas", 2), (2, false)),
            (json!(3), with("updatedReplicas", 1), (1, false)),
            (json!(3), with("replicas", 4), (3, false)),
            (json!(0), json!({"observedGeneration": 2}), (0, true)),
            (
                Value::Null,
                json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}),
                (1, true),
            ),
        ] {
            let deployment: Deployment = serde_json::from_value(json!({
                "metadata": {"name": "d", "generation": 2},
                "spec": {"replicas": replicas, "selector": {}, "template": {}},
                "status": status,
            }))
            .unwrap();
            let state = State::of(&deployment);
            assert_eq!((state.available, state.done), expect, "{status}");
        }
    }

    #[test]
    fn a_pod_that_waits_says_why() {
        let check = |status: Value, expect: Option<&str>| {
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status}))
                    .unwrap();
            assert_eq!(complaint(&pod).as_deref(), expect);
        };
        let waiting = |reason: &str, message: Value| {
            json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": reason, "message": message}}}])
        };
        check(json!({}), None);
        check(
            json!({"containerStatuses": waiting("ErrImagePull", json!("not there"))}),
            Some("p: ErrImagePull: not there"),
        );
        check(
            json!({"initContainerStatuses": waiting("CrashLoopBackOff", Value::Null)}),
            Some("p: CrashLoopBackOff"),
        );
        let unscheduled =
            json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]);
        check(
            json!({"conditions": unscheduled}),
            Some("p: Pending: 0/1 nodes"),
        );
    }

    #[test]
    fn the_outcome_is_a_line_or_a_list_of_problems() {
        let state = State {
            name: "web".into(),
            namespace: "default".into(),
            available: 1,
            wanted: 2,
            done: false,
        };
        let mut out = RolledOut {
            deployments: vec![state],
            problems: vec![],
        };
        assert_eq!(
            out.text(Duration::from_millis(340)),
            "Available after 0.34 s: web 1/2\n"
        );
        out.problems.push("web-1: ErrImagePull".into());
        let text = out.text(Duration::from_secs(120));
        assert!(
            text.starts_with("Not available after 120 s: web 1/2\n  web-1: ErrImagePull\n"),
            "{text}"
        );
        assert_eq!(RolledOut::default().text(Duration::ZERO), "");
    }
}
