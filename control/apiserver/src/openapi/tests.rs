use super::*;
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};

fn subresource(name: &str, verbs: &[&str], kind: Option<(&str, &str, &str)>) -> SubresourceDoc {
    SubresourceDoc {
        name: name.into(),
        verbs: verbs.iter().map(|&v| v.into()).collect(),
        foreign_kind: kind.map(|(g, v, k)| (g.into(), v.into(), k.into())),
    }
}

fn resource<K>(namespaced: bool, subresources: Vec<SubresourceDoc>) -> ResourceDoc
where
    K: k8s_openapi::Resource + schemars::JsonSchema,
{
    ResourceDoc {
        group: K::GROUP.into(),
        version: K::VERSION.into(),
        kind: K::KIND.into(),
        list_kind: format!("{}List", K::KIND),
        plural: K::URL_PATH_SEGMENT.into(),
        namespaced,
        verbs: [
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
        .map(String::from)
        .to_vec(),
        subresources,
        schema: Arc::new(|generator| generator.subschema_for::<K>()),
    }
}

fn openapi() -> OpenApi {
    let status = || subresource("status", &["get", "patch", "update"], None);
    let scale = ("autoscaling", "v1", "Scale");
    OpenApi::new(
        vec![
            resource::<core::Pod>(
                true,
                vec![
                    status(),
                    subresource("log", &["get"], None),
                    subresource("binding", &["create"], Some(("", "v1", "Binding"))),
                ],
            ),
            resource::<core::Node>(false, vec![status()]),
            resource::<core::Secret>(true, vec![]),
            resource::<core::Service>(true, vec![status()]),
            resource::<apps::Deployment>(
                true,
                vec![
                    status(),
                    subresource("scale", &["get", "patch", "update"], Some(scale)),
                ],
            ),
        ],
        None,
    )
}

fn json(document: &Document) -> Value {
    serde_json::from_slice(&document.body).expect("documents are JSON")
}

fn v3(group: &str, version: &str) -> Value {
    json(&openapi().v3(group, version).expect("registered"))
}

fn property<'a>(document: &'a Value, definition: &str, name: &str) -> &'a Value {
    let of = &document["components"]["schemas"][definition]["properties"][name];
    assert!(of.is_object(), "{definition} has no {name}");
    of
}

/// Every `$ref` below `value`.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for (document, at) in [
        (v3("", "v1"), "/components/schemas"),
        (v3("apps", "v1"), "/components/schemas"),
        (json(&openapi().v2_json()), "/definitions"),
    ] {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{} references", found.len());
        for reference in found {
            let name = reference.strip_prefix('#').and_then(|r| r.strip_prefix(at));
            let target = name.and_then(|n| document.pointer(at)?.get(&n[1..]));
            assert!(
                target.is_some_and(Value::is_object),
                "{reference} leads nowhere"
            );
        }
    }
}

#[test]
fn the_index_carries_the_hashes_of_the_documents() {
    let openapi = openapi();
    let index = json(&openapi.v3_index());
    for (path, group) in [("api/v1", ""), ("apis/apps/v1", "apps")] {
        let etag = openapi.v3(group, "v1").expect(path).etag;
        let url = format!("/openapi/v3/{path}?hash={etag}");
        assert_eq!(index["paths"][path]["serverRelativeURL"], url.as_str());
    }
    assert_eq!(index["paths"].as_object().map(Map::len), Some(2));
    assert!(openapi.v3("apps", "v2").is_none());
}

#[test]
fn documents_are_the_same_after_a_trim_and_in_another_process() {
    let openapi = openapi();
    let (index, first) = (openapi.v3_index(), openapi.v3("", "v1").expect("core"));
    openapi.trim(Duration::from_secs(3600));
    assert!(
        openapi
            .versions
            .iter()
            .all(|v| v.slot.built.lock().is_some())
    );
    openapi.trim(Duration::ZERO);
    assert!(
        openapi
            .versions
            .iter()
            .all(|v| v.slot.built.lock().is_none())
    );
    // The index needs the hashes alone.
    assert_eq!(openapi.v3_index().body, index.body);
    assert!(
        openapi
            .versions
            .iter()
            .all(|v| v.slot.built.lock().is_none())
    );
    assert_eq!(openapi.v3("", "v1").expect("core").body, first.body);
    assert_eq!(
        super::tests::openapi().v3("", "v1").expect("core").etag,
        first.etag
    );
}

