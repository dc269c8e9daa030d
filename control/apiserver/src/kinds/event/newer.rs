//! Events as the group events.k8s.io shows them: the objects of core/v1 under other
//! names, with stricter rules for those who write them here. Follows
//! `pkg/apis/events/v1/conversion.go` and `pkg/apis/core/validation/events.go`.

use euston_api::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{Event as Stored, EventSeries as StoredSeries, EventSource};
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::registry::version::Version;

/// events.k8s.io/v1 over core/v1.
pub struct NewerEvent;

impl Version for NewerEvent {
    type Object = Event;
    type Stored = Stored;

    fn to_stored(&self, event: Event) -> Stored {
        Stored {
            metadata: event.metadata,
            action: event.action,
            count: event.deprecated_count,
            event_time: event.event_time,
            first_timestamp: event.deprecated_first_timestamp,
            involved_object: event.regarding.unwrap_or_default(),
            last_timestamp: event.deprecated_last_timestamp,
            message: event.note,
            reason: event.reason,
            related: event.related,
            reporting_component: event.reporting_controller,
            reporting_instance: event.reporting_instance,
            series: event.series.map(|series| StoredSeries {
                count: Some(series.count),
                last_observed_time: Some(series.last_observed_time),
            }),
            source: event.deprecated_source,
            type_: event.type_,
        }
    }

    fn show_stored(&self, event: Stored) -> Event {
        Event {
            metadata: event.metadata,
            action: event.action,
            deprecated_count: event.count,
            event_time: event.event_time,
            deprecated_first_timestamp: event.first_timestamp,
            regarding: Some(event.involved_object),
            deprecated_last_timestamp: event.last_timestamp,
            note: event.message,
            reason: event.reason,
            related: event.related,
            reporting_controller: event.reporting_component,
            reporting_instance: event.reporting_instance,
            series: event.series.map(|series| EventSeries {
                count: series.count.unwrap_or_default(),
                last_observed_time: series
                    .last_observed_time
                    .unwrap_or(MicroTime(jiff::Timestamp::UNIX_EPOCH)),
            }),
            deprecated_source: event.source,
            type_: event.type_,
        }
    }

    fn field_labels(&self) -> Option<&'static [(&'static str, &'static str)]> {
        Some(&[
            ("regarding.kind", "involvedObject.kind"),
            ("regarding.namespace", "involvedObject.namespace"),
            ("regarding.name", "involvedObject.name"),
            ("regarding.uid", "involvedObject.uid"),
            ("regarding.apiVersion", "involvedObject.apiVersion"),
            (
                "regarding.resourceVersion",
                "involvedObject.resourceVersion",
            ),
            ("regarding.fieldPath", "involvedObject.fieldPath"),
            ("reason", "reason"),
            ("reportingController", "reportingComponent"),
            ("type", "type"),
        ])
    }
}

/// What holds besides for an event that is created in this group.
pub(super) fn validate_create(event: &Stored, errors: &mut ErrorList) {
    validate_series(event, errors);
    if event.event_time.is_none() {
        errors.required(Path::new("eventTime"), "");
    }
    let source = event.source.as_ref();
    let named = |part: fn(&EventSource) -> &Option<String>| {
        source
            .and_then(|s| part(s).as_deref())
            .is_some_and(|t| !t.is_empty())
    };
    let unset = [
        ("firstTimestamp", event.first_timestamp.is_some()),
        ("lastTimestamp", event.last_timestamp.is_some()),
        ("count", event.count.unwrap_or_default() != 0),
        ("source", named(|s| &s.component) || named(|s| &s.host)),
    ];
    for (field, set) in unset {
        if set {
            errors.invalid(Path::new(field), "", "needs to be unset");
        }
    }
}

/// Which changes are allowed by way of this group: the series, and the metadata.
pub(super) fn validate_update(new: &Stored, old: &Stored, errors: &mut ErrorList) {
    if new.series != old.series {
        validate_series(new, errors);
    }
    let path = Path::new;
    errors.immutable(
        path("involvedObject"),
        &new.involved_object,
        &old.involved_object,
    );
    errors.immutable(path("reason"), &new.reason, &old.reason);
    errors.immutable(path("message"), &new.message, &old.message);
    errors.immutable(path("source"), &new.source, &old.source);
    errors.immutable(
        path("firstTimestamp"),
        &new.first_timestamp,
        &old.first_timestamp,
    );
    errors.immutable(
        path("lastTimestamp"),
        &new.last_timestamp,
        &old.last_timestamp,
    );
    errors.immutable(path("count"), &new.count, &old.count);
    errors.immutable(path("type"), &new.type_, &old.type_);
    errors.immutable(path("eventTime"), &new.event_time, &old.event_time);
    errors.immutable(path("action"), &new.action, &old.action);
    errors.immutable(path("related"), &new.related, &old.related);
    let (is, was) = (&new.reporting_component, &old.reporting_component);
    errors.immutable(path("reportingController"), is, was);
    let (is, was) = (&new.reporting_instance, &old.reporting_instance);
    errors.immutable(path("reportingInstance"), is, was);
}

