//! The tables in `cases/`, rules that hold for every field of every type, and abuse.

use super::*;
use crate::schema::{PatchStrategy, TypeRef, types};
use proptest::prelude::*;
use serde_json::{Map, json};

struct Case<'a> {
    title: &'a str,
    kind: &'a str,
    original: Value,
    patch: &'a str,
    expect: &'a str,
}

/// The blocks of a table; see the head of `cases/strategic.txt`.
fn cases(text: &str, with_kind: bool) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for block in text
        .split("\n\n")
        .filter(|b| b.trim_start().starts_with("= "))
    {
        let mut lines = block.trim().lines();
        let mut next = || lines.next().unwrap_or_else(|| panic!("cut off: {block}"));
        let title = &next()[2..];
        let kind = if with_kind { next() } else { "" };
        let original = serde_json::from_str(next()).unwrap_or_else(|e| panic!("{title}: {e}"));
        let (patch, expect) = (next(), next());
        assert_eq!(lines.next(), None, "{title}: one line too many");
        cases.push(Case {
            title,
            kind,
            original,
            patch,
            expect,
        });
    }
    cases
}

fn check(case: &Case<'_>, outcome: Result<Value, PatchError>) {
    let Case { title, expect, .. } = case;
    let (mark, expect) = expect.split_once(' ').expect("-> or !! or !?");
    match (mark, outcome) {
        ("->", Ok(got)) => {
            let expect: Value = serde_json::from_str(expect).expect(title);
            assert_eq!(got.to_string(), sorted_like(&expect, &got), "{title}");
        }
        ("!!", Err(PatchError::Malformed(got))) | ("!?", Err(PatchError::Unprocessable(got))) => {
            let got = got.replace('\n', "\\n");
            assert!(
                got.starts_with(expect),
                "{title}:\n  got    {got}\n  expect {expect}"
            );
        }
        (_, got) => panic!("{title}: expected {mark} {expect}, got {got:?}"),
    }
}

/// `expect` printed the way `got` would be if they were equal (order of keys is no matter,
/// order of lists is).
fn sorted_like(expect: &Value, got: &Value) -> String {
    if expect == got {
        got.to_string()
    } else {
        expect.to_string()
    }
}

fn type_of(kind: &str) -> TypeRef {
    let (api_version, kind) = kind.rsplit_once('/').expect("VERSION/KIND");
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    types().get(types().lookup_gvk(group, version, kind).expect(kind))
}

#[test]
fn strategic_cases() {
    let cases = cases(include_str!("cases/strategic.txt"), true);
    assert!(cases.len() > 100, "only {} were read", cases.len());
    for case in cases {
        let of = type_of(case.kind).id();
        check(
            &case,
            strategic_merge(case.original.clone(), case.patch.as_bytes(), of),
        );
    }
}

#[test]
fn merge_cases() {
    for case in cases(include_str!("cases/merge.txt"), false) {
        check(
            &case,
            merge_patch(case.original.clone(), case.patch.as_bytes()),
        );
    }
}

#[test]
fn json_cases() {
    for case in cases(include_str!("cases/json.txt"), false) {
        check(&case, json_patch(&case.original, case.patch.as_bytes()));
    }
}

fn strategic(of: TypeRef, original: Value, patch: Value) -> Result<Value, PatchError> {
    strategic_merge(original, patch.to_string().as_bytes(), of.id())
}

/// Six rules for each of the lists in the table that merge by key.
#[test]
fn every_keyed_list_of_every_type_obeys_the_directives() {
    let mut lists = 0;
    for of in types().iter() {
        for field in of.fields().filter(|f| f.merge_key().is_some()) {
            lists += 1;
            let (list, key) = (field.name(), field.merge_key().expect("filtered"));
            let place = format!("{}.{list}", of.name());
            let item = |id: &str| json!({ key: id });
            let with = |id: &str, extra: &str| json!({ key: id, "x": extra });
            let before = || json!({ list: [with("a", "1"), with("b", "1"), with("c", "1")] });
            let merged = |patch: Value| strategic(of, before(), patch).expect(&place);

            assert_eq!(
                merged(json!({ list: [with("b", "2")] })),
                json!({ list: [with("a", "1"), with("b", "2"), with("c", "1")] }),
                "{place}: merges by {key}"
            );
            assert_eq!(
                merged(json!({ list: [{ key: "b", "$patch": "delete" }] })),
                json!({ list: [with("a", "1"), with("c", "1")] }),
                "{place}: deletes by {key}"
            );
            assert_eq!(
                merged(json!({ list: [item("z"), { "$patch": "replace" }] })),
                json!({ list: [item("z")] }),
                "{place}: is replaced when asked"
            );
            let order = format!("$setElementOrder/{list}");
            assert_eq!(
                merged(json!({ order: [item("c"), item("b"), item("a")] })),
                json!({ list: [with("c", "1"), with("b", "1"), with("a", "1")] }),
                "{place}: is put in order"
            );
            let error = strategic(of, before(), json!({ list: [{ "x": "2" }] }));
            assert_eq!(
                error,
                Err(PatchError::Malformed(format!(
                    "map: map[x:2] does not contain declared merge key: {key} (in {list})"
                ))),
                "{place}"
            );
            assert_eq!(
                merged(json!({ list: null })),
                json!({}),
                "{place}: null deletes"
            );
        }
    }
    assert!(lists > 80, "only {lists} lists");
}

