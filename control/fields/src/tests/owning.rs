use super::{spec, thing};
use crate::{Tree, owned};

/// What the sender of this spec owns, below `.spec`.
fn check(json: &str, expect: &[&str]) {
    let text = spec(json);
    let fields = owned(&thing(), &Tree::parse(text.as_bytes()).unwrap()).unwrap();
    let paths = fields.paths();
    let paths: Vec<&str> = paths
        .iter()
        .filter_map(|p| p.strip_prefix(".spec"))
        .collect();
    assert_eq!(paths, expect, "{json}");
}

fn refuse(json: &str, expect: &[&str]) {
    let text = spec(json);
    let misfits = owned(&thing(), &Tree::parse(text.as_bytes()).unwrap()).unwrap_err();
    let said: Vec<String> = misfits.iter().map(ToString::to_string).collect();
    assert_eq!(said, expect, "{json}");
}

#[test]
fn scalars_are_owned() {
    check(r#"{"replicas":1}"#, &[".replicas"]);
    check(r#"{"replicas":1,"name":"a"}"#, &[".name", ".replicas"]);
    check(r#"{"paused":false}"#, &[".paused"]);
    check(r#"{"replicas":null}"#, &[".replicas"]);
    check(r#"{"percent":"10%"}"#, &[".percent"]);
    check(r#"{"percent":10}"#, &[".percent"]);
    check("{}", &[""]);
}

#[test]
fn structs_are_owned_through_their_fields() {
    check(r#"{"struct":{"a":1}}"#, &[".struct.a"]);
    check(
        r#"{"struct":{"a":1,"deep":{"c":2}}}"#,
        &[".struct.a", ".struct.deep.c"],
    );
    check(r#"{"struct":{}}"#, &[".struct"]);
    check(r#"{"struct":null}"#, &[".struct"]);
    check(r#"{"struct":{"deep":{}}}"#, &[".struct.deep"]);
    check(r#"{"whole":{"a":1,"b":2}}"#, &[".whole"]);
    check(r#"{"whole":{}}"#, &[".whole"]);
    check(r#"{"nullable":null}"#, &[".nullable"]);
}

#[test]
fn keys_of_maps_are_owned() {
    check(
        r#"{"labels":{"a":"1","b":"2"}}"#,
        &[".labels.a", ".labels.b"],
    );
    check(r#"{"labels":{}}"#, &[".labels"]);
    check(r#"{"wholeLabels":{"a":"1"}}"#, &[".wholeLabels"]);
    check(
        r#"{"structs":{"k":{"x":1}}}"#,
        &[".structs.k", ".structs.k.x"],
    );
    check(r#"{"structs":{"k":{}}}"#, &[".structs.k"]);
}

#[test]
fn items_of_sets_are_owned() {
    check(
        r#"{"tags":["b","a"]}"#,
        &[r#".tags[="a"]"#, r#".tags[="b"]"#],
    );
    check(r#"{"numbers":[2,1]}"#, &[".numbers[=1]", ".numbers[=2]"]);
    check(r#"{"tags":[]}"#, &[".tags"]);
    check(r#"{"tags":null}"#, &[".tags"]);
    check(r#"{"args":["a","a"]}"#, &[".args"]);
    check(r#"{"args":[]}"#, &[".args"]);
}

#[test]
fn items_of_list_maps_are_owned_with_their_fields() {
    check(
        r#"{"items":[{"name":"a","value":1}]}"#,
        &[
            r#".items[name="a"]"#,
            r#".items[name="a"].name"#,
            r#".items[name="a"].value"#,
        ],
    );
    check(r#"{"items":[]}"#, &[".items"]);
    check(
        r#"{"items":[{"name":"a","env":[{"name":"E","value":"1"}],"tags":["t"]}]}"#,
        &[
            r#".items[name="a"]"#,
            r#".items[name="a"].env[name="E"]"#,
            r#".items[name="a"].env[name="E"].name"#,
            r#".items[name="a"].env[name="E"].value"#,
            r#".items[name="a"].name"#,
            r#".items[name="a"].tags[="t"]"#,
        ],
    );
    check(
        r#"{"ports":[{"port":80}]}"#,
        &[
            r#".ports[port=80,protocol="TCP"]"#,
            r#".ports[port=80,protocol="TCP"].port"#,
        ],
    );
    check(
        r#"{"ports":[{"port":80,"protocol":"UDP"}]}"#,
        &[
            r#".ports[port=80,protocol="UDP"]"#,
            r#".ports[port=80,protocol="UDP"].port"#,
            r#".ports[port=80,protocol="UDP"].protocol"#,
        ],
    );
    check(
        r#"{"wholeItems":[{"name":"a","value":1}]}"#,
        &[r#".wholeItems[name="a"]"#],
    );
}

#[test]
fn what_has_no_type_is_judged_by_itself() {
    check(
        r#"{"any":{"a":{"b":1},"l":[1,1]}}"#,
        &[".any.a", ".any.a.b", ".any.l"],
    );
    check(r#"{"any":{}}"#, &[".any"]);
    check(
        r#"{"open":{"known":1,"other":{"x":2}}}"#,
        &[".open.known", ".open.other", ".open.other.x"],
    );
    check(
        r#"{"template":{"kind":"A","metadata":{"name":"x"},"data":{"a":"b"}}}"#,
        &[
            ".template.data",
            ".template.data.a",
            ".template.kind",
            ".template.metadata.name",
        ],
    );
}

#[test]
fn what_does_not_fit_is_refused_all_at_once() {
    refuse(
        r#"{"replica":1}"#,
        &[".spec.replica: field not declared in schema"],
    );
    refuse(
        r#"{"struct":{"z":1,"deep":{"y":1}},"items":[{"name":"a","x":1}]}"#,
        &[
            r#".spec.items[name="a"].x: field not declared in schema"#,
            ".spec.struct.deep.y: field not declared in schema",
            ".spec.struct.z: field not declared in schema",
        ],
    );
    refuse(
        r#"{"items":[{"name":"a"},{"name":"b"},{"name":"a"}]}"#,
        &[r#".spec.items: duplicate entries for key [name="a"]"#],
    );
    refuse(
        r#"{"ports":[{"port":80},{"port":80,"protocol":"TCP"}]}"#,
        &[r#".spec.ports: duplicate entries for key [port=80,protocol="TCP"]"#],
    );
    refuse(
        r#"{"tags":["a","a"]}"#,
        &[r#".spec.tags: duplicate entries for value [="a"]"#],
    );
    refuse(
        r#"{"numbers":[1,1.0]}"#,
        &[".spec.numbers: duplicate entries for value [=1]"],
    );
    refuse(
        r#"{"items":[{"value":1}]}"#,
        &[
            r#".spec.items[0]: associative list with keys has an element that omits key field "name" (and doesn't have default value)"#,
        ],
    );
    refuse(
        r#"{"items":[{"name":"a"},7]}"#,
        &[".spec.items[1]: associative list with keys may not have non-map elements"],
    );
    refuse(
        r#"{"items":[null]}"#,
        &[".spec.items[0]: associative list with keys may not have a null element"],
    );
    refuse(
        r#"{"tags":[{}]}"#,
        &[".spec.tags[0]: associative list without keys has an element that's a map type"],
    );
    refuse(
        r#"{"tags":["a",["b"]]}"#,
        &[".spec.tags[1]: not supported: associative list with lists as elements"],
    );
    refuse(
        r#"{"tags":[null]}"#,
        &[".spec.tags[0]: associative list without keys has an element that's an explicit null"],
    );
}

#[test]
fn what_is_very_deep_is_owned_as_one() {
    let deep = format!(
        r#"{{"any":{}1{}}}"#,
        r#"{"a":"#.repeat(120),
        "}".repeat(120)
    );
    let text = spec(&deep);
    let fields = owned(&thing(), &Tree::parse(text.as_bytes()).unwrap()).unwrap();
    let longest = fields
        .paths()
        .iter()
        .map(|p| p.split('.').count() - 1)
        .max();
    assert_eq!(longest, Some(crate::walk::DEPTH_MAX));
}
