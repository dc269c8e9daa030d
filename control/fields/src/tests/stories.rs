use super::story::Story;
use crate::managed::UPDATERS_MAX;
use crate::{Managed, Manager, Operation};

#[test]
fn an_apply_creates_and_owns_what_it_names() {
    Story::new()
        .apply("a", r#"{"replicas":1,"labels":{"x":"1"}}"#)
        .is(r#"{"replicas":1,"labels":{"x":"1"}}"#)
        .owns("a", &[".labels.x", ".replicas"])
        .entries(1);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let story = Story::new().apply("a", r#"{"replicas":1,"tags":["x"],"items":[{"name":"i"}]}"#);
    let before = story.object.clone();
    let managed = story.managed().to_json();
    let story = story.apply("a", r#"{"replicas":1,"tags":["x"],"items":[{"name":"i"}]}"#);
    assert_eq!(story.object, before);
    assert!(
        story
            .managed()
            .same_but_times(&Managed::parse(&managed).unwrap())
    );
}

#[test]
fn what_others_own_is_a_conflict_if_it_would_change() {
    Story::new()
        .apply("a", r#"{"replicas":1,"name":"x"}"#)
        .conflict("b", r#"{"replicas":2}"#, &[("a", ".replicas")])
        .conflict(
            "b",
            r#"{"replicas":2,"name":"y"}"#,
            &[("a", ".name"), ("a", ".replicas")],
        )
        .conflict("b", r#"{"replicas":null}"#, &[("a", ".replicas")])
        .apply("b", r#"{"replicas":1}"#)
        .owns("a", &[".name", ".replicas"])
        .owns("b", &[".replicas"])
        .conflict("a", r#"{"replicas":3,"name":"x"}"#, &[("b", ".replicas")]);
}

#[test]
fn force_takes_over() {
    Story::new()
        .apply("a", r#"{"replicas":1,"name":"x"}"#)
        .force("b", r#"{"replicas":2}"#)
        .is(r#"{"replicas":2,"name":"x"}"#)
        .owns("a", &[".name"])
        .owns("b", &[".replicas"])
        // A loses nothing more by no longer naming what it lost.
        .apply("a", r#"{"name":"x"}"#)
        .is(r#"{"replicas":2,"name":"x"}"#);
}

#[test]
fn taking_the_last_field_takes_the_entry() {
    Story::new()
        .apply("a", r#"{"replicas":1}"#)
        .force("b", r#"{"replicas":2}"#)
        .owns("a", &[])
        .entries(1);
}

#[test]
fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    Story::new()
        .apply("a", r#"{"replicas":1,"name":"x"}"#)
        .apply("a", r#"{"name":"x"}"#)
        .is(r#"{"name":"x"}"#)
        .owns("a", &[".name"]);
    Story::new()
        .apply("a", r#"{"replicas":1,"name":"x"}"#)
        .apply("b", r#"{"replicas":1}"#)
        .apply("a", r#"{"name":"x"}"#)
        .is(r#"{"replicas":1,"name":"x"}"#)
        .owns("b", &[".replicas"])
        .apply("b", r#"{}"#)
        .is(r#"{"name":"x"}"#);
    // An ordinary writer owns what it changed.
    Story::new()
        .apply("a", r#"{"replicas":1,"name":"x"}"#)
        .update("u", r#"{"replicas":5,"name":"x"}"#)
        .owns("a", &[".name"])
        .owns("u!", &[".replicas"])
        .apply("a", r#"{"name":"x"}"#)
        .is(r#"{"replicas":5,"name":"x"}"#);
    // What nobody applied stays.
    Story::new()
        .update("u", r#"{"replicas":5}"#)
        .apply("a", r#"{"name":"x"}"#)
        .apply("a", r#"{}"#)
        .is(r#"{"replicas":5}"#);
}

#[test]
fn an_ordinary_write_owns_what_it_changed() {
    Story::new()
        .update("u", r#"{"replicas":1,"labels":{"a":"1"}}"#)
        .owns("u!", &[".labels", ".labels.a", ".replicas"])
        .update("v", r#"{"replicas":2,"labels":{"a":"1","b":"2"}}"#)
        .owns("u!", &[".labels", ".labels.a"])
        .owns("v!", &[".labels.b", ".replicas"])
        .update("u", r#"{"replicas":2,"labels":{"b":"2"}}"#)
        .owns("u!", &[".labels"])
        .owns("v!", &[".labels.b", ".replicas"])
        // Writing the same value takes nothing.
        .update("w", r#"{"replicas":2,"labels":{"b":"2"}}"#)
        .owns("w!", &[])
        .update("w", r#"{}"#)
        .entries(0);
}

#[test]
fn an_ordinary_write_and_an_apply_of_one_name_are_two_managers() {
    Story::new()
        .apply("a", r#"{"replicas":1,"name":"x"}"#)
        .update("a", r#"{"replicas":2,"name":"x"}"#)
        .owns("a", &[".name"])
        .owns("a!", &[".replicas"])
        .conflict("a", r#"{"replicas":1,"name":"x"}"#, &[("a", ".replicas")]);
}

#[test]
fn list_maps_belong_to_many() {
    Story::new()
        .apply("a", r#"{"items":[{"name":"i","value":1}]}"#)
        .apply("b", r#"{"items":[{"name":"j","value":2}]}"#)
        .is(r#"{"items":[{"name":"i","value":1},{"name":"j","value":2}]}"#)
        .apply("b", r#"{"items":[{"name":"i","image":"x"}]}"#)
        .is(r#"{"items":[{"name":"i","value":1,"image":"x"}]}"#)
        .conflict(
            "b",
            r#"{"items":[{"name":"i","value":7}]}"#,
            &[("a", r#".items[name="i"].value"#)],
        )
        // The item is b's, too.
        .apply("a", r#"{}"#)
        .is(r#"{"items":[{"name":"i","image":"x"}]}"#)
        .apply("b", r#"{}"#)
        .is("{}");
}

#[test]
fn an_item_that_its_last_owner_gives_up_goes_with_all_that_is_in_it() {
    Story::new()
        .apply("a", r#"{"items":[{"name":"i","value":1},{"name":"j"}]}"#)
        .update(
            "u",
            r#"{"items":[{"name":"i","value":1,"image":"x"},{"name":"j"}]}"#,
        )
        .owns("u!", &[r#".items[name="i"].image"#])
        .apply("a", r#"{"items":[{"name":"j"}]}"#)
        .is(r#"{"items":[{"name":"j"}]}"#)
        .owns("u!", &[]);
}

#[test]
fn nested_items_vanish_one_by_one() {
    let config = |env: &str| format!(r#"{{"items":[{{"name":"i","env":[{env}]}}]}}"#);
    let (e, f) = (r#"{"name":"E","value":"1"}"#, r#"{"name":"F","value":"2"}"#);
    Story::new()
        .apply("a", &config(&format!("{e},{f}")))
        .apply("a", &config(f))
        .is(&config(f))
        .apply("b", &config(e))
        // What only the object has stands first, as in Kubernetes.
        .is(&config(&format!("{f},{e}")))
        .apply("a", r#"{"items":[{"name":"i"}]}"#)
        .is(&config(e))
        .apply("b", r#"{}"#)
        .is(r#"{"items":[{"name":"i"}]}"#);
}

#[test]
fn default_keys_are_the_same_item() {
    Story::new()
        .apply("a", r#"{"ports":[{"port":80,"name":"x"}]}"#)
        .conflict(
            "b",
            r#"{"ports":[{"port":80,"protocol":"TCP","name":"y"}]}"#,
            &[("a", r#".ports[port=80,protocol="TCP"].name"#)],
        )
        .apply(
            "b",
            r#"{"ports":[{"port":80,"protocol":"UDP","name":"y"}]}"#,
        )
        .is(r#"{"ports":[{"port":80,"name":"x"},{"port":80,"protocol":"UDP","name":"y"}]}"#);
}

#[test]
fn sets_belong_to_many() {
    Story::new()
        .apply("a", r#"{"tags":["x","y"]}"#)
        .apply("b", r#"{"tags":["y","z"]}"#)
        .is(r#"{"tags":["x","y","z"]}"#)
        .apply("a", r#"{"tags":["x"]}"#)
        .is(r#"{"tags":["x","y","z"]}"#)
        .apply("b", r#"{"tags":["z"]}"#)
        .is(r#"{"tags":["x","z"]}"#)
        .apply("a", r#"{}"#)
        .is(r#"{"tags":["z"]}"#);
}

#[test]
fn atomic_values_are_replaced_as_a_whole() {
    Story::new()
        .apply(
            "a",
            r#"{"args":["x"],"whole":{"a":1},"wholeLabels":{"k":"1"}}"#,
        )
        .apply(
            "a",
            r#"{"args":["y"],"whole":{"b":1},"wholeLabels":{"l":"1"}}"#,
        )
        .is(r#"{"args":["y"],"whole":{"b":1},"wholeLabels":{"l":"1"}}"#)
        .conflict("b", r#"{"args":["y","z"]}"#, &[("a", ".args")])
        .conflict("b", r#"{"whole":{"b":1,"a":1}}"#, &[("a", ".whole")])
        .apply("b", r#"{"wholeLabels":{"l":"1"}}"#)
        .apply("a", r#"{"args":[]}"#)
        .is(r#"{"args":[],"wholeLabels":{"l":"1"}}"#);
}

#[test]
fn maps_belong_to_many() {
    Story::new()
        .apply("a", r#"{"labels":{"x":"1"},"structs":{"k":{"x":1}}}"#)
        .apply("b", r#"{"labels":{"y":"1"},"structs":{"k":{"y":1}}}"#)
        .is(r#"{"labels":{"x":"1","y":"1"},"structs":{"k":{"x":1,"y":1}}}"#)
        .apply("a", "{}")
        .is(r#"{"labels":{"y":"1"},"structs":{"k":{"y":1}}}"#)
        .apply("b", r#"{"name":"n"}"#)
        .is(r#"{"name":"n"}"#);
}

#[test]
fn empty_is_not_absent() {
    Story::new()
        .apply("a", r#"{"labels":{},"tags":[],"items":[],"struct":{}}"#)
        .is(r#"{"labels":{},"tags":[],"items":[],"struct":{}}"#)
        .owns("a", &[".items", ".labels", ".struct", ".tags"])
        .apply("b", r#"{"labels":{"x":"1"},"tags":["t"]}"#)
        .apply("b", r#"{}"#)
        // A still says that they are there.
        .is(r#"{"labels":{},"tags":[],"items":[],"struct":{}}"#)
        .apply("a", r#"{"name":"n"}"#)
        .is(r#"{"name":"n"}"#);
    // What one empties oneself stays empty.
    Story::new()
        .apply(
            "a",
            r#"{"labels":{"x":"1"},"struct":{"a":1},"items":[{"name":"i"}]}"#,
        )
        .apply("a", r#"{"labels":{},"struct":{},"items":[]}"#)
        .is(r#"{"labels":{},"struct":{},"items":[]}"#);
}

#[test]
fn null_gives_up_what_was_there() {
    Story::new()
        .apply("a", r#"{"nullable":{"a":1}}"#)
        .apply("a", r#"{"nullable":null}"#)
        .is(r#"{"nullable":null}"#)
        .owns("a", &[".nullable"])
        .apply("a", r#"{"nullable":{"a":2}}"#)
        .is(r#"{"nullable":{"a":2}}"#);
    // What is another's stays.
    Story::new()
        .apply("a", r#"{"struct":{"a":1}}"#)
        .apply("b", r#"{"struct":null}"#)
        .is(r#"{"struct":{"a":1}}"#);
}

#[test]
fn the_order_of_lists_is_the_applier_s_where_it_has_a_say() {
    let check = |live: &[&str], config: &[&str], expect: &[&str]| {
        let list = |names: &[&str]| {
            let items: Vec<String> = names
                .iter()
                .map(|n| format!(r#"{{"name":"{n}"}}"#))
                .collect();
            format!(r#"{{"items":[{}]}}"#, items.join(","))
        };
        let tags =
            |names: &[&str]| format!(r#"{{"tags":{}}}"#, serde_json::to_string(names).unwrap());
        Story::new()
            .update("u", &list(live))
            .apply("a", &list(config))
            .is(&list(expect));
        Story::new()
            .update("u", &tags(live))
            .apply("a", &tags(config))
            .is(&tags(expect));
    };
    check(&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]);
    check(&["a", "b"], &["x", "b"], &["a", "x", "b"]);
    check(&["a", "b", "c", "d"], &["c", "a"], &["b", "c", "d", "a"]);
    check(&["a", "b"], &["a", "x"], &["a", "b", "x"]);
    check(&["a"], &["x", "a"], &["x", "a"]);
    check(&["a", "b", "c"], &["a", "b", "c"], &["a", "b", "c"]);
    check(&["a", "b", "c"], &["c", "b", "a"], &["c", "b", "a"]);
    check(&["a", "b", "c"], &["b"], &["a", "b", "c"]);
    check(&["a"], &["b", "c"], &["a", "b", "c"]);
    check(&["a", "c"], &["a", "b", "c"], &["a", "b", "c"]);
}

#[test]
fn what_stands_twice_in_the_object_is_replaced_by_what_is_applied() {
    Story::new()
        .update(
            "u",
            r#"{"items":[{"name":"a","value":1},{"name":"a","value":2},{"name":"b"}]}"#,
        )
        .apply("x", r#"{"items":[{"name":"b","value":1}]}"#)
        .is(r#"{"items":[{"name":"a","value":1},{"name":"a","value":2},{"name":"b","value":1}]}"#)
        .force("x", r#"{"items":[{"name":"a","value":3}]}"#)
        .is(r#"{"items":[{"name":"a","value":3},{"name":"b"}]}"#);
}

#[test]
fn the_status_is_not_the_object_s_and_the_object_not_the_status_s() {
    let whole = r#"{"apiVersion":"v1","kind":"Thing","metadata":{"name":"t","labels":{"l":"1"}},"spec":{"replicas":1},"status":{"phase":"P"}}"#;
    let story = Story::new()
        .apply("a", whole)
        .owns("a", &[".metadata.labels.l", ".replicas"])
        .is(r#"{"replicas":1}"#);
    assert_eq!(story.object.as_ref().unwrap().get("status"), None);
    let story = story
        .apply("a/status", whole)
        .owns("a/status", &[".status.phase"])
        .owns("a", &[".metadata.labels.l", ".replicas"])
        .entries(2);
    assert_eq!(story.object.as_ref().unwrap()["status"]["phase"], "P");
    let other = whole.replace(r#""P""#, r#""Q""#).replace(":1", ":9");
    story.conflict("b/status", &other, &[("a", ".status.phase")]);
}

#[test]
fn what_makes_an_object_this_one_is_nobody_s() {
    let whole = r#"{"apiVersion":"v1","kind":"Thing","metadata":{"name":"t","namespace":"n","uid":"u","generation":1,"resourceVersion":"7","creationTimestamp":null,"finalizers":["f"],"ownerReferences":[{"uid":"o","name":"p"}]}}"#;
    let owned = [
        ".metadata.finalizers[=\"f\"]",
        ".metadata.ownerReferences[uid=\"o\"]",
    ];
    Story::new().apply("a", whole).owns("a", &owned);
    let by_update = [
        ".metadata.finalizers",
        owned[0],
        ".metadata.ownerReferences",
        owned[1],
    ];
    Story::new().update("u", whole).owns("u!", &by_update);
    let bare = r#"{"apiVersion":"v1","kind":"Thing","metadata":{"name":"t"}}"#;
    Story::new()
        .apply("a", bare)
        .entries(0)
        .update("u", bare)
        .entries(0);
}

#[test]
fn giving_up_the_last_field_of_the_metadata_leaves_the_name() {
    let whole = |meta: &str| {
        format!(r#"{{"apiVersion":"v1","kind":"Thing","metadata":{{"name":"t"{meta}}}}}"#)
    };
    let story = Story::new()
        .apply("a", &whole(r#","finalizers":["f"],"labels":{"l":"1"}"#))
        .apply("a", &whole(""))
        .entries(0);
    let expect: serde_json::Value = serde_json::from_str(&whole("")).unwrap();
    assert_eq!(story.object.as_ref(), Some(&expect));
}

#[test]
fn an_object_without_owners_belongs_to_its_past() {
    Story::new()
        .update("u", r#"{"replicas":1}"#)
        .reset()
        .conflict(
            "a",
            r#"{"replicas":2}"#,
            &[("before-first-apply", ".replicas")],
        )
        .apply("a", r#"{"replicas":1}"#)
        .owns("before-first-apply!", &[".replicas"])
        .owns("a", &[".replicas"])
        .entries(2);
    Story::new()
        .update("u", r#"{"replicas":1}"#)
        .reset()
        .update("v", r#"{"replicas":2}"#)
        .owns("v!", &[".replicas"]);
}

#[test]
fn few_entries_of_ordinary_writes_are_kept() {
    let mut story = Story::new().apply("a", r#"{"name":"n"}"#);
    let mut labels = Vec::new();
    for n in 0..UPDATERS_MAX + 3 {
        labels.push(format!(r#""l{n:02}":"1""#));
        story = story.update(
            &format!("u{n:02}"),
            &format!(r#"{{"name":"n","labels":{{{}}}}}"#, labels.join(",")),
        );
    }
    story
        .entries(UPDATERS_MAX + 1)
        .owns("a", &[".name"])
        .owns(
            "ancient-changes!",
            &[
                ".labels",
                ".labels.l00",
                ".labels.l01",
                ".labels.l02",
                ".labels.l03",
            ],
        )
        .owns("u03!", &[])
        .owns("u04!", &[".labels.l04"])
        .owns("u12!", &[".labels.l12"]);
}

#[test]
fn conflicts_are_told_in_kubernetes_words() {
    let says = |story: &mut Story, name: &str, config: &str, expect: &str| {
        let config = serde_json::from_str(&super::spec(config)).unwrap();
        match story.try_apply(name, &config, false) {
            Err(crate::ApplyError::Conflicts(conflicts)) => {
                assert_eq!(conflicts.to_string(), expect)
            }
            other => panic!("{other:?}"),
        }
    };
    let mut story = Story::new()
        .apply("a", r#"{"name":"x"}"#)
        .update("u", r#"{"name":"x","replicas":1}"#);
    says(
        &mut story,
        "b",
        r#"{"name":"y"}"#,
        r#"Apply failed with 1 conflict: conflict with "a": .spec.name"#,
    );
    says(
        &mut story,
        "b",
        r#"{"replicas":2}"#,
        r#"Apply failed with 1 conflict: conflict with "u" using v1: .spec.replicas"#,
    );
    says(
        &mut story,
        "b",
        r#"{"name":"y","replicas":2}"#,
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.name\nconflicts with \"u\" using v1:\n- .spec.replicas",
    );
    let through = Manager {
        name: "k".into(),
        operation: Operation::Update,
        api_version: "apps/v1".into(),
        subresource: "scale".into(),
    };
    assert_eq!(
        through.to_string(),
        r#""k" with subresource "scale" using apps/v1"#
    );
}