/// What kubectl looks for before it leaves validation to the server.
#[test]
fn patch_operations_of_every_kind_take_field_validation() {
    for (group, kind, path) in [
        ("", "Pod", "/api/v1/namespaces/{namespace}/pods/{name}"),
        ("", "Node", "/api/v1/nodes/{name}"),
        (
            "apps",
            "Deployment",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
        ),
    ] {
        let document = v3(group, "v1");
        let patch = &document["paths"][path]["patch"];
        let expect = json!({ "group": group, "version": "v1", "kind": kind });
        assert_eq!(patch["x-kubernetes-group-version-kind"], expect, "{path}");
        let names: Vec<_> = patch["parameters"]
            .as_array()
            .expect(path)
            .iter()
            .map(|p| &p["name"])
            .collect();
        for name in ["fieldValidation", "dryRun", "fieldManager", "force"] {
            assert!(names.iter().any(|n| *n == name), "{path} lacks {name}");
        }
        let content = patch["requestBody"]["content"].as_object().expect(path);
        assert!(content.contains_key("application/apply-patch+yaml"));
    }
}

#[test]
fn paths_and_operations_are_kubernetes_own() {
    let core = v3("", "v1");
    let apps = v3("apps", "v1");
    for (document, path, method, id, action) in [
        (
            &core,
            "/api/v1/namespaces/{namespace}/pods",
            "get",
            "listCoreV1NamespacedPod",
            "list",
        ),
        (
            &core,
            "/api/v1/pods",
            "get",
            "listCoreV1PodForAllNamespaces",
            "list",
        ),
        (&core, "/api/v1/nodes", "post", "createCoreV1Node", "post"),
        (
            &core,
            "/api/v1/nodes",
            "delete",
            "deleteCoreV1CollectionNode",
            "deletecollection",
        ),
        (
            &core,
            "/api/v1/namespaces/{namespace}/pods/{name}/log",
            "get",
            "readCoreV1NamespacedPodLog",
            "get",
        ),
        (
            &core,
            "/api/v1/namespaces/{namespace}/pods/{name}/binding",
            "post",
            "createCoreV1NamespacedPodBinding",
            "post",
        ),
        (
            &apps,
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
            "put",
            "replaceAppsV1NamespacedDeploymentScale",
            "put",
        ),
    ] {
        let operation = &document["paths"][path][method];
        assert_eq!(operation["operationId"], id, "{method} {path}");
        assert_eq!(operation["x-kubernetes-action"], action, "{method} {path}");
    }
    let scale = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(
        scale["get"]["x-kubernetes-group-version-kind"],
        json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" })
    );
}

#[test]
fn operation_ids_are_unique() {
    let document = json(&openapi().v2_json());
    let mut ids: Vec<&str> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|item| item.as_object().into_iter().flat_map(Map::values))
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all);
    assert!(all > 40, "{all} operations");
}

#[test]
fn fields_carry_prose_and_rules() {
    let core = v3("", "v1");
    let containers = property(&core, "io.k8s.api.core.v1.PodSpec", "containers");
    assert!(
        containers["description"]
            .as_str()
            .expect("prose")
            .starts_with("List of containers")
    );
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let volumes = property(&core, "io.k8s.api.core.v1.PodSpec", "volumes");
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    let protocol = property(&core, "io.k8s.api.core.v1.ContainerPort", "protocol");
    assert_eq!(protocol["default"], "TCP");
    let spec = property(&core, "io.k8s.api.core.v1.Pod", "spec");
    assert_eq!(
        spec["allOf"],
        json!([{ "$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec" }])
    );
    assert!(
        spec.get("$ref").is_none(),
        "3.0 ignores the siblings of a reference"
    );
    let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{ "group": "", "version": "v1", "kind": "Pod" }])
    );
    assert!(
        pod.get("required").is_none(),
        "a pod may be sent without metadata"
    );
    let selector = &core["components"]["schemas"]["io.k8s.api.core.v1.NodeSelector"];
    assert_eq!(selector["x-kubernetes-map-type"], "atomic");
    assert_eq!(selector["required"], json!(["nodeSelectorTerms"]));
}

