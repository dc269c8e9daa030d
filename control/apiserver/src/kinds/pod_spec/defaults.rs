//! What a pod's description means where it says nothing. Follows
//! `pkg/apis/core/v1/defaults.go`.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EphemeralContainer, HTTPGetAction, Lifecycle, PodSpec,
    Probe, ResourceRequirements, Volume,
};

use euston_api::labels::SCHEDULER_DEFAULT;

use super::TCP;
use super::resources::{canonical_amounts, canonical_quantity};

/// Files of a volume are readable by all, writable by their owner.
const FILE_MODE: i32 = 0o644;
/// Where a container leaves its last words.
const MESSAGE_PATH: &str = "/dev/termination-log";
const TOKEN_SECONDS: i64 = 3600;
const GRACE_SECONDS: i64 = 30;

/// Fills in the defaults of a pod or a template.
pub(in super::super) fn default_pod_spec(spec: &mut PodSpec) {
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.scheduler_name, SCHEDULER_DEFAULT);
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds
        .get_or_insert(GRACE_SECONDS);
    // The older name of the same field; whoever sets one means both.
    match (
        spec.service_account_name.take(),
        spec.service_account.take(),
    ) {
        (Some(name), _) if !name.is_empty() => spec.service_account_name = Some(name),
        (_, older) => spec.service_account_name = older.filter(|name| !name.is_empty()),
    }
    spec.service_account.clone_from(&spec.service_account_name);

    let host_network = spec.host_network == Some(true);
    let all = spec
        .init_containers
        .iter_mut()
        .flatten()
        .chain(&mut spec.containers);
    for container in all {
        default_container(container, host_network);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        default_ephemeral(container);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        default_volume(volume);
    }
    if let Some(resources) = &mut spec.resources {
        canonical_amounts(resources.limits.as_mut());
        canonical_amounts(resources.requests.as_mut());
    }
    canonical_amounts(spec.overhead.as_mut());
}

/// What a real pod asks for where it only says how much it may have. Templates keep
/// the difference.
pub(in super::super) fn default_container_requests(spec: &mut PodSpec) {
    let all = spec
        .init_containers
        .iter_mut()
        .flatten()
        .chain(&mut spec.containers);
    for container in all {
        if let Some(resources) = &mut container.resources {
            requests_from_limits(resources);
        }
    }
    if let Some(resources) = &mut spec.resources {
        requests_from_limits(resources);
    }
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests
            .entry(name.clone())
            .or_insert_with(|| limit.clone());
    }
}

fn set(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.to_owned());
    }
}

