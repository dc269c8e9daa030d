//! Probes and life cycle hooks: what the node calls in a container.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{is_sidecar, one_of, text};

/// A port by number or by name.
pub(in super::super) fn validate_port_reference(
    port: &IntOrString,
    path: &Path,
    errors: &mut ErrorList,
) {
    match port {
        IntOrString::Int(number) => {
            errors.invalid_each(path, number, names::port_number(*number));
        }
        IntOrString::String(name) => errors.invalid_each(path, name, names::port_name(name)),
    }
}

/// The probes and hooks of an ordinary container or a sidecar.
pub(super) fn validate(container: &Container, grace: i64, path: &Path, errors: &mut ErrorList) {
    if let Some(lifecycle) = &container.lifecycle {
        validate_lifecycle(lifecycle, grace, &path.child("lifecycle"), errors);
    }
    let once = |probe: &Probe, path: &Path, errors: &mut ErrorList| {
        if let Some(threshold) = probe.success_threshold
            && threshold != 1
        {
            errors.invalid(path.child("successThreshold"), threshold, "must be 1");
        }
    };
    if let Some(probe) = &container.liveness_probe {
        let path = path.child("livenessProbe");
        validate_probe(probe, &path, errors);
        once(probe, &path, errors);
    }
    if let Some(probe) = &container.readiness_probe {
        let path = path.child("readinessProbe");
        validate_probe(probe, &path, errors);
        if let Some(seconds) = probe.termination_grace_period_seconds {
            errors.invalid(
                path.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            );
        }
    }
    if let Some(probe) = &container.startup_probe {
        let path = path.child("startupProbe");
        validate_probe(probe, &path, errors);
        once(probe, &path, errors);
    }
}

/// An init container that ends has nothing to probe.
pub(super) fn validate_init(
    container: &Container,
    grace: i64,
    path: &Path,
    errors: &mut ErrorList,
) {
    if is_sidecar(container) {
        return validate(container, grace, path, errors);
    }
    let set = [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ];
    for (field, set) in set {
        if set {
            errors.forbidden(
                path.child(field),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

fn validate_probe(probe: &Probe, path: &Path, errors: &mut ErrorList) {
    let mut handlers = Handlers::new(path);
    if let Some(exec) = &probe.exec {
        handlers.one("exec", errors, |path, errors| {
            validate_exec(exec, path, errors)
        });
    }
    if let Some(get) = &probe.http_get {
        handlers.one("httpGet", errors, |path, errors| {
            validate_http_get(get, path, errors)
        });
    }
    if let Some(socket) = &probe.tcp_socket {
        handlers.one("tcpSocket", errors, |path, errors| {
            validate_port_reference(&socket.port, &path.child("port"), errors);
        });
    }
    if let Some(grpc) = &probe.grpc {
        handlers.one("grpc", errors, |path, errors| {
            errors.invalid_each(
                &path.child("port"),
                grpc.port,
                names::port_number(grpc.port),
            );
        });
    }
    handlers.end(errors);

    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        errors.non_negative(path.child(field), number.unwrap_or_default().into());
    }
    if let Some(seconds) = probe.termination_grace_period_seconds
        && seconds <= 0
    {
        let path = path.child("terminationGracePeriodSeconds");
        errors.invalid(path, seconds, "must be greater than 0");
    }
}

fn validate_lifecycle(lifecycle: &Lifecycle, grace: i64, path: &Path, errors: &mut ErrorList) {
    let hooks = [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ];
    for (field, hook) in hooks {
        if let Some(hook) = hook {
            validate_hook(hook, grace, &path.child(field), errors);
        }
    }
}

fn validate_hook(hook: &LifecycleHandler, grace: i64, path: &Path, errors: &mut ErrorList) {
    let mut handlers = Handlers::new(path);
    if let Some(exec) = &hook.exec {
        handlers.one("exec", errors, |path, errors| {
            validate_exec(exec, path, errors)
        });
    }
    if let Some(get) = &hook.http_get {
        handlers.one("httpGet", errors, |path, errors| {
            validate_http_get(get, path, errors)
        });
    }
    if let Some(socket) = &hook.tcp_socket {
        handlers.one("tcpSocket", errors, |path, errors| {
            validate_port_reference(&socket.port, &path.child("port"), errors);
        });
    }
    if let Some(sleep) = &hook.sleep {
        handlers.one("sleep", errors, |path, errors| {
            if sleep.seconds < 0 || sleep.seconds > grace {
                let rule = format!(
                    "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                );
                errors.invalid(path.clone(), sleep.seconds, rule);
            }
        });
    }
    handlers.end(errors);
}

/// Sees to it that there is exactly one handler.
struct Handlers<'a> {
    path: &'a Path,
    found: bool,
}

impl<'a> Handlers<'a> {
    fn new(path: &'a Path) -> Self {
        Handlers { path, found: false }
    }

    fn one(
        &mut self,
        field: &str,
        errors: &mut ErrorList,
        validate: impl FnOnce(&Path, &mut ErrorList),
    ) {
        let path = self.path.child(field);
        if self.found {
            errors.forbidden(path, "may not specify more than 1 handler type");
        } else {
            validate(&path, errors);
        }
        self.found = true;
    }

    fn end(self, errors: &mut ErrorList) {
        if !self.found {
            errors.required(self.path.clone(), "must specify a handler type");
        }
    }
}

fn validate_exec(exec: &ExecAction, path: &Path, errors: &mut ErrorList) {
    if exec
        .command
        .as_ref()
        .is_none_or(|command| command.is_empty())
    {
        errors.required(path.child("command"), "");
    }
}

fn validate_http_get(get: &HTTPGetAction, path: &Path, errors: &mut ErrorList) {
    if text(&get.path).is_none() {
        errors.required(path.child("path"), "");
    }
    validate_port_reference(&get.port, &path.child("port"), errors);
    one_of(
        get.scheme.as_deref(),
        &["HTTP", "HTTPS"],
        path.child("scheme"),
        errors,
    );
    for header in get.http_headers.iter().flatten() {
        let path = path.child("httpHeaders");
        errors.invalid_each(&path, &header.name, names::http_header_name(&header.name));
    }
}