#[test]
fn lists_have_schemas_too() {
    let core = v3("", "v1");
    let list = &core["components"]["schemas"]["io.k8s.api.core.v1.PodList"];
    assert_eq!(
        list["properties"]["items"]["items"]["$ref"],
        "#/components/schemas/io.k8s.api.core.v1.Pod"
    );
    assert_eq!(
        list["x-kubernetes-group-version-kind"][0]["kind"],
        "PodList"
    );
}

#[test]
fn unions_of_scalars_are_written_as_each_version_can() {
    let (v3, v2) = (v3("", "v1"), json(&openapi().v2_json()));
    let name = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
    assert_eq!(v3["components"]["schemas"][name]["format"], "int-or-string");
    assert_eq!(
        v3["components"]["schemas"][name]["oneOf"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(v2["definitions"][name]["type"], "string");
    assert_eq!(v2["definitions"][name]["format"], "int-or-string");
    let name = "io.k8s.apimachinery.pkg.api.resource.Quantity";
    assert_eq!(v2["definitions"][name]["type"], "string");
}

#[test]
fn a_schema_that_is_no_type_of_ours_gets_a_name() {
    let document = OpenApi::new(
        vec![ResourceDoc {
            group: "stable.example.com".into(),
            version: "v1".into(),
            kind: "CronTab".into(),
            list_kind: "CronTabList".into(),
            plural: "crontabs".into(),
            namespaced: true,
            verbs: vec!["get".into(), "list".into()],
            subresources: vec![subresource(
                "mystery",
                &["get"],
                Some(("x", "v1", "Mystery")),
            )],
            schema: Arc::new(
                |_| schemars::json_schema!({ "type": "object", "description": "A table." }),
            ),
        }],
        None,
    );
    let document = json(&document.v3("stable.example.com", "v1").expect("registered"));
    let name = "com.example.stable.v1.CronTab";
    let schema = &document["components"]["schemas"][name];
    assert_eq!(schema["description"], "A table.");
    assert_eq!(
        schema["x-kubernetes-group-version-kind"][0]["kind"],
        "CronTab"
    );
    assert!(document["components"]["schemas"][format!("{name}List")].is_object());
    let path = "/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}";
    let read = &document["paths"][path]["get"];
    assert_eq!(
        read["operationId"],
        "readStableExampleComV1NamespacedCronTab"
    );
    assert!(document["paths"].get(format!("{path}/mystery")).is_none());
}

/// A field of a protobuf message: its number and its bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = bytes.split_first().expect("a varint ends");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            0 => {
                varint(&mut bytes);
                found.push((tag >> 3, &[][..]));
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                found.push((tag >> 3, inner));
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

fn only(bytes: &[u8], field: u64) -> &[u8] {
    let mut found = fields(bytes)
        .into_iter()
        .filter(|(number, _)| *number == field);
    let (_, inner) = found.next().unwrap_or_else(|| panic!("no field {field}"));
    inner
}

/// The value of the entry called `name`, where entries are in `field`.
fn entry<'a>(bytes: &'a [u8], field: u64, name: &str) -> &'a [u8] {
    let all = fields(bytes);
    let named = all
        .iter()
        .find(|(n, e)| *n == field && only(e, 1) == name.as_bytes());
    only(named.unwrap_or_else(|| panic!("no entry {name}")).1, 2)
}

