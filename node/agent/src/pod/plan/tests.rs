//! Lives of pods, told as news and what is done about them.

use super::*;
use crate::pod::recover::recover;
use crate::pod::state::News;
use crate::pod::status::{Surroundings, status};
use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
use serde_json::{Value, json};

/// A pod, its clock, and what was done last.
struct Story {
    desire: Desire,
    observed: Observed,
    second: u64,
    wake: Option<Duration>,
}

impl Story {
    fn of(spec: Value) -> Self {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let desire = Desire::of(&spec);
        let observed = Observed::new(&desire, Now::at(0));
        Self {
            desire,
            observed,
            second: 0,
            wake: None,
        }
    }

    fn now(&self) -> Now {
        Now::at(self.second)
    }

    /// What is done now, each action in a few words.
    fn act(&mut self) -> String {
        let plan = plan(&self.desire, &mut self.observed, Now::at(self.second));
        self.wake = plan.wake;
        let words: Vec<String> = plan
            .actions
            .iter()
            .map(|action| match action {
                Action::SetUp => "setup".into(),
                Action::Start { index, attempt } => format!("start {index}#{attempt}"),
                Action::Abort { index } => format!("abort {index}"),
                Action::Probe { index, kind } => format!("{} {index}", kind.name().to_lowercase()),
                Action::Stop { index, grace, .. } => format!("stop {index} in {}", grace.as_secs()),
                Action::Withdraw { at_most } => format!("withdraw in {}", at_most.as_secs()),
                Action::Release => "release".into(),
            })
            .collect();
        words.join(", ")
    }

    fn at(&mut self, second: u64) -> String {
        self.second = second;
        self.act()
    }

    fn hear(&mut self, news: News) -> String {
        let now = self.now();
        self.observed.apply(&self.desire, news, now);
        self.act()
    }

    fn set_up(&mut self) -> String {
        assert_eq!(self.act(), "setup");
        self.hear(News::SetUp {
            ip: "10.128.0.2".parse().unwrap(),
        })
    }

    fn started(&mut self, index: usize) -> String {
        self.hear(News::Started {
            index,
            image_id: "app@sha256:1".into(),
            container_id: "wasmtime://c".into(),
        })
    }

    fn exited(&mut self, index: usize, exit_code: i32) -> String {
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        self.hear(News::Exited {
            index,
            exit_code,
            reason: reason.into(),
            message: None,
        })
    }

    fn probed(&mut self, kind: ProbeKind, ok: bool) -> String {
        self.hear(News::Probed {
            index: 0,
            kind,
            ok,
            seed: 0,
        })
    }

    fn end(&mut self, grace: u64) -> String {
        let now = self.now();
        self.observed
            .end(EndCause::Deleted, Duration::from_secs(grace), now);
        self.act()
    }

    fn status(&self) -> PodStatus {
        let around = Surroundings {
            host_ip: "127.0.0.1".into(),
            ..Surroundings::default()
        };
        status(&self.desire, &self.observed, &around, self.now())
    }

    /// `PHASE ready|unready`, then per container `STATE/RESTARTS`.
    fn shown(&self) -> String {
        let status = self.status();
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        let mut words = vec![
            status.phase.clone().unwrap(),
            if ready { "ready" } else { "unready" }.into(),
        ];
        for container in status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .flatten()
        {
            let state = container.state.as_ref().unwrap();
            let word = if let Some(waiting) = &state.waiting {
                waiting.reason.clone().unwrap()
            } else if let Some(ended) = &state.terminated {
                format!("{}({})", ended.reason.as_deref().unwrap(), ended.exit_code)
            } else {
                "running".into()
            };
            words.push(format!("{word}/{}", container.restart_count));
        }
        words.join(" ")
    }
}

fn one(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "app"}]})
}

#[test]
fn a_pod_becomes_ready_in_three_steps() {
    let mut story = Story::of(one("Always"));
    assert_eq!(story.shown(), "Pending unready ContainerCreating/0");
    assert_eq!(story.set_up(), "start 0#0");
    assert_eq!(story.shown(), "Pending unready ContainerCreating/0");
    assert_eq!(story.started(0), "");
    assert_eq!(story.shown(), "Running ready running/0");
    assert_eq!(story.wake, None, "an idle pod needs no timer");
}

#[test]
fn ends_are_followed_by_the_restart_policy() {
    for (policy, code, action, shown) in [
        (
            "Always",
            0,
            "start 0#1",
            "Running unready ContainerCreating/0",
        ),
        (
            "Always",
            3,
            "start 0#1",
            "Running unready ContainerCreating/0",
        ),
        (
            "OnFailure",
            3,
            "start 0#1",
            "Running unready ContainerCreating/0",
        ),
        (
            "OnFailure",
            0,
            "release",
            "Succeeded unready Completed(0)/0",
        ),
        ("Never", 0, "release", "Succeeded unready Completed(0)/0"),
        ("Never", 3, "release", "Failed unready Error(3)/0"),
    ] {
        let mut story = Story::of(one(policy));
        story.set_up();
        story.started(0);
        assert_eq!(story.exited(0, code), action, "{policy} {code}");
        assert_eq!(story.shown(), shown, "{policy} {code}");
        assert_eq!(story.act(), "", "nothing is done twice");
    }
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let mut story = Story::of(one("Always"));
    story.set_up();
    story.started(0);
    assert_eq!(story.exited(0, 1), "start 0#1");
    story.started(0);
    assert_eq!(story.exited(0, 1), "");
    assert_eq!(story.shown(), "Running unready CrashLoopBackOff/1");
    assert_eq!(story.wake, Some(Duration::from_secs(10)));
    let status = story.status();
    let last = status.container_statuses.unwrap()[0]
        .last_state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(story.at(9), "");
    assert_eq!(story.at(10), "start 0#2");
    story.started(0);
    story.exited(0, 1);
    assert_eq!(story.wake, Some(Duration::from_secs(30)));
}