/// The same for lists of scalars, and for lists without a strategy.
#[test]
fn every_other_list_of_every_type_merges_or_is_replaced() {
    let (mut merged, mut replaced) = (0, 0);
    for of in types().iter() {
        for field in of.fields().filter(|f| f.merge_key().is_none()) {
            if !matches!(field.shape(), crate::schema::Shape::List(_)) {
                continue;
            }
            let list = field.name();
            let place = format!("{}.{list}", of.name());
            let got = strategic(of, json!({ list: ["a", "b"] }), json!({ list: ["b", "c"] }));
            let expect = if field.patch_strategy() == PatchStrategy::Merge {
                merged += 1;
                json!({ list: ["a", "b", "c"] })
            } else {
                replaced += 1;
                json!({ list: ["b", "c"] })
            };
            assert_eq!(got, Ok(expect), "{place}");
            let directive = format!("$deleteFromPrimitiveList/{list}");
            assert_eq!(
                strategic(of, json!({ list: ["a", "b"] }), json!({ directive: ["a"] })),
                Ok(json!({ list: ["b"] })),
                "{place}"
            );
        }
    }
    assert!(
        merged >= 2 && replaced > 300,
        "{merged} merged, {replaced} replaced"
    );
}

#[test]
fn hostile_bodies_are_refused_or_cheap() {
    let pod = type_of("v1/Pod").id();
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    assert!(matches!(
        merge_patch(json!({}), deep.as_bytes()),
        Err(PatchError::Malformed(_))
    ));
    assert!(matches!(
        strategic_merge(json!({}), deep.as_bytes(), pod),
        Err(PatchError::Malformed(_))
    ));
    let deep = format!("[{{\"op\":\"add\",\"path\":\"/a\",\"value\":{deep}}}]");
    assert!(matches!(
        json_patch(&json!({}), deep.as_bytes()),
        Err(PatchError::Malformed(_))
    ));

    // 50,000 items merged, ordered and deleted: linear, so done before anyone notices.
    let many: Vec<Value> = (0..50_000)
        .map(|i| json!({ "name": i.to_string() }))
        .collect();
    let gone: Vec<Value> = (0..50_000)
        .map(|i| json!({ "name": i.to_string(), "$patch": "delete" }))
        .collect();
    let patch = json!({ "spec": { "$setElementOrder/containers": many, "containers": gone } });
    let original = json!({ "spec": { "containers": many } });
    let got = strategic_merge(original, patch.to_string().as_bytes(), pod);
    assert_eq!(got, Ok(json!({ "spec": { "containers": [] } })));
}

fn operations(count: usize, operation: impl Fn(usize) -> Value) -> String {
    Value::Array((0..count).map(operation).collect()).to_string()
}

fn refusal(original: &Value, patch: &str) -> String {
    match json_patch(original, patch.as_bytes()) {
        Err(PatchError::TooLarge(message)) => message,
        other => panic!("expected TooLarge, got {:?}", other.map(|_| "a document")),
    }
}

#[test]
fn too_many_operations_are_refused() {
    let patch = operations(
        OPERATIONS_MAX + 1,
        |_| json!({"op": "test", "path": "", "value": {}}),
    );
    assert_eq!(
        refusal(&json!({}), &patch),
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    let patch = operations(
        OPERATIONS_MAX,
        |_| json!({"op": "test", "path": "", "value": {}}),
    );
    assert_eq!(json_patch(&json!({}), patch.as_bytes()), Ok(json!({})));
}

#[test]
fn copies_that_double_are_refused() {
    let original = json!({ "a": ["x".repeat(1000)] });
    let patch = operations(40, |_| json!({"op": "copy", "from": "/a", "path": "/a/0"}));
    let message = refusal(&original, &patch);
    assert!(
        message.contains("copy operations may add 3145728 bytes in all"),
        "{message}"
    );
}

#[test]
fn nesting_step_by_step_is_refused() {
    // Each operation is shallow; together they would overflow the stack of whoever drops it.
    let patch = operations(
        5_000,
        |i| json!({"op": "add", "path": format!("{}/a", "/a".repeat(i)), "value": {}}),
    );
    let message = refusal(&json!({}), &patch);
    assert!(message.contains("nested more than 127 deep"), "{message}");

    let path = "/a".repeat(60);
    let patch = operations(
        3,
        |i| json!({"op": "copy", "from": "/a", "path": path.repeat(i + 1)}),
    );
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({ "a": deep });
    }
    let message = refusal(&deep, &patch);
    assert!(message.contains("nested more than 127 deep"), "{message}");
}