#[test]
fn protobuf_says_what_json_says() {
    let openapi = openapi();
    let (json, protobuf) = (json(&openapi.v2_json()), openapi.v2_protobuf().body);
    assert_eq!(only(&protobuf, 1), b"2.0");
    let (paths, definitions) = (only(&protobuf, 8), only(&protobuf, 9));
    let count = |value: &Value| value.as_object().map(Map::len);
    assert_eq!(Some(fields(paths).len()), count(&json["paths"]));
    assert_eq!(Some(fields(definitions).len()), count(&json["definitions"]));

    let pod_spec = entry(definitions, 1, "io.k8s.api.core.v1.PodSpec");
    let containers = entry(only(pod_spec, 25), 1, "containers");
    let of = &json["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        only(containers, 4),
        of["description"].as_str().expect("prose").as_bytes()
    );
    assert_eq!(only(only(containers, 22), 1), b"array");
    let item = only(only(containers, 23), 1);
    assert_eq!(only(item, 1), b"#/definitions/io.k8s.api.core.v1.Container");
    let key = entry(containers, 31, "x-kubernetes-patch-merge-key");
    assert_eq!(only(key, 2), b"\"name\"\n");

    let item = entry(paths, 2, "/api/v1/namespaces/{namespace}/pods/{name}");
    let patch = only(item, 8);
    assert_eq!(only(patch, 5), b"patchCoreV1NamespacedPod");
    let query: Vec<&[u8]> = fields(patch)
        .into_iter()
        .filter(|(number, _)| *number == 8)
        .map(|(_, parameter)| only(parameter, 1))
        .filter(|parameter| fields(parameter)[0].0 == 2)
        .map(|parameter| only(only(only(parameter, 2), 3), 4))
        .collect();
    assert!(query.contains(&b"fieldValidation".as_slice()));
}

#[test]
fn prose_is_not_lost_to_size() {
    let openapi = openapi();
    let bytes = openapi.v3("", "v1").expect("core").body.len();
    assert!(
        (200_000..3_000_000).contains(&bytes),
        "core is {bytes} bytes"
    );
}

#[test]
fn the_second_version_says_what_it_can_of_a_custom_resource() {
    let schema = serde_json::json!({ "type": "object", "properties": {
        "not": { "type": "string" },
        "a": { "type": "string", "nullable": true },
        "b": { "x-kubernetes-preserve-unknown-fields": true, "type": "object", "properties": { "c": { "type": "string" } } },
        "d": { "type": "array", "items": { "type": "object", "oneOf": [{ "required": ["e"] }] } },
    } });
    let docs = OpenApi::new(
        vec![ResourceDoc {
            group: "stable.example.com".into(),
            version: "v1".into(),
            kind: "CronTab".into(),
            list_kind: "CronTabs".into(),
            plural: "crontabs".into(),
            namespaced: true,
            verbs: vec!["get".into()],
            subresources: Vec::new(),
            schema: Arc::new(move |_| schema.as_object().cloned().unwrap_or_default().into()),
        }],
        None,
    );
    let document: Value = serde_json::from_slice(&docs.v2_json().body).unwrap();
    let definitions = &document["definitions"];
    assert_eq!(
        definitions["com.example.stable.v1.CronTab"]["properties"],
        serde_json::json!({
            "not": { "type": "string" },
            "a": {},
            "b": { "x-kubernetes-preserve-unknown-fields": true, "type": "object" },
            "d": { "type": "array", "items": { "type": "object" } },
        })
    );
}

#[test]
fn documents_of_kinds_that_stay_are_kept_when_others_come_and_go() {
    let pods = resource::<core::Pod>(true, Vec::new());
    let deployments = resource::<k8s_openapi::api::apps::v1::Deployment>(true, Vec::new());
    let before = OpenApi::new(vec![pods.clone()], None);
    let pod_document = before.v3("", "v1").unwrap();
    let after = OpenApi::new(vec![pods.clone(), deployments], Some(&before));
    assert_eq!(
        after.v3("", "v1").unwrap().body.as_ptr(),
        pod_document.body.as_ptr()
    );
    assert!(after.v3("apps", "v1").is_some());
    assert_ne!(after.v2_json().etag, before.v2_json().etag);
}
