use crate::Managed;
use crate::set::Set;

fn set(json: &str) -> Set<'_> {
    Set::parse(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

#[test]
fn field_sets_are_read_and_written() {
    let check = |json: &str, canonical: &str, paths: &[&str]| {
        let set = set(json);
        assert_eq!(set.to_string(), canonical, "{json}");
        assert_eq!(set.paths(), paths, "{json}");
        assert_eq!(Set::parse_own(canonical).unwrap(), set, "{json}");
    };
    let same = |json: &str, paths: &[&str]| check(json, json, paths);
    same("{}", &[]);
    same(r#"{"f:a":{}}"#, &[".a"]);
    same(r#"{"f:a":{"f:b":{}}}"#, &[".a.b"]);
    same(r#"{"f:a":{".":{},"f:b":{}}}"#, &[".a", ".a.b"]);
    check(r#"{"f:a":{".":{}}}"#, r#"{"f:a":{}}"#, &[".a"]);
    check(
        r#"{"f:b":{},"f:a":{}}"#,
        r#"{"f:a":{},"f:b":{}}"#,
        &[".a", ".b"],
    );
    check(r#"{".":{},"f:a":{}}"#, r#"{"f:a":{}}"#, &[".a"]);
    check(
        r#"{"f:a":{"f:x":{}},"f:b":{},"f:a":{"f:y":{}}}"#,
        r#"{"f:a":{"f:x":{},"f:y":{}},"f:b":{}}"#,
        &[".a.x", ".a.y", ".b"],
    );
    same(
        r#"{"f:l":{"v:\"x\"":{},"v:1":{},"v:true":{}}}"#,
        &[".l[=\"x\"]", ".l[=1]", ".l[=true]"],
    );
    same(r#"{"f:l":{"i:0":{},"i:1":{}}}"#, &[".l[0]", ".l[1]"]);
    same(
        r#"{"f:l":{"k:{\"name\":\"a\"}":{".":{},"f:v":{}}}}"#,
        &[".l[name=\"a\"]", ".l[name=\"a\"].v"],
    );
    same(
        r#"{"f:l":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{}}}"#,
        &[".l[port=80,protocol=\"TCP\"]"],
    );
    check(
        r#"{"f:l":{"k:{\"protocol\": \"TCP\", \"port\": 80.0}":{}}}"#,
        r#"{"f:l":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{}}}"#,
        &[".l[port=80,protocol=\"TCP\"]"],
    );
    same(r#"{"f:a.b/c":{"f:":{}}}"#, &[".a.b/c."]);
    same(r#"{"f:é\n\"":{}}"#, &[".é\n\""]);
}

#[test]
fn what_names_no_field_is_refused() {
    for bad in [
        "",
        "[]",
        "null",
        "7",
        r#""f:a""#,
        r#"{"a":{}}"#,
        r#"{"f":{}}"#,
        r#"{"":{}}"#,
        r#"{"x:a":{}}"#,
        r#"{"k:a":{}}"#,
        r#"{"k:[1]":{}}"#,
        r#"{"k:{}":{}}"#,
        r#"{"k:1":{}}"#,
        r#"{"v:":{}}"#,
        r#"{"v:a":{}}"#,
        r#"{"i:":{}}"#,
        r#"{"i:x":{}}"#,
        r#"{"i:1.5":{}}"#,
        r#"{"f:a":null}"#,
        r#"{"f:a":[]}"#,
        r#"{"f:a":true}"#,
        r#"{"f:a":{}}}"#,
        r#"{"é:a":{}}"#,
    ] {
        assert!(Set::parse(bad).is_err(), "{bad}");
    }
    let deep = format!("{}{}", r#"{"f:a":"#.repeat(500), "{}");
    assert!(Set::parse(&deep).is_err());
}

#[test]
fn sets_are_united_subtracted_and_intersected() {
    let check = |a: &str, b: &str, union: &str, difference: &str, both: &str| {
        let mut united = set(a);
        united.unite(set(b));
        assert_eq!(united.to_string(), union, "{a} + {b}");
        let mut less = set(a);
        less.subtract(&set(b));
        assert_eq!(less.to_string(), difference, "{a} - {b}");
        assert_eq!(set(a).intersection(&set(b)).to_string(), both, "{a} & {b}");
        assert_eq!(set(b).intersection(&set(a)).to_string(), both, "{b} & {a}");
    };
    let (a, b, ab) = (r#"{"f:a":{}}"#, r#"{"f:b":{}}"#, r#"{"f:a":{},"f:b":{}}"#);
    check("{}", "{}", "{}", "{}", "{}");
    check(a, "{}", a, a, "{}");
    check("{}", a, a, "{}", "{}");
    check(a, a, a, "{}", a);
    check(a, b, ab, a, "{}");
    check(b, a, ab, b, "{}");
    check(ab, a, ab, b, a);
    check(ab, b, ab, a, b);
    // A path is one thing, what is below it another.
    let (below, with) = (r#"{"f:a":{"f:x":{}}}"#, r#"{"f:a":{".":{},"f:x":{}}}"#);
    check(a, below, with, a, "{}");
    check(below, a, with, below, "{}");
    check(with, a, with, below, a);
    check(with, below, with, a, below);
    check(with, with, with, "{}", with);
    check(
        r#"{"f:a":{"f:x":{},"f:y":{}},"f:c":{}}"#,
        r#"{"f:a":{"f:y":{},"f:z":{}},"f:b":{}}"#,
        r#"{"f:a":{"f:x":{},"f:y":{},"f:z":{}},"f:b":{},"f:c":{}}"#,
        r#"{"f:a":{"f:x":{}},"f:c":{}}"#,
        r#"{"f:a":{"f:y":{}}}"#,
    );
    check(
        r#"{"f:l":{"k:{\"n\":1}":{},"v:1":{},"i:1":{}}}"#,
        r#"{"f:l":{"k:{\"n\":1}":{},"v:2":{},"i:1":{}}}"#,
        r#"{"f:l":{"i:1":{},"k:{\"n\":1}":{},"v:1":{},"v:2":{}}}"#,
        r#"{"f:l":{"v:1":{}}}"#,
        r#"{"f:l":{"i:1":{},"k:{\"n\":1}":{}}}"#,
    );
}

#[test]
fn entries_are_read_and_written_in_order() {
    let apply = r#"{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}},"manager":"b","operation":"Apply","time":"2026-01-02T00:00:00Z"}"#;
    let early = r#"{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:b":{}},"manager":"z","operation":"Update","time":"2026-01-01T00:00:00Z"}"#;
    let late = r#"{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:c":{}},"manager":"a","operation":"Update","subresource":"status","time":"2026-01-02T00:00:00Z"}"#;
    let timeless = r#"{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:d":{}},"manager":"c","operation":"Update"}"#;
    let input = format!("[{late},{timeless},{early},{apply}]");
    let managed = Managed::parse(input.as_bytes()).unwrap();
    let expect = format!("[{apply},{timeless},{early},{late}]");
    let written = managed.to_json();
    assert_eq!(String::from_utf8_lossy(&written), expect);
    assert_eq!(Managed::parse_own(&written).unwrap().to_json(), written);
    assert!(Managed::parse(b"[]").unwrap().is_empty());
    for bad in [
        r#"[{"manager":"a","operation":"Delete","fieldsV1":{"f:a":{}}}]"#,
        r#"[{"manager":"a","operation":"Apply","fieldsType":"FieldsV2","fieldsV1":{"f:a":{}}}]"#,
        r#"[{"manager":"a","operation":"Apply","fieldsV1":{"a":{}}}]"#,
        r#"[{"manager":"a"}]"#,
        r#"{}"#,
    ] {
        assert!(Managed::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    // Two of the same manager are one; those that own nothing are none.
    let double = format!("[{apply},{apply},{}]", apply.replace("f:a", "f:z"));
    let one = Managed::parse(double.as_bytes()).unwrap();
    assert_eq!(one.owners().len(), 1);
    assert_eq!(one.owners()[0].fields.paths(), [".a", ".z"]);
    let nothing = apply.replace(r#""f:a":{}"#, "");
    assert!(
        Managed::parse(format!("[{nothing}]").as_bytes())
            .unwrap()
            .is_empty()
    );
}
