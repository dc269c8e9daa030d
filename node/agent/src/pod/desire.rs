//! What a pod's spec asks of this node, read once, with what this node cannot do named.

use super::probe::{Check, ProbeSpec};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;

/// The port of an HTTP container that names none.
pub(crate) const DEFAULT_PORT: u16 = 80;

/// What a pod is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Desire {
    pub(crate) restart: Restart,
    /// Init containers first, in order, then the others.
    pub(crate) containers: Vec<ContainerDesire>,
    pub(crate) active_deadline: Option<Duration>,
}

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    pub(crate) fn wants(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// A container's part in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to completion before what comes after it.
    Init,
    /// An init container that restarts: it runs beside the others.
    Sidecar,
    Main,
}

/// When an image is asked for at the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// What runs right after a start, or right before a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hook {
    Sleep(Duration),
    Http(Check),
}

/// What a container is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerDesire {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) role: Role,
    pub(crate) restart: Restart,
    pub(crate) pull: PullPolicy,
    pub(crate) port: u16,
    pub(crate) startup: Option<ProbeSpec>,
    pub(crate) liveness: Option<ProbeSpec>,
    pub(crate) readiness: Option<ProbeSpec>,
    pub(crate) post_start: Option<Hook>,
    pub(crate) pre_stop: Option<Hook>,
    /// What of the spec this node cannot do; the container is not started, and this says why.
    pub(crate) unsupported: Option<String>,
}

impl Desire {
    pub(crate) fn of(spec: &core::PodSpec) -> Self {
        let pod_restart = Restart::parse(spec.restart_policy.as_deref());
        let inits = spec.init_containers.iter().flatten().map(|container| {
            match container.restart_policy.as_deref() {
                Some("Always") => ContainerDesire::of(container, Role::Sidecar, Restart::Always),
                // A pod that restarts always still wants its init containers to end.
                _ if pod_restart == Restart::Always => {
                    ContainerDesire::of(container, Role::Init, Restart::OnFailure)
                }
                _ => ContainerDesire::of(container, Role::Init, pod_restart),
            }
        });
        let mains = spec
            .containers
            .iter()
            .map(|container| ContainerDesire::of(container, Role::Main, pod_restart));
        Self {
            restart: pod_restart,
            containers: inits.chain(mains).collect(),
            active_deadline: spec
                .active_deadline_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
        }
    }
}

impl ContainerDesire {
    fn of(container: &core::Container, role: Role, restart: Restart) -> Self {
        let mut unsupported = None;
        let mut probe = |probe: Option<&core::Probe>, what: &str| match probe
            .map(|p| read_probe(p, container))
        {
            None => None,
            Some(Ok(probe)) => Some(probe),
            Some(Err(why)) => {
                unsupported.get_or_insert_with(|| format!("the {what} probe {why}"));
                None
            }
        };
        let startup = probe(container.startup_probe.as_ref(), "startup");
        let liveness = probe(container.liveness_probe.as_ref(), "liveness");
        let readiness = probe(container.readiness_probe.as_ref(), "readiness");
        let lifecycle = container.lifecycle.as_ref();
        let mut hook = |hook: Option<&core::LifecycleHandler>, what: &str| match hook
            .map(|h| read_hook(h, container))
        {
            None => None,
            Some(Ok(hook)) => Some(hook),
            Some(Err(why)) => {
                unsupported.get_or_insert_with(|| format!("the {what} hook {why}"));
                None
            }
        };
        let post_start = hook(lifecycle.and_then(|l| l.post_start.as_ref()), "postStart");
        let pre_stop = hook(lifecycle.and_then(|l| l.pre_stop.as_ref()), "preStop");
        let image = container.image.clone().unwrap_or_default();
        Self {
            name: container.name.clone(),
            role,
            restart,
            pull: match container.image_pull_policy.as_deref() {
                Some("Always") => PullPolicy::Always,
                Some("Never") => PullPolicy::Never,
                _ => PullPolicy::IfNotPresent,
            },
            port: container
                .ports
                .iter()
                .flatten()
                .find(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
                .and_then(|port| u16::try_from(port.container_port).ok())
                .unwrap_or(DEFAULT_PORT),
            image,
            startup,
            liveness,
            readiness,
            post_start,
            pre_stop,
            unsupported,
        }
    }
}

fn read_probe(probe: &core::Probe, container: &core::Container) -> Result<ProbeSpec, String> {
    let check = if let Some(get) = &probe.http_get {
        http_check(get, container)?
    } else if let Some(tcp) = &probe.tcp_socket {
        Check::Listening {
            port: port_number(&tcp.port, container)?,
        }
    } else if probe.exec.is_some() {
        return Err(
            "uses exec, which Wasm containers of this node do not have; use httpGet".into(),
        );
    } else if probe.grpc.is_some() {
        return Err("uses grpc, which this node does not speak; use httpGet".into());
    } else {
        return Err("has no httpGet or tcpSocket".into());
    };
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
    };
    let count = |value: Option<i32>, default| {
        value
            .and_then(|v| u32::try_from(v).ok())
            .filter(|v| *v > 0)
            .unwrap_or(default)
    };
    Ok(ProbeSpec {
        check,
        delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
        timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
        successes: count(probe.success_threshold, 1),
        failures: count(probe.failure_threshold, 3),
    })
}

fn read_hook(hook: &core::LifecycleHandler, container: &core::Container) -> Result<Hook, String> {
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        Ok(Hook::Sleep(Duration::from_secs(seconds)))
    } else if let Some(get) = &hook.http_get {
        Ok(Hook::Http(http_check(get, container)?))
    } else {
        Err("uses exec or tcpSocket, which this node does not have; use httpGet or sleep".into())
    }
}

fn http_check(get: &core::HTTPGetAction, container: &core::Container) -> Result<Check, String> {
    if get.scheme.as_deref().unwrap_or("HTTP") != "HTTP" {
        return Err("asks for HTTPS, but pods of this node speak HTTP; set scheme: HTTP".into());
    }
    let path = get.path.as_deref().unwrap_or("/");
    Ok(Check::Http {
        port: port_number(&get.port, container)?,
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        },
        host: get.host.clone(),
        headers: get
            .http_headers
            .iter()
            .flatten()
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

fn port_number(port: &IntOrString, container: &core::Container) -> Result<u16, String> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number)
            .map_err(|_| format!("asks for the port {number}, which is not a port")),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref() == Some(name))
            .and_then(|port| u16::try_from(port.container_port).ok())
            .ok_or_else(|| {
                format!("asks for the port {name:?}, which the container does not name")
            }),
    }
}