#[test]
fn a_missing_image_is_an_error_and_then_a_wait() {
    let mut story = Story::of(one("Always"));
    story.set_up();
    let failed = || News::StartFailed {
        index: 0,
        why: HoldReason::ImagePull,
        message: "no".into(),
    };
    assert_eq!(story.hear(failed()), "");
    assert_eq!(story.shown(), "Pending unready ErrImagePull/0");
    assert_eq!(story.at(3), "");
    assert_eq!(story.shown(), "Pending unready ImagePullBackOff/0");
    assert_eq!(story.at(10), "start 0#0");
    story.hear(failed());
    assert_eq!(story.at(29), "");
    assert_eq!(story.at(30), "start 0#0");
    assert_eq!(story.started(0), "");
    assert_eq!(
        story.shown(),
        "Running ready running/0",
        "a start that failed is no restart"
    );
}

#[test]
fn init_containers_run_one_after_the_other() {
    let mut story = Story::of(json!({
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 81}]}]
    }));
    assert_eq!(story.set_up(), "start 0#0");
    assert_eq!(story.started(0), "");
    assert_eq!(
        story.shown(),
        "Pending unready running/0 PodInitializing/0 PodInitializing/0 PodInitializing/0"
    );
    assert_eq!(story.exited(0, 0), "start 1#0");
    assert_eq!(story.started(1), "start 2#0, start 3#0");
    story.started(2);
    story.started(3);
    assert_eq!(
        story.shown(),
        "Running ready Completed(0)/0 running/0 running/0 running/0"
    );
    assert_eq!(story.end(30), "withdraw in 5");
    assert_eq!(story.hear(News::Withdrawn), "stop 2 in 30, stop 3 in 30");
    assert_eq!(story.exited(2, 0), "");
    assert_eq!(
        story.exited(3, 0),
        "stop 1 in 30",
        "the sidecar outlives them"
    );
    assert_eq!(story.exited(1, 0), "release");
    assert_eq!(
        story.shown(),
        "Succeeded unready Completed(0)/0 Completed(0)/0 Completed(0)/0 Completed(0)/0"
    );
}

#[test]
fn a_failed_init_container_ends_or_retries_the_pod() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]});
    for (policy, action, phase) in [
        ("Never", "release", "Failed"),
        ("Always", "start 0#1", "Pending"),
        ("OnFailure", "start 0#1", "Pending"),
    ] {
        let mut story = Story::of(spec(policy));
        story.set_up();
        story.started(0);
        assert_eq!(story.exited(0, 1), action, "{policy}");
        assert_eq!(story.status().phase.as_deref(), Some(phase), "{policy}");
    }
}