fn validate_series(event: &Stored, errors: &mut ErrorList) {
    let Some(series) = &event.series else { return };
    let path = Path::new("series");
    if series.count.unwrap_or_default() < 2 {
        errors.invalid(path.child("count"), "", "should be at least 2");
    }
    if series.last_observed_time.is_none() {
        errors.required(path.child("lastObservedTime"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventStrategy;
    use super::*;
    use crate::kinds::testing::{check_create, check_update, merged, object};
    use serde_json::{Value, json};

    fn stored() -> Value {
        json!({
            "metadata": {"name": "e", "namespace": "a"},
            "involvedObject": {"kind": "Pod", "namespace": "a", "name": "p"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
            "reason": "Because", "action": "Act", "message": "it was so",
            "reportingComponent": "example.com/me", "reportingInstance": "me-1",
        })
    }

    #[test]
    fn both_groups_show_the_same_event() {
        let mut old = stored();
        old["source"] = json!({"component": "kubelet", "host": "n"});
        old["count"] = json!(3);
        old["firstTimestamp"] = json!("2026-01-01T00:00:00Z");
        old["lastTimestamp"] = json!("2026-01-01T00:00:01Z");
        old["related"] = json!({"kind": "Node", "name": "n"});
        old["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:02.000000Z"});
        let event: Stored = object(&old);
        let newer = NewerEvent.show_stored(event.clone());
        let shown = serde_json::to_value(&newer).unwrap();
        assert_eq!(shown["apiVersion"], "events.k8s.io/v1");
        for (field, value) in [
            ("regarding", &old["involvedObject"]),
            ("note", &old["message"]),
            ("deprecatedCount", &old["count"]),
            ("deprecatedSource", &old["source"]),
            ("deprecatedFirstTimestamp", &old["firstTimestamp"]),
            ("deprecatedLastTimestamp", &old["lastTimestamp"]),
            ("reportingController", &old["reportingComponent"]),
            ("series", &old["series"]),
            ("related", &old["related"]),
        ] {
            assert_eq!(&shown[field], value, "{field}");
        }
        assert_eq!(NewerEvent.to_stored(newer), event);
    }

    #[test]
    fn who_writes_here_writes_the_newer_form() {
        let check = |change: Value, expected: &[&str]| {
            let event = merged(&stored(), &change);
            check_create(&EventStrategy::newer(), &event, expected);
        };
        check(json!({}), &[]);
        check(
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:02.000000Z"}}),
            &[],
        );
        check(
            json!({"series": {"count": 1}}),
            &[
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
            ],
        );
        check(json!({"eventTime": null}), &["eventTime: Required value"]);
        check(
            json!({"count": 1, "source": {"host": "n"}, "firstTimestamp": "2026-01-01T00:00:00Z",
                   "lastTimestamp": "2026-01-01T00:00:00Z"}),
            &[
                "firstTimestamp: Invalid value: \"\": needs to be unset",
                "lastTimestamp: Invalid value: \"\": needs to be unset",
                "count: Invalid value: \"\": needs to be unset",
                "source: Invalid value: \"\": needs to be unset",
            ],
        );
    }

    #[test]
    fn only_the_series_and_the_metadata_change() {
        let check = |change: Value, expected: &[&str]| {
            let new = merged(&stored(), &change);
            check_update(&EventStrategy::newer(), &stored(), &new, expected);
        };
        let seen = "2026-01-01T00:00:02.000000Z";
        check(json!({"metadata": {"labels": {"a": "b"}}}), &[]);
        check(
            json!({"series": {"count": 2, "lastObservedTime": seen}}),
            &[],
        );
        check(
            json!({"series": {"count": 1, "lastObservedTime": seen}}),
            &["series.count: Invalid value: \"\": should be at least 2"],
        );
        check(
            json!({"reason": "Other", "count": 4, "type": "Warning"}),
            &[
                "reason: Invalid value: \"Other\": field is immutable",
                "count: Invalid value: 4: field is immutable",
                "type: Invalid value: \"Warning\": field is immutable",
            ],
        );
        // The older group does not mind.
        let new = merged(&stored(), &json!({"reason": "Other"}));
        check_update(&EventStrategy::core(), &stored(), &new, &[]);
    }
}
