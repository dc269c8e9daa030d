//! What is wrong with volumes and mounts.

use super::*;

#[test]
fn mounts_name_volumes() {
    let check = |mounts: Value, expected: &[&str]| {
        let containers = json!([{"name": "a", "image": "x", "volumeMounts": mounts}]);
        check_spec(
            json!({"containers": containers, "volumes": [{"name": "v"}, {"name": "w"}]}),
            expected,
        );
    };
    check(
        json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w", "subPath": "x"}]),
        &[],
    );
    check(
        json!([{"name": "u", "mountPath": "/u"}, {"name": "v", "mountPath": "/u"}, {"name": "w"}]),
        &[
            "spec.containers[0].volumeMounts[0].name: Not found: \"u\"",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/u\": must be unique",
            "spec.containers[0].volumeMounts[2].mountPath: Required value",
        ],
    );
    check(
        json!([{"name": "v", "mountPath": "/v", "subPath": "/a/../b", "subPathExpr": "x", "mountPropagation": "Up", "recursiveReadOnly": "Enabled"}]),
        &[
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/a/../b\": must be a relative path",
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: \"x\": subPathExpr and subPath are mutually exclusive",
            "spec.containers[0].volumeMounts[0].mountPropagation: Unsupported value: \"Up\"",
            "spec.containers[0].volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
        ],
    );
    check_spec(
        json!({
            "containers": [{"name": "a", "image": "x", "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}, {"name": "z", "devicePath": ""}]}],
            "volumes": [{"name": "v"}],
        }),
        &[
            "spec.containers[0].volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim",
            "spec.containers[0].volumeDevices[1].name: Not found: \"z\"",
            "spec.containers[0].volumeDevices[1].devicePath: Required value",
        ],
    );
}

#[test]
fn volumes_have_one_source() {
    let check =
        |volume: Value, expected: &[&str]| check_spec(json!({"volumes": [volume]}), expected);
    check(json!({"name": "v"}), &[]);
    check(json!({}), &["spec.volumes[0].name: Required value"]);
    check(
        json!({"name": "V"}),
        &["spec.volumes[0].name: Invalid value: \"V\": a lowercase"],
    );
    check_spec(
        json!({"volumes": [{"name": "v"}, {"name": "v"}]}),
        &["spec.volumes[1].name: Duplicate value: \"v\""],
    );
    check(
        json!({"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}),
        &["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"],
    );
    check(
        json!({"name": "v", "emptyDir": {"sizeLimit": "-1"}}),
        &["spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be"],
    );
    check(
        json!({"name": "v", "hostPath": {"path": "/a/../b", "type": "Door"}}),
        &[
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.volumes[0].hostPath.type: Unsupported value: \"Door\"",
        ],
    );
    check(
        json!({"name": "v", "persistentVolumeClaim": {}}),
        &["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
    );
    check(
        json!({"name": "v", "nfs": {"server": "s", "path": "x"}}),
        &["spec.volumes[0].nfs.path: Invalid value: \"x\": must be an absolute path"],
    );
    check(
        json!({"name": "v", "csi": {}}),
        &["spec.volumes[0].csi.driver: Required value"],
    );
    check(
        json!({"name": "v", "ephemeral": {}}),
        &["spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"],
    );
    check(
        json!({"name": "v", "image": {}}),
        &["spec.volumes[0].image.reference: Required value"],
    );
}

#[test]
fn files_of_volumes_stay_inside() {
    let check = |volume: Value, expected: &[&str]| {
        check_spec(
            json!({"volumes": [merged(&json!({"name": "v"}), &volume)]}),
            expected,
        );
    };
    check(
        json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "a/b"}]}}),
        &[],
    );
    check(
        json!({"configMap": {"defaultMode": 512, "items": [{"path": "..a"}, {"key": "k", "path": "../a", "mode": -1}]}}),
        &[
            "spec.volumes[0].configMap.name: Required value",
            "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
            "spec.volumes[0].configMap.items[0].key: Required value",
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"..a\": must not start with '..'",
            "spec.volumes[0].configMap.items[1].path: Invalid value: \"../a\": must not contain '..'",
            "spec.volumes[0].configMap.items[1].mode: Invalid value: -1: must be a number between 0 and 0777",
        ],
    );
    check(
        json!({"secret": {"items": [{"key": "k"}]}}),
        &[
            "spec.volumes[0].secret.secretName: Required value",
            "spec.volumes[0].secret.items[0].path: Required value",
        ],
    );
    check(
        json!({"downwardAPI": {"items": [
            {"path": "a", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "b", "fieldRef": {"fieldPath": "status.podIP"}},
            {"path": "c", "resourceFieldRef": {"resource": "limits.cpu"}},
            {"path": "d"},
            {"path": "/e", "fieldRef": {"fieldPath": "metadata.name"}, "resourceFieldRef": {"resource": "limits.cpu"}},
        ]}}),
        &[
            "spec.volumes[0].downwardAPI.items[1].fieldRef.fieldPath: Unsupported value: \"status.podIP\"",
            "spec.volumes[0].downwardAPI.items[2].resourceFieldRef.containerName: Required value",
            "spec.volumes[0].downwardAPI.items[3]: Required value: one of fieldRef and resourceFieldRef is required",
            "spec.volumes[0].downwardAPI.items[4].path: Invalid value: \"/e\": must be a relative path",
            "spec.volumes[0].downwardAPI.items[4]: Invalid value: \"resource\": fieldRef and resourceFieldRef can not",
        ],
    );
    check(
        json!({"projected": {"sources": [
            {"serviceAccountToken": {"path": "t", "expirationSeconds": 599}},
            {"configMap": {"name": "m", "items": [{"key": "k", "path": "t"}]}},
            {},
            {"secret": {}, "configMap": {"name": "m"}},
        ]}}),
        &[
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            "spec.volumes[0].projected.sources[1]: Invalid value: \"t\": conflicting duplicate paths",
            "spec.volumes[0].projected.sources[2]: Required value: must specify a volume type",
            "spec.volumes[0].projected.sources[3].configMap: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[0].projected.sources[3].secret.name: Required value",
        ],
    );
}