#[test]
fn what_a_patch_may_nest_can_be_read_back() {
    let patch = operations(
        DEPTH_MAX - 1,
        |i| json!({"op": "add", "path": format!("{}/a", "/a".repeat(i)), "value": {}}),
    );
    let got = json_patch(&json!({}), patch.as_bytes()).expect("just deep enough");
    serde_json::from_str::<Value>(&got.to_string()).expect("can be read back");
    let patch = operations(
        DEPTH_MAX,
        |i| json!({"op": "add", "path": format!("{}/a", "/a".repeat(i)), "value": {}}),
    );
    refusal(&json!({}), &patch);
}

#[test]
fn moving_large_values_again_and_again_is_refused() {
    let original = json!({ "a": vec![0; 100_000] });
    let patch = operations(10_000, |i| {
        let names = ["/a", "/b"];
        json!({"op": "move", "from": names[i % 2], "path": names[(i + 1) % 2]})
    });
    assert!(refusal(&original, &patch).contains("takes too long"));
    let patch = operations(10_000, |_| json!({"op": "add", "path": "/a/0", "value": 1}));
    assert!(refusal(&original, &patch).contains("takes too long"));
}

const NAMES: &[&str] = &[
    "name",
    "metadata",
    "spec",
    "containers",
    "finalizers",
    "volumes",
    "env",
];
const DIRECTIVES: &[&str] = &[
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$setElementOrder/finalizers",
    "$deleteFromPrimitiveList/finalizers",
];

/// An object of modest size with such keys.
fn object_of(keys: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let key = prop::sample::select(keys);
    let leaf = prop::sample::select(vec![
        json!(null),
        json!("a"),
        json!("b"),
        json!(1),
        json!("delete"),
        json!("replace"),
        json!("merge"),
    ]);
    let object = |entries: Vec<(&str, Value)>| -> Value {
        entries
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect()
    };
    let of_key = key.clone();
    let value = leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((of_key.clone(), inner), 0..6).prop_map(object),
        ]
    });
    prop::collection::vec((key, value), 0..6).prop_map(object)
}

fn plain() -> impl Strategy<Value = Value> {
    object_of(NAMES.to_vec())
}

fn anything() -> impl Strategy<Value = Value> {
    object_of([NAMES, DIRECTIVES].concat())
}

fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(k, v)| k.starts_with('$') || has_directive(v)),
        Value::Array(items) => items.iter().any(has_directive),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_patch_panics_and_no_directive_stays(patch in anything()) {
        let original = json!({
            "metadata": { "name": "a", "finalizers": ["a", "b"] },
            "spec": { "containers": [{ "name": "a", "env": [{ "name": "b" }] }, { "name": "b" }] },
        });
        if let Ok(got) = strategic(type_of("v1/Pod"), original.clone(), patch.clone()) {
            prop_assert!(!has_directive(&got), "{got}");
        }
        let _ = json_patch(&original, patch.to_string().as_bytes());
        if let Ok(got) = merge_patch(original, patch.to_string().as_bytes()) {
            prop_assert!(got.is_object());
        }
    }

    #[test]
    fn a_patch_without_merged_lists_applied_twice_is_as_once(
        patch in object_of(vec!["name", "metadata", "spec", "labels", "tolerations"])
    ) {
        let pod = type_of("v1/Pod");
        let original = json!({ "spec": { "tolerations": [1] }, "metadata": { "name": "a" } });
        let once = strategic(pod, original, patch.clone()).expect("nothing to complain about");
        prop_assert_eq!(strategic(pod, once.clone(), patch), Ok(once));
    }

    #[test]
    fn an_object_patched_into_nothing_is_itself(object in plain()) {
        let got = strategic(type_of("v1/Pod"), Value::Object(Map::new()), object.clone());
        prop_assert_eq!(got.clone(), merge_patch(json!({}), object.to_string().as_bytes())
            .map(without_nulls_in_lists));
    }
}

/// Merge patches keep the nulls inside objects inside lists; strategic ones do not.
fn without_nulls_in_lists(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, without_nulls_in_lists(v)))
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(without_nulls_in_lists).collect(),
        other => other,
    }
}
