//! What holds for every object and every writer.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::story::Story;
use super::thing;
use crate::{Managed, Set, Tree, compare, owned};

/// Specs with a few of everything; small alphabets, so that writers meet.
fn spec() -> impl Strategy<Value = Value> {
    let number = || (0..3i64).prop_map(Value::from);
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let names = || prop::collection::btree_set(name(), 0..3);
    let labels = names().prop_flat_map(move |keys| {
        let n = keys.len();
        (Just(keys), prop::collection::vec("[xy]", n..=n))
    });
    let labels = labels.prop_map(|(keys, values)| {
        keys.into_iter()
            .map(str::to_owned)
            .zip(values.into_iter().map(Value::from))
            .collect::<Map<_, _>>()
    });
    let item = (
        prop::option::of(number()),
        prop::option::of(number()),
        prop::option::of(names()),
    );
    let items = (names(), prop::collection::vec(item, 3)).prop_map(|(names, rest)| {
        let items = names.into_iter().zip(rest).map(|(name, (value, p, tags))| {
            let mut item = json!({"name": name});
            item.as_object_mut().unwrap().extend(
                [
                    value.map(|v| ("value".to_owned(), v)),
                    p.map(|p| ("inner".to_owned(), json!({"p": p}))),
                    tags.map(|t| ("tags".to_owned(), json!(t))),
                ]
                .into_iter()
                .flatten(),
            );
            item
        });
        Value::Array(items.collect())
    });
    (
        prop::option::of(number()),
        prop::option::of(labels),
        prop::option::of(names()),
        prop::option::of(items),
        prop::option::of(prop::collection::vec(name(), 0..3)),
        prop::option::of(number()),
    )
        .prop_map(|(replicas, labels, tags, items, args, a)| {
            let mut spec = Map::new();
            let fields = [
                ("replicas", replicas),
                ("labels", labels.map(Value::Object)),
                ("tags", tags.map(|t| json!(t))),
                ("items", items),
                ("args", args.map(|a| json!(a))),
                ("struct", a.map(|a| json!({"a": a, "deep": {"c": a}}))),
            ];
            for (name, value) in fields {
                if let Some(value) = value {
                    spec.insert(name.to_owned(), value);
                }
            }
            json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec})
        })
}

fn writes() -> impl Strategy<Value = Vec<(u8, bool, Value)>> {
    prop::collection::vec((0..3u8, any::<bool>(), spec()), 1..6)
}

fn play(writes: &[(u8, bool, Value)]) -> Story {
    let mut story = Story::new();
    for (who, applies, object) in writes {
        let name = format!("m{who}");
        if *applies {
            story.try_apply(&name, object, true).unwrap();
        } else {
            story = story.update(&name, &object.to_string());
        }
    }
    story
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_set_that_is_written_is_read_again(object in spec()) {
        let tree = Tree::from(&object);
        let fields = owned(&thing(), &tree).unwrap();
        let text = fields.to_string();
        prop_assert_eq!(&Set::parse(&text).unwrap(), &fields);
        prop_assert_eq!(&Set::parse_own(&text).unwrap(), &fields);
    }

    #[test]
    fn the_same_object_is_no_difference_and_another_one_is(a in spec(), b in spec()) {
        let (x, y) = (Tree::from(&a), Tree::from(&b));
        prop_assert!(compare(&thing(), Some(&x), &x).is_empty());
        let there = compare(&thing(), Some(&x), &y);
        let back = compare(&thing(), Some(&y), &x);
        prop_assert_eq!(there.is_empty(), back.is_empty());
        if there.is_empty() {
            // The order of items is nobody's.
            prop_assert!(compare(&thing(), None, &x) == compare(&thing(), None, &y));
        }
    }

    #[test]
    fn applying_twice_is_applying_once(before in writes(), config in spec()) {
        let mut story = play(&before);
        story.try_apply("m", &config, true).unwrap();
        let object = story.object.clone();
        let managed = story.managed().to_json();
        story.try_apply("m", &config, false).unwrap();
        prop_assert_eq!(&story.object, &object);
        prop_assert!(story.managed().same_but_times(&Managed::parse(&managed).unwrap()));
    }

    #[test]
    fn what_is_applied_is_there(before in writes(), config in spec()) {
        let mut story = play(&before);
        story.try_apply("m", &config, true).unwrap();
        let object = story.object.clone().unwrap();
        let (object, wanted) = (Tree::from(&object), Tree::from(&config));
        let schema = thing();
        let diff = compare(&schema, Some(&wanted), &object);
        let fields = owned(&schema, &wanted).unwrap();
        let mut gone = fields.intersection(&diff.removed);
        gone.unite(fields.intersection(&diff.changed));
        prop_assert!(gone.is_empty(), "{} is not there", gone);
    }

    #[test]
    fn every_value_has_an_owner(writes in writes()) {
        let story = play(&writes);
        let managed = story.managed();
        let mut all = Set::default();
        for owner in managed.owners() {
            prop_assert!(!owner.fields.is_empty());
            all.unite(owner.fields.clone());
        }
        let object = story.object.clone().unwrap();
        let mut orphans = owned(&thing(), &Tree::from(&object)).unwrap();
        for name in ["apiVersion", "kind", "metadata"] {
            orphans.remove_field(name);
        }
        orphans.subtract(&all);
        // Empty maps and lists that others emptied, and items emptied by others, may be nobody's.
        let object_json = &object;
        let mut lost = Vec::new();
        orphans.for_each(&mut |path| {
            let path: String = path.iter().map(ToString::to_string).collect();
            if !empty_at(object_json, &path) {
                lost.push(path);
            }
        });
        prop_assert!(lost.is_empty(), "{:?} of {} have no owner", lost, object_json);
    }

    #[test]
    fn an_applier_that_leaves_takes_only_its_own(before in writes(), config in spec()) {
        let mut story = play(&before);
        let others: Vec<String> = {
            story.try_apply("m", &config, true).unwrap();
            let managed = story.managed();
            let mut all = Set::default();
            for owner in managed.owners().iter().filter(|o| o.manager.name != "m") {
                all.unite(owner.fields.clone());
            }
            all.paths()
        };
        let nothing = json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t"}});
        story.try_apply("m", &nothing, false).unwrap();
        let managed = story.managed();
        prop_assert!(managed.owners().iter().all(|o| o.manager.name != "m"));
        // Nobody else lost a field, but for what was in items that nobody else held.
        for owner in managed.owners() {
            for path in owner.fields.paths() {
                prop_assert!(others.contains(&path), "{} is new", path);
            }
        }
    }
}

/// True if the value there is an empty map or list.
fn empty_at(object: &Value, path: &str) -> bool {
    let steps = path.trim_start_matches('.').split('.');
    let mut at = object;
    for step in steps {
        if step.contains('[') {
            return true;
        }
        at = &at[step];
    }
    at.as_array().is_some_and(Vec::is_empty) || at.as_object().is_some_and(Map::is_empty)
}
