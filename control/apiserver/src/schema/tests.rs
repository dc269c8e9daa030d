use super::*;

/// Walks `path` (`spec.containers.ports`) down from a kind, through lists and maps.
fn at(group: &str, version: &str, kind: &str, path: &str) -> FieldRef {
    let mut of = types().get(types().lookup_gvk(group, version, kind).expect(kind));
    let mut found = None;
    for name in path.split('.') {
        let field = of
            .field(name)
            .unwrap_or_else(|| panic!("{kind} has no {path} ({name})"));
        found = Some(field);
        if let Some(next) = field.element() {
            of = next;
        }
    }
    found.expect("a path has a segment")
}

#[test]
fn every_kind_that_we_serve_has_its_type() {
    for (group, version, kind, name) in [
        ("", "v1", "Pod", "io.k8s.api.core.v1.Pod"),
        ("", "v1", "PodList", "io.k8s.api.core.v1.PodList"),
        (
            "",
            "v1",
            "Status",
            "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
        ),
        ("apps", "v1", "Deployment", "io.k8s.api.apps.v1.Deployment"),
        (
            "autoscaling",
            "v1",
            "Scale",
            "io.k8s.api.autoscaling.v1.Scale",
        ),
        (
            "coordination.k8s.io",
            "v1",
            "Lease",
            "io.k8s.api.coordination.v1.Lease",
        ),
        (
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            "io.k8s.api.discovery.v1.EndpointSlice",
        ),
        (
            "apps",
            "v1",
            "DeleteOptions",
            "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
        ),
    ] {
        let id = types().lookup_gvk(group, version, kind).expect(kind);
        assert_eq!(types().get(id).name(), name);
        assert_eq!(types().lookup_name(name), Some(id));
        assert!(types().get(id).kinds().any(|k| k == (group, version, kind)));
    }
    for (group, version, kind) in [("", "v2", "Pod"), ("apps", "v1", "Pod"), ("", "v1", "pod")] {
        assert_eq!(types().lookup_gvk(group, version, kind), None);
    }
}

#[test]
fn merge_keys_are_kubernetes_own() {
    use PatchStrategy::{Merge, Unset};
    for (kind, path, strategy, key) in [
        ("Pod", "spec.containers", Merge, Some("name")),
        ("Pod", "spec.containers.ports", Merge, Some("containerPort")),
        ("Pod", "spec.containers.env", Merge, Some("name")),
        (
            "Pod",
            "spec.containers.volumeMounts",
            Merge,
            Some("mountPath"),
        ),
        ("Pod", "spec.containers.args", Unset, None),
        ("Pod", "spec.volumes", Merge, Some("name")),
        ("Pod", "spec.tolerations", Unset, None),
        ("Pod", "status.conditions", Merge, Some("type")),
        ("Pod", "metadata.finalizers", Merge, None),
        ("Pod", "metadata.ownerReferences", Merge, Some("uid")),
        ("Service", "spec.ports", Merge, Some("port")),
        ("ServiceAccount", "secrets", Merge, Some("name")),
        ("ServiceAccount", "imagePullSecrets", Unset, None),
    ] {
        let field = at("", "v1", kind, path);
        assert_eq!(
            (field.patch_strategy(), field.merge_key()),
            (strategy, key),
            "{kind} {path}"
        );
    }
    assert!(at("", "v1", "Pod", "spec.volumes").retain_keys());
    assert!(at("apps", "v1", "Deployment", "spec.strategy").retain_keys());
}

#[test]
fn list_types_are_kubernetes_own() {
    for (path, list, keys) in [
        ("spec.containers", Some(ListType::Map), &["name"][..]),
        (
            "spec.containers.ports",
            Some(ListType::Map),
            &["containerPort", "protocol"],
        ),
        ("spec.containers.args", Some(ListType::Atomic), &[]),
        ("metadata.finalizers", Some(ListType::Set), &[]),
        ("spec.nodeName", None, &[]),
    ] {
        let field = at("", "v1", "Pod", path);
        assert_eq!(field.list_type(), list, "{path}");
        assert_eq!(field.list_map_keys().collect::<Vec<_>>(), keys, "{path}");
    }
    assert_eq!(
        at("", "v1", "Pod", "spec.containers.ports.protocol").default_json(),
        Some("\"TCP\"")
    );
    assert!(at("", "v1", "Pod", "spec.nodeSelector").atomic());
}

#[test]
fn shapes_say_what_json_holds() {
    for (group, kind, path, scalar) in [
        ("", "Pod", "metadata.creationTimestamp", Scalar::Time),
        ("", "Pod", "metadata.generation", Scalar::Int64),
        ("", "Pod", "spec.hostNetwork", Scalar::Bool),
        ("", "Event", "eventTime", Scalar::MicroTime),
        ("apps", "Deployment", "spec.replicas", Scalar::Int32),
        (
            "apps",
            "Deployment",
            "spec.strategy.rollingUpdate.maxSurge",
            Scalar::IntOrString,
        ),
        ("apps", "ControllerRevision", "data", Scalar::Raw),
        ("", "Pod", "metadata.managedFields.fieldsV1", Scalar::Fields),
    ] {
        assert_eq!(
            at(group, "v1", kind, path).shape(),
            Shape::Scalar(scalar),
            "{path}"
        );
    }
    for (kind, path, scalar) in [
        ("Secret", "data", Scalar::Bytes),
        ("ConfigMap", "data", Scalar::String),
        ("Node", "status.capacity", Scalar::Quantity),
    ] {
        let Shape::Map(inner) = at("", "v1", kind, path).shape() else {
            panic!("{path} is a map");
        };
        assert_eq!(inner.shape(), Shape::Scalar(scalar), "{path}");
    }
    assert!(at("", "v1", "Service", "spec.ports.port").required());
    assert!(!at("", "v1", "Service", "spec.ports.name").required());
}

#[test]
fn the_table_is_consistent() {
    let mut fields = 0;
    for of in types().iter() {
        for field in of.fields() {
            fields += 1;
            let place = format!("{}.{}", of.name(), field.name());
            assert!(std::ptr::eq(
                of.field(field.name()).expect("found").row,
                field.row
            ));
            if let Some(key) = field.merge_key() {
                let item = field
                    .element()
                    .unwrap_or_else(|| panic!("{place} lists objects"));
                assert!(
                    item.field(key).is_some(),
                    "{place}: items lack the merge key {key}"
                );
                assert_eq!(field.patch_strategy(), PatchStrategy::Merge, "{place}");
            }
            for key in field.list_map_keys() {
                let item = field
                    .element()
                    .unwrap_or_else(|| panic!("{place} lists objects"));
                assert!(
                    item.field(key).is_some(),
                    "{place}: items lack the key {key}"
                );
            }
            if let Some(json) = field.default_json() {
                serde_json::from_str::<serde_json::Value>(json).expect("defaults are JSON");
            }
        }
    }
    assert!(fields > 3_000, "only {fields} fields");
    assert!(types().iter().count() > 800);
}

#[test]
fn rows_stay_small() {
    assert!(size_of::<FieldRow>() <= 24);
    assert!(size_of::<TypeRow>() <= 32);
    assert!(size_of::<Shape>() <= 4);
    assert!(TEXT.len() < 300_000, "the table is part of the program");
}