#[test]
fn probes_gate_readiness_and_restart_what_is_stuck() {
    let mut story = Story::of(json!({"containers": [{"name": "c",
        "startupProbe": {"httpGet": {"port": 80}, "periodSeconds": 1, "failureThreshold": 30},
        "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"port": 80}, "initialDelaySeconds": 3, "failureThreshold": 2}}]}));
    story.set_up();
    assert_eq!(story.started(0), "startup 0");
    assert_eq!(story.shown(), "Running unready running/0");
    assert_eq!(story.probed(ProbeKind::Startup, false), "");
    assert_eq!(story.at(1), "startup 0");
    assert_eq!(story.probed(ProbeKind::Startup, true), "readiness 0");
    assert_eq!(story.probed(ProbeKind::Readiness, true), "");
    assert_eq!(story.shown(), "Running ready running/0");
    assert_eq!(story.at(4), "liveness 0");
    assert_eq!(story.probed(ProbeKind::Liveness, false), "");
    assert_eq!(story.at(6), "readiness 0");
    assert_eq!(story.at(14), "liveness 0");
    assert_eq!(story.probed(ProbeKind::Liveness, false), "stop 0 in 5");
    assert_eq!(story.exited(0, 137), "start 0#1");
}

#[test]
fn probes_that_this_node_cannot_make_are_named() {
    for (probe, expect) in [
        (
            json!({"exec": {"command": ["true"]}}),
            "the liveness probe uses exec, which Wasm containers of this node do not have; use httpGet",
        ),
        (
            json!({"grpc": {"port": 1}}),
            "the liveness probe uses grpc, which this node does not speak; use httpGet",
        ),
        (
            json!({"httpGet": {"port": "web"}}),
            "the liveness probe asks for the port \"web\", which the container does not name",
        ),
        (
            json!({"httpGet": {"port": 1, "scheme": "HTTPS"}}),
            "the liveness probe asks for HTTPS, but pods of this node speak HTTP; set scheme: HTTP",
        ),
    ] {
        let story = Story::of(json!({"containers": [{"name": "c", "livenessProbe": probe}]}));
        assert_eq!(
            story.desire.containers[0].unsupported.as_deref(),
            Some(expect)
        );
    }
}

#[test]
fn deletion_serves_on_until_services_let_go() {
    let mut story = Story::of(one("Always"));
    story.set_up();
    story.started(0);
    assert_eq!(story.end(4), "withdraw in 2");
    assert_eq!(story.shown(), "Running ready running/0");
    story.second = 1;
    assert_eq!(story.hear(News::Withdrawn), "stop 0 in 3");
    assert_eq!(story.exited(0, 143), "release");
    assert_eq!(story.shown(), "Failed unready Error(143)/0");
    assert_eq!(story.hear(News::Released), "");
}

#[test]
fn deletion_takes_what_it_finds() {
    let mut immediate = Story::of(one("Always"));
    immediate.set_up();
    immediate.started(0);
    assert_eq!(immediate.end(0), "stop 0 in 0");

    let mut shortened = Story::of(one("Always"));
    shortened.set_up();
    shortened.started(0);
    assert_eq!(shortened.end(30), "withdraw in 5");
    assert_eq!(
        shortened.end(0),
        "stop 0 in 0",
        "a second deletion may be harsher"
    );

    let mut starting = Story::of(one("Always"));
    starting.set_up();
    assert_eq!(starting.end(30), "abort 0, release");

    let mut fresh = Story::of(one("Always"));
    assert_eq!(fresh.end(30), "release");
    assert_eq!(fresh.shown(), "Failed unready ContainerCreating/0");
}

#[test]
fn a_deadline_ends_the_pod_as_failed() {
    let mut spec = one("OnFailure");
    spec["activeDeadlineSeconds"] = json!(60);
    let mut story = Story::of(spec);
    story.set_up();
    story.started(0);
    assert_eq!(story.wake, Some(Duration::from_secs(60)));
    assert_eq!(story.at(60), "withdraw in 5");
    assert_eq!(story.hear(News::Withdrawn), "stop 0 in 30");
    assert_eq!(story.exited(0, 0), "release");
    assert_eq!(story.status().phase.as_deref(), Some("Failed"));
    assert_eq!(story.status().reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn after_a_restart_of_the_agent_pods_go_on() {
    let running = json!({"running": {"startedAt": "2026-11-23T10:00:00Z"}});
    let ended = |code: i32| json!({"terminated": {"exitCode": code, "reason": "Error"}});
    for (policy, state, action, shown) in [
        (
            "Always",
            running.clone(),
            "setup",
            "Running unready ContainerCreating/2",
        ),
        (
            "Never",
            running.clone(),
            "release",
            "Failed unready ContainerStatusUnknown(137)/2",
        ),
        (
            "OnFailure",
            running,
            "setup",
            "Running unready ContainerCreating/2",
        ),
        (
            "Always",
            ended(1),
            "setup",
            "Running unready ContainerCreating/2",
        ),
        ("Never", ended(1), "release", "Failed unready Error(1)/2"),
        (
            "OnFailure",
            ended(0),
            "release",
            "Succeeded unready Error(0)/2",
        ),
    ] {
        let mut story = Story::of(one(policy));
        let old: PodStatus = serde_json::from_value(json!({"phase": "Running", "containerStatuses": [
            {"name": "c", "image": "app", "imageID": "app@sha256:1", "ready": true, "restartCount": 2, "state": state}]}))
        .unwrap();
        story.observed = recover(&story.desire, &old, story.now());
        assert_eq!(story.act(), action, "{policy} {state}");
        assert_eq!(story.shown(), shown, "{policy} {state}");
        if action == "setup" {
            assert_eq!(
                story.hear(News::SetUp {
                    ip: "10.128.0.2".parse().unwrap()
                }),
                "start 0#3"
            );
            story.started(0);
            assert_eq!(story.shown(), "Running ready running/3");
        }
    }
}

#[test]
fn conditions_keep_their_times_until_they_change() {
    let mut story = Story::of(one("Always"));
    story.set_up();
    story.started(0);
    let before = story.status();
    story.second = 50;
    let around = Surroundings {
        conditions: before.conditions.clone().unwrap(),
        ..Surroundings::default()
    };
    let after = status(&story.desire, &story.observed, &around, story.now());
    assert_eq!(before.conditions, after.conditions);
    let around = Surroundings {
        readiness_gates: vec!["shop/open".into()],
        ..around
    };
    let gated = status(&story.desire, &story.observed, &around, story.now());
    let ready = gated
        .conditions
        .unwrap()
        .into_iter()
        .find(|c| c.type_ == "Ready")
        .unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref()),
        ("False", Some("ReadinessGatesNotReady"))
    );
}