fn pull_policy(image: Option<&str>) -> &'static str {
    if is_latest(image.unwrap_or_default()) {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// A container that is added to a running pod has few settings.
fn default_ephemeral(container: &mut EphemeralContainer) {
    let policy = pull_policy(container.image.as_deref());
    set(&mut container.image_pull_policy, policy);
    set(&mut container.termination_message_path, MESSAGE_PATH);
    set(&mut container.termination_message_policy, "File");
    for variable in container.env.iter_mut().flatten() {
        default_variable(variable);
    }
    container.resources.get_or_insert_default();
}

fn default_container(container: &mut Container, host_network: bool) {
    let policy = pull_policy(container.image.as_deref());
    set(&mut container.image_pull_policy, policy);
    set(&mut container.termination_message_path, MESSAGE_PATH);
    set(&mut container.termination_message_policy, "File");
    for port in container.ports.iter_mut().flatten() {
        set(&mut port.protocol, TCP);
        if host_network && port.host_port.unwrap_or_default() == 0 {
            port.host_port = Some(port.container_port);
        }
    }
    for variable in container.env.iter_mut().flatten() {
        default_variable(variable);
    }
    let resources = container.resources.get_or_insert_default();
    canonical_amounts(resources.limits.as_mut());
    canonical_amounts(resources.requests.as_mut());
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    for probe in probes.into_iter().flatten() {
        default_probe(probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        default_lifecycle(lifecycle);
    }
}

/// True for an image named without a tag or digest, or with the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.is_empty() || image.contains('@') {
        // Nothing to pull, or a digest, which always means the same bytes.
        return false;
    }
    // A colon before the last slash belongs to a port: `localhost:5000/app`.
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn default_variable(variable: &mut EnvVar) {
    let Some(from) = &mut variable.value_from else {
        return;
    };
    if let Some(field) = &mut from.field_ref {
        default_field_version(&mut field.api_version);
    }
    if let Some(resource) = &mut from.resource_field_ref {
        canonical_divisor(&mut resource.divisor);
    }
    if let Some(file) = &mut from.file_key_ref {
        file.optional.get_or_insert(false);
    }
}

fn default_field_version(version: &mut Option<String>) {
    if version.as_deref().is_none_or(str::is_empty) {
        *version = Some("v1".to_owned());
    }
}

/// Kubernetes writes an absent divisor as `0`.
fn canonical_divisor(
    divisor: &mut Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
) {
    let divisor = divisor.get_or_insert_default();
    if divisor.0.is_empty() {
        divisor.0 = "0".to_owned();
    }
    canonical_quantity(divisor);
}

fn default_probe(probe: &mut Probe) {
    let set = |field: &mut Option<i32>, value: i32| {
        if field.unwrap_or_default() == 0 {
            *field = Some(value);
        }
    };
    set(&mut probe.timeout_seconds, 1);
    set(&mut probe.period_seconds, 10);
    set(&mut probe.success_threshold, 1);
    set(&mut probe.failure_threshold, 3);
    if let Some(get) = &mut probe.http_get {
        default_http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn default_http_get(get: &mut HTTPGetAction) {
    if get.path.as_deref().is_none_or(str::is_empty) {
        get.path = Some("/".to_owned());
    }
    if get.scheme.as_deref().is_none_or(str::is_empty) {
        get.scheme = Some("HTTP".to_owned());
    }
}

fn default_lifecycle(lifecycle: &mut Lifecycle) {
    let handlers = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
    for handler in handlers.into_iter().flatten() {
        if let Some(get) = &mut handler.http_get {
            default_http_get(get);
        }
    }
}

fn default_volume(volume: &mut Volume) {
    let bare = Volume {
        name: volume.name.clone(),
        ..Volume::default()
    };
    if *volume == bare {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(map) = &mut volume.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(empty) = &mut volume.empty_dir
        && let Some(limit) = &mut empty.size_limit
    {
        canonical_quantity(limit);
    }
    if let Some(path) = &mut volume.host_path {
        path.type_.get_or_insert_default();
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        downward
            .items
            .iter_mut()
            .flatten()
            .for_each(default_downward_file);
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.iter_mut().flatten() {
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
            }
            if let Some(downward) = &mut source.downward_api {
                downward
                    .items
                    .iter_mut()
                    .flatten()
                    .for_each(default_downward_file);
            }
        }
    }
    if let Some(ephemeral) = &mut volume.ephemeral
        && let Some(claim) = &mut ephemeral.volume_claim_template
    {
        claim
            .spec
            .volume_mode
            .get_or_insert_with(|| "Filesystem".to_owned());
    }
    if let Some(image) = &mut volume.image
        && image.pull_policy.as_deref().is_none_or(str::is_empty)
    {
        let latest = is_latest(image.reference.as_deref().unwrap_or_default());
        let policy = if latest { "Always" } else { "IfNotPresent" };
        image.pull_policy = Some(policy.to_owned());
    }
    if let Some(iscsi) = &mut volume.iscsi {
        iscsi
            .iscsi_interface
            .get_or_insert_with(|| "default".to_owned());
    }
}

fn default_downward_file(file: &mut k8s_openapi::api::core::v1::DownwardAPIVolumeFile) {
    if let Some(field) = &mut file.field_ref {
        default_field_version(&mut field.api_version);
    }
    if let Some(resource) = &mut file.resource_field_ref {
        canonical_divisor(&mut resource.divisor);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::object;
    use super::*;
    use serde_json::{Value, json};

    fn defaulted(spec: Value) -> Value {
        let mut spec: PodSpec = object(&spec);
        default_pod_spec(&mut spec);
        let once = serde_json::to_value(&spec).unwrap();
        default_pod_spec(&mut spec);
        assert_eq!(serde_json::to_value(&spec).unwrap(), once, "idempotent");
        once
    }

    #[test]
    fn a_bare_spec_gets_kubernetes_defaults() {
        assert_eq!(
            defaulted(
                json!({"containers": [{"name": "a", "image": "app:v1", "ports": [{"containerPort": 80}]}]})
            ),
            json!({
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
                "containers": [{
                    "name": "a", "image": "app:v1", "imagePullPolicy": "IfNotPresent", "resources": {},
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
            }),
        );
    }

    #[test]
    fn unset_fields_of_all_parts() {
        let spec = defaulted(json!({
            "serviceAccount": "old", "hostNetwork": true,
            "initContainers": [{"name": "i", "image": "x"}],
            "containers": [{
                "name": "a", "image": "app",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "readinessProbe": {"grpc": {"port": 9}, "periodSeconds": 3},
                "lifecycle": {"preStop": {"httpGet": {"port": "web"}}},
                "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}},
            }],
            "volumes": [
                {"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "configMap": {"name": "m"}},
                {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
                {"name": "e", "hostPath": {"path": "/x"}},
                {"name": "f", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ],
        }));
        let cases = [
            ("/serviceAccountName", json!("old")),
            ("/initContainers/0/imagePullPolicy", json!("Always")),
            ("/containers/0/ports/0/hostPort", json!(80)),
            (
                "/containers/0/env/0/valueFrom/fieldRef/apiVersion",
                json!("v1"),
            ),
            (
                "/containers/0/env/1/valueFrom/resourceFieldRef/divisor",
                json!("0"),
            ),
            (
                "/containers/0/livenessProbe",
                json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}),
            ),
            (
                "/containers/0/readinessProbe/grpc",
                json!({"port": 9, "service": ""}),
            ),
            ("/containers/0/readinessProbe/periodSeconds", json!(3)),
            ("/containers/0/lifecycle/preStop/httpGet/path", json!("/")),
            (
                "/containers/0/resources",
                json!({"limits": {"cpu": "500m", "memory": "1Gi"}}),
            ),
            ("/volumes/0/emptyDir", json!({})),
            ("/volumes/1/secret/defaultMode", json!(420)),
            ("/volumes/2/configMap/defaultMode", json!(420)),
            (
                "/volumes/3/projected/sources/0/serviceAccountToken/expirationSeconds",
                json!(3600),
            ),
            ("/volumes/4/hostPath/type", json!("")),
            (
                "/volumes/5/downwardAPI/items/0/fieldRef/apiVersion",
                json!("v1"),
            ),
        ];
        for (pointer, expected) in cases {
            assert_eq!(spec.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn latest_is_what_has_no_tag() {
        let cases = [
            ("app", true),
            ("app:latest", true),
            ("app:v1", false),
            ("localhost:5000/app", true),
            ("localhost:5000/app:v1", false),
            ("app@sha256:00", false),
            ("app:latest@sha256:00", false),
            ("", false),
        ];
        for (image, expected) in cases {
            assert_eq!(is_latest(image), expected, "{image}");
        }
    }

    #[test]
    fn a_pod_asks_for_what_it_may_have() {
        let mut spec: PodSpec = object(&json!({"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}},
            {"name": "b", "resources": {}},
        ]}));
        default_container_requests(&mut spec);
        let spec = serde_json::to_value(spec).unwrap();
        assert_eq!(
            spec["containers"][0]["resources"]["requests"],
            json!({"cpu": "100m", "memory": "1Gi"})
        );
        assert_eq!(spec["containers"][1]["resources"], json!({}));
    }
}
