//! Cells of `kubectl get` that many kinds have.

use std::collections::BTreeMap;

use euston_api::time;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// What stands where there is nothing to show.
pub(super) const NONE: &str = "<none>";
/// What stands where nothing is set.
pub(super) const UNSET: &str = "<unset>";

pub(super) fn name(meta: &ObjectMeta) -> Value {
    meta.name.as_deref().unwrap_or_default().into()
}

pub(super) fn age(meta: &ObjectMeta, now: Timestamp) -> Value {
    time::since_time(meta.creation_timestamp.as_ref(), now).into()
}

/// The text, or `<none>`.
pub(super) fn or_none(text: Option<&str>) -> Value {
    text.filter(|t| !t.is_empty()).unwrap_or(NONE).into()
}

/// The text, or `<unknown>`.
pub(super) fn or_unknown(text: &str) -> Value {
    if text.is_empty() { time::UNKNOWN } else { text }.into()
}

/// `True`, `False` or `<unset>`.
pub(super) fn truth(value: Option<bool>) -> Value {
    match value {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    }
    .into()
}

/// The first `max` entries, and how many more there are; `<unset>` if there are none.
pub(super) fn list_with_more(entries: &[String], max: usize) -> String {
    if entries.is_empty() {
        return UNSET.to_owned();
    }
    let shown = entries[..entries.len().min(max)].join(",");
    match entries.len().saturating_sub(max) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// The containers' names and images.
pub(super) fn containers(containers: &[Container]) -> [Value; 2] {
    let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
    let images: Vec<&str> = containers
        .iter()
        .map(|c| c.image.as_deref().unwrap_or_default())
        .collect();
    [names.join(",").into(), images.join(",").into()]
}

/// The amount of a resource, or nothing.
pub(super) fn amount(amounts: Option<&BTreeMap<String, Quantity>>, name: &str) -> Value {
    let amount = amounts.and_then(|a| a.get(name));
    amount.map(|q| q.0.as_str()).unwrap_or_default().into()
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(labels: Option<&BTreeMap<String, String>>) -> Value {
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    or_none(Some(&pairs.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let entries = |n: usize| (1..=n).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(list_with_more(&entries(0), 3), "<unset>");
        assert_eq!(list_with_more(&entries(3), 3), "1,2,3");
        assert_eq!(list_with_more(&entries(5), 3), "1,2,3 + 2 more...");
    }
}
