use super::{spec, thing};
use crate::{Tree, compare, compare_objects};

/// What a write from `old` to `new` changed and took away, below `.spec`.
fn check(old: &str, new: &str, changed: &[&str], removed: &[&str]) {
    let (old_text, new_text) = (spec(old), spec(new));
    let trees = [&old_text, &new_text].map(|text| Tree::parse(text.as_bytes()).unwrap());
    let diff = compare(&thing(), Some(&trees[0]), &trees[1]);
    let below = |set: &crate::Set<'_>| -> Vec<String> {
        let paths = set.paths();
        paths
            .iter()
            .map(|p| p.strip_prefix(".spec").unwrap().to_owned())
            .collect()
    };
    assert_eq!(below(&diff.changed), changed, "{old} -> {new}: changed");
    assert_eq!(below(&diff.removed), removed, "{old} -> {new}: removed");
    assert_eq!(diff.is_empty(), changed.is_empty() && removed.is_empty());
    let texts = compare_objects(&thing(), Some(old_text.as_bytes()), new_text.as_bytes());
    assert_eq!(texts.unwrap(), diff, "{old} -> {new}: as texts");
}

#[test]
fn scalars() {
    check(r#"{"replicas":1}"#, r#"{"replicas":1}"#, &[], &[]);
    check(
        r#"{"replicas":1}"#,
        r#"{"replicas":2}"#,
        &[".replicas"],
        &[],
    );
    check(r#"{"replicas":1}"#, r#"{"replicas":1.0}"#, &[], &[]);
    check(
        r#"{"name":"a"}"#,
        r#"{"name":"a","replicas":2}"#,
        &[".replicas"],
        &[],
    );
    check(
        r#"{"name":"a","replicas":2}"#,
        r#"{"name":"a"}"#,
        &[],
        &[".replicas"],
    );
    check(
        r#"{"replicas":1}"#,
        r#"{"replicas":null}"#,
        &[".replicas"],
        &[],
    );
    check(r#"{"percent":1}"#, r#"{"percent":"1"}"#, &[".percent"], &[]);
}

#[test]
fn structs() {
    check(
        r#"{"struct":{"a":1,"b":2}}"#,
        r#"{"struct":{"a":1,"b":3}}"#,
        &[".struct.b"],
        &[],
    );
    check(
        r#"{"name":"x"}"#,
        r#"{"name":"x","struct":{"a":1}}"#,
        &[".struct.a"],
        &[],
    );
    check(
        r#"{"name":"x"}"#,
        r#"{"name":"x","struct":{}}"#,
        &[".struct"],
        &[],
    );
    check(
        r#"{"name":"x","struct":{"a":1,"deep":{"c":1}}}"#,
        r#"{"name":"x"}"#,
        &[],
        &[".struct", ".struct.a", ".struct.deep", ".struct.deep.c"],
    );
    check(
        r#"{"struct":{"a":1}}"#,
        r#"{"struct":{}}"#,
        &[],
        &[".struct.a"],
    );
    check(
        r#"{"struct":{}}"#,
        r#"{"struct":{"a":1}}"#,
        &[".struct.a"],
        &[],
    );
    check(
        r#"{"struct":{"a":1}}"#,
        r#"{"struct":null}"#,
        &[],
        &[".struct.a"],
    );
    check(
        r#"{"struct":null}"#,
        r#"{"struct":{"a":1}}"#,
        &[".struct.a"],
        &[],
    );
    check(
        r#"{"whole":{"a":1}}"#,
        r#"{"whole":{"a":1,"b":2}}"#,
        &[".whole"],
        &[],
    );
    check(r#"{"whole":{"a":1}}"#, r#"{"whole":{"a":1.0}}"#, &[], &[]);
    check(
        r#"{"name":"x","whole":{"a":1}}"#,
        r#"{"name":"x"}"#,
        &[],
        &[".whole"],
    );
}

#[test]
fn maps() {
    check(
        r#"{"labels":{"a":"1"}}"#,
        r#"{"labels":{"a":"2","b":"1"}}"#,
        &[".labels.a", ".labels.b"],
        &[],
    );
    check(
        r#"{"labels":{"a":"1","b":"1"}}"#,
        r#"{"labels":{"b":"1"}}"#,
        &[],
        &[".labels.a"],
    );
    check(
        r#"{"name":"x"}"#,
        r#"{"name":"x","labels":{"a":"1"}}"#,
        &[".labels", ".labels.a"],
        &[],
    );
    check(
        r#"{"name":"x","labels":{"a":"1"}}"#,
        r#"{"name":"x"}"#,
        &[],
        &[".labels", ".labels.a"],
    );
    check(
        r#"{"labels":{"a":"1"}}"#,
        r#"{"labels":{}}"#,
        &[],
        &[".labels.a"],
    );
    check(
        r#"{"wholeLabels":{"a":"1"}}"#,
        r#"{"wholeLabels":{"b":"1"}}"#,
        &[".wholeLabels"],
        &[],
    );
    check(
        r#"{"structs":{"k":{"x":1}}}"#,
        r#"{"structs":{"k":{"x":1,"y":1},"l":{"x":1}}}"#,
        &[".structs.k.y", ".structs.l", ".structs.l.x"],
        &[],
    );
}

#[test]
fn sets() {
    check(r#"{"tags":["a","b"]}"#, r#"{"tags":["b","a"]}"#, &[], &[]);
    check(
        r#"{"tags":["a"]}"#,
        r#"{"tags":["a","b"]}"#,
        &[r#".tags[="b"]"#],
        &[],
    );
    check(
        r#"{"tags":["a","b"]}"#,
        r#"{"tags":["b"]}"#,
        &[],
        &[r#".tags[="a"]"#],
    );
    check(
        r#"{"tags":["a"]}"#,
        r#"{"tags":[]}"#,
        &[],
        &[r#".tags[="a"]"#],
    );
    check(
        r#"{"name":"x"}"#,
        r#"{"name":"x","tags":["a"]}"#,
        &[".tags", r#".tags[="a"]"#],
        &[],
    );
    check(
        r#"{"name":"x"}"#,
        r#"{"name":"x","tags":[]}"#,
        &[".tags"],
        &[],
    );
    check(r#"{"tags":["a","a"]}"#, r#"{"tags":["a","a"]}"#, &[], &[]);
    check(
        r#"{"tags":["a","a"]}"#,
        r#"{"tags":["a"]}"#,
        &[r#".tags[="a"]"#],
        &[],
    );
    check(
        r#"{"tags":["a"]}"#,
        r#"{"tags":["a","a"]}"#,
        &[r#".tags[="a"]"#],
        &[],
    );
    check(
        r#"{"tags":["a","a"]}"#,
        r#"{"tags":["b"]}"#,
        &[r#".tags[="b"]"#],
        &[r#".tags[="a"]"#],
    );
    check(
        r#"{"args":["a","b"]}"#,
        r#"{"args":["b","a"]}"#,
        &[".args"],
        &[],
    );
    check(
        r#"{"tags":[["a"]]}"#,
        r#"{"tags":[["b"]]}"#,
        &[".tags"],
        &[],
    );
}

#[test]
fn list_maps() {
    let item = |fields: &str| format!(r#"{{"items":[{fields}]}}"#);
    let a = r#"{"name":"a","value":1}"#;
    let b = r#"{"name":"b","value":1}"#;
    check(
        &item(&format!("{a},{b}")),
        &item(&format!("{b},{a}")),
        &[],
        &[],
    );
    check(
        &item(a),
        &item(r#"{"name":"a","value":2}"#),
        &[r#".items[name="a"].value"#],
        &[],
    );
    check(
        &item(a),
        &item(&format!("{a},{b}")),
        &[
            r#".items[name="b"]"#,
            r#".items[name="b"].name"#,
            r#".items[name="b"].value"#,
        ],
        &[],
    );
    check(
        &item(&format!("{a},{b}")),
        &item(a),
        &[],
        &[
            r#".items[name="b"]"#,
            r#".items[name="b"].name"#,
            r#".items[name="b"].value"#,
        ],
    );
    check(
        &item(r#"{"name":"a","inner":{"p":1}}"#),
        &item(r#"{"name":"a","inner":{"p":1,"q":1}}"#),
        &[r#".items[name="a"].inner.q"#],
        &[],
    );
    check(
        &item(&format!("{a},{a}")),
        &item(&format!("{a},{a}")),
        &[],
        &[],
    );
    check(
        &item(&format!("{a},{a}")),
        &item(a),
        &[r#".items[name="a"]"#],
        &[],
    );
    // Items that cannot be told apart: the list is one value.
    check(&item("{}"), &item(r#"{"value":1}"#), &[".items"], &[]);
    check(&item("7"), &item("7"), &[], &[]);
    check(
        r#"{"ports":[{"port":1}]}"#,
        r#"{"ports":[{"port":1,"protocol":"TCP"}]}"#,
        &[r#".ports[port=1,protocol="TCP"].protocol"#],
        &[],
    );
    check(
        r#"{"wholeItems":[{"name":"a","value":1}]}"#,
        r#"{"wholeItems":[{"name":"a","value":2}]}"#,
        &[r#".wholeItems[name="a"]"#],
        &[],
    );
}

#[test]
fn values_of_another_kind() {
    check(
        r#"{"any":{"a":1}}"#,
        r#"{"any":{"a":{"b":1}}}"#,
        &[".any.a", ".any.a.b"],
        &[".any.a"],
    );
    check(
        r#"{"any":{"a":{"b":1}}}"#,
        r#"{"any":{"a":[1]}}"#,
        &[".any.a"],
        &[".any.a", ".any.a.b"],
    );
    check(
        r#"{"any":{"a":[1]}}"#,
        r#"{"any":{"a":"x"}}"#,
        &[".any.a"],
        &[],
    );
    check(
        r#"{"any":{"a":null}}"#,
        r#"{"any":{"a":{"b":1}}}"#,
        &[".any.a.b"],
        &[],
    );
    check(
        r#"{"struct":{"a":1}}"#,
        r#"{"struct":7}"#,
        &[".struct"],
        &[".struct", ".struct.a"],
    );
    check(
        r#"{"unknown":{"a":1}}"#,
        r#"{"unknown":{"a":2}}"#,
        &[".unknown.a"],
        &[],
    );
}

#[test]
fn a_new_object_is_all_new() {
    let text = spec(r#"{"replicas":1,"labels":{"a":"1"}}"#);
    let tree = Tree::parse(text.as_bytes()).unwrap();
    let diff = compare(&thing(), None, &tree);
    let expect = [
        ".apiVersion",
        ".kind",
        ".metadata.name",
        ".spec.labels",
        ".spec.labels.a",
        ".spec.replicas",
    ];
    assert_eq!(diff.changed.paths(), expect);
    assert!(diff.removed.is_empty());
    assert_eq!(
        compare_objects(&thing(), None, text.as_bytes()).unwrap(),
        diff
    );
}
