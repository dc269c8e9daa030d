//! Checks for the tests of kinds: JSON in, sentences out.

use euston_api::field::ErrorList;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::registry::strategy::Strategy;

pub(super) fn object<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"))
}

pub(super) fn time(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(seconds).unwrap()
}

/// `base` with `patch` merged into it (RFC 7386, but `null` stands for itself deleted).
pub(super) fn merged(base: &Value, patch: &Value) -> Value {
    let mut merged = base.clone();
    json_patch::merge(&mut merged, patch);
    merged
}

/// What the object becomes when it is created.
pub(super) fn created<S: Strategy>(strategy: &S, value: &Value) -> S::Object {
    let mut object: S::Object = object(value);
    strategy.default(&mut object);
    strategy.prepare_for_create(&mut object);
    object
}

/// Creates the object and compares everything wrong with it: each error must start with
/// the expected text, in order.
pub(super) fn check_create<S: Strategy>(strategy: &S, value: &Value, expected: &[&str]) {
    let object = created(strategy, value);
    let mut errors = strategy.validate(&object);
    errors.extend(strategy.validate_create(&object));
    compare(value, &errors, expected);

    let mut again = object.clone();
    strategy.default(&mut again);
    let (again, object) = (serde_json::to_value(again), serde_json::to_value(object));
    assert_eq!(
        again.unwrap(),
        object.unwrap(),
        "defaulting {value} is idempotent"
    );
}

/// Updates `old` to `new`, both as clients send them, and compares everything wrong.
pub(super) fn check_update<S: Strategy>(strategy: &S, old: &Value, new: &Value, expected: &[&str]) {
    let old = created(strategy, old);
    let mut updated: S::Object = object(new);
    strategy.default(&mut updated);
    strategy.prepare_for_update(&mut updated, &old);
    let mut errors = strategy.validate(&updated);
    errors.extend(strategy.validate_update(&updated, &old));
    compare(new, &errors, expected);
}

/// Writes the status of `new` to `old` and compares everything wrong with it.
pub(super) fn check_status<S: Strategy>(strategy: &S, old: &Value, new: &Value, expected: &[&str]) {
    let (old, mut updated): (S::Object, S::Object) = (object(old), object(new));
    strategy.prepare_for_status_update(&mut updated, &old);
    compare(
        new,
        &strategy.validate_status_update(&updated, &old),
        expected,
    );
}

pub(super) fn compare(value: &Value, errors: &ErrorList, expected: &[&str]) {
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let same = shown.len() == expected.len()
        && shown
            .iter()
            .zip(expected)
            .all(|(shown, expected)| shown.starts_with(expected));
    assert!(
        same,
        "{value}\nshould fail with {expected:#?}\nand fails with {shown:#?}"
    );
}

/// The cells of a row as text, by column.
pub(super) fn row<S: Strategy>(strategy: &S, value: &Value, now: i64) -> Vec<(String, String)> {
    let object: S::Object = object(value);
    let cells = strategy.row(&object, time(now));
    assert_eq!(
        cells.len(),
        strategy.columns().len(),
        "as many cells as columns"
    );
    strategy
        .columns()
        .iter()
        .zip(cells)
        .map(|(column, cell)| {
            let text = match cell {
                Value::String(text) => text,
                other => other.to_string(),
            };
            (column.name.to_owned(), text)
        })
        .collect()
}

/// Compares a row with `Name=web Ready=1/1 ...`; only the named columns count.
pub(super) fn check_row<S: Strategy>(
    strategy: &S,
    value: &Value,
    now: i64,
    expected: &[(&str, &str)],
) {
    let row = row(strategy, value, now);
    for (column, cell) in expected {
        let found = row.iter().find(|(name, _)| name == column);
        assert_eq!(
            found.map(|(_, cell)| cell.as_str()),
            Some(*cell),
            "{column} of {value}"
        );
    }
}
