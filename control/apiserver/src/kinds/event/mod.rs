//! Event: something that happened to an object, for people to read.

mod newer;

use euston_api::field::{ErrorList, Path};
use euston_api::labels::{NAMESPACE_DEFAULT, NAMESPACE_SYSTEM};
use euston_api::{names, time};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::Value;

use super::cells;
use crate::registry::kind::Kind;
use crate::registry::strategy::{Column, Fields, Strategy};

use newer::NewerEvent;

/// Longest reason, action and reporting instance, in bytes.
const TEXT_BYTES_MAX: usize = 128;
/// Longest message of an event in the newer form, in bytes.
const NOTE_BYTES_MAX: usize = 1024;

/// The rows of the two groups that show the same events.
pub fn rows() -> Vec<Kind> {
    let newer = Kind::version(EventStrategy::newer(), NewerEvent, "event", true);
    [Kind::new(EventStrategy::core(), "event", true), newer]
        .map(|row| row.short(&["ev"]).create_on_update())
        .into()
}

const TYPES: [&str; 2] = ["Normal", "Warning"];

/// The rules of Events.
pub struct EventStrategy {
    /// The client writes to events.k8s.io.
    newer: bool,
}

impl EventStrategy {
    /// The rules for those who write to core/v1.
    pub fn core() -> Self {
        EventStrategy { newer: false }
    }

    /// The rules for those who write to events.k8s.io.
    pub fn newer() -> Self {
        EventStrategy { newer: true }
    }

    /// The rules of events.k8s.io, which hold in both groups once `eventTime` is set.
    fn validate_newer_form(&self, event: &Event, errors: &mut ErrorList) {
        let controller = if self.newer {
            "reportingController"
        } else {
            "reportingComponent"
        };
        let required = [
            (controller, &event.reporting_component),
            ("reportingInstance", &event.reporting_instance),
            ("action", &event.action),
            ("reason", &event.reason),
        ];
        for (field, value) in required {
            let path = Path::new(field);
            let value = value.as_deref().unwrap_or_default();
            if value.is_empty() {
                errors.required(path, "");
            } else if field == controller {
                errors.invalid_each(&path, value, names::qualified_name(value));
            } else if value.len() > TEXT_BYTES_MAX {
                let rule = format!("can have at most {TEXT_BYTES_MAX} characters");
                errors.invalid(path, value, rule);
            }
        }
        let message = event.message.as_deref().unwrap_or_default();
        if message.len() > NOTE_BYTES_MAX {
            let rule = format!("can have at most {NOTE_BYTES_MAX} characters");
            errors.invalid(Path::new("message"), "", rule);
        }
        let kind = event.type_.as_deref().unwrap_or_default();
        if !TYPES.contains(&kind) {
            errors.invalid(Path::new("type"), "", format!("has invalid value: {kind}"));
        }
    }
}

impl Strategy for EventStrategy {
    type Object = Event;

    fn validate_create(&self, event: &Event) -> ErrorList {
        let mut errors = ErrorList::new();
        if self.newer {
            newer::validate_create(event, &mut errors);
        }
        errors
    }

    fn validate(&self, event: &Event) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_namespace(event, &mut errors);
        if event.event_time.is_some() {
            self.validate_newer_form(event, &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Event, old: &Event) -> ErrorList {
        let mut errors = ErrorList::new();
        if self.newer {
            newer::validate_update(new, old, &mut errors);
        }
        errors
    }

    fn fields(&self, event: &Event) -> Fields {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let of = &event.involved_object;
        let component = event.source.as_ref().and_then(|s| s.component.clone());
        let source = component.filter(|c| !c.is_empty());
        vec![
            ("involvedObject.kind", text(&of.kind)),
            ("involvedObject.namespace", text(&of.namespace)),
            ("involvedObject.name", text(&of.name)),
            ("involvedObject.uid", text(&of.uid)),
            ("involvedObject.apiVersion", text(&of.api_version)),
            ("involvedObject.resourceVersion", text(&of.resource_version)),
            ("involvedObject.fieldPath", text(&of.field_path)),
            ("reason", text(&event.reason)),
            ("reportingComponent", text(&event.reporting_component)),
            (
                "source",
                source.unwrap_or_else(|| text(&event.reporting_component)),
            ),
            ("type", text(&event.type_)),
        ]
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const NAME: Column = Column {
            priority: 1,
            ..crate::registry::strategy::NAME
        };
        const COLUMNS: &[Column] = &[
            Column::string("Last Seen", "When this happened last."),
            Column::string("Type", "Normal or Warning."),
            Column::string("Reason", "Why it happened, in one word."),
            Column::string("Object", "What it happened to."),
            Column::string("Subobject", "The part of the object that it happened to.").wide(),
            Column::string("Source", "Who says so.").wide(),
            Column::string("Message", "What happened, for people."),
            Column::string("First Seen", "When this happened first.").wide(),
            Column::string("Count", "How often this happened.").wide(),
            NAME,
        ];
        COLUMNS
    }

    fn row(&self, event: &Event, now: Timestamp) -> Vec<Value> {
        let first = match &event.first_timestamp {
            Some(first) => time::since_time(Some(first), now),
            None => time::since_micro_time(event.event_time.as_ref(), now),
        };
        let (last, count) = match &event.series {
            Some(series) => (
                time::since_micro_time(series.last_observed_time.as_ref(), now),
                series.count.unwrap_or_default(),
            ),
            None => (
                match &event.last_timestamp {
                    Some(last) => time::since_time(Some(last), now),
                    None => first.clone(),
                },
                event.count.filter(|&count| count != 0).unwrap_or(1),
            ),
        };
        let of = &event.involved_object;
        let mut object = of.kind.as_deref().unwrap_or_default().to_lowercase();
        if let Some(name) = of.name.as_deref().filter(|n| !n.is_empty()) {
            object = format!("{object}/{name}");
        }
        vec![
            last.into(),
            event.type_.as_deref().unwrap_or_default().into(),
            event.reason.as_deref().unwrap_or_default().into(),
            object.into(),
            of.field_path.as_deref().unwrap_or_default().into(),
            source(event).into(),
            event.message.as_deref().unwrap_or_default().trim().into(),
            first.into(),
            count.into(),
            cells::name(&event.metadata),
        ]
    }
}

/// An event is in its object's namespace.
fn validate_namespace(event: &Event, errors: &mut ErrorList) {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let of = &event.involved_object.namespace;
    let of = of.as_deref().unwrap_or_default();
    let newer_form = event.event_time.is_some();
    let fits = if of.is_empty() {
        // What has no namespace has its events in the default one.
        matches!(namespace, "" | NAMESPACE_DEFAULT) || (newer_form && namespace == NAMESPACE_SYSTEM)
    } else {
        newer_form || namespace == of
    };
    if !fits {
        let path = Path::new("involvedObject").child("namespace");
        errors.invalid(path, of, "does not match event.namespace");
    }
}

/// `component, host`, or the newer names of the two.
fn source(event: &Event) -> String {
    let text = |text: Option<&String>| text.filter(|t| !t.is_empty()).cloned();
    let old = event.source.as_ref();
    let component = text(old.and_then(|s| s.component.as_ref()))
        .or_else(|| text(event.reporting_component.as_ref()));
    let host =
        text(old.and_then(|s| s.host.as_ref())).or_else(|| text(event.reporting_instance.as_ref()));
    [component.or(Some(String::new())), host]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, object};
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_where_its_object_is() {
        let check = |namespace: &str, of: Value, expected: &[&str]| {
            let event = json!({"metadata": {"namespace": namespace}, "involvedObject": of});
            check_create(&EventStrategy::core(), &event, expected);
        };
        check("a", json!({"namespace": "a"}), &[]);
        check("default", json!({"kind": "Node"}), &[]);
        check(
            "a",
            json!({"namespace": "b"}),
            &["involvedObject.namespace: Invalid value: \"b\": does not match"],
        );
        check(
            "a",
            json!({"kind": "Node"}),
            &["involvedObject.namespace: Invalid value: \"\": does not match"],
        );
    }

    #[test]
    fn the_newer_form_is_stricter() {
        let event = json!({
            "metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reason": "x".repeat(129), "action": "a", "reportingComponent": "a b", "type": "Bad",
            "message": "m".repeat(1025),
        });
        check_create(
            &EventStrategy::core(),
            &event,
            &[
                "reportingComponent: Invalid value: \"a b\": name part",
                "reportingInstance: Required value",
                "reason: Invalid value: \"xxx",
                "message: Invalid value: \"\": can have at most 1024",
                "type: Invalid value: \"\": has invalid value: Bad",
            ],
        );
    }

    #[test]
    fn its_row_tells_how_often() {
        let event = json!({
            "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
            "firstTimestamp": "1970-01-01T00:00:10Z", "lastTimestamp": "1970-01-01T00:01:00Z",
            "count": 3, "type": "Warning", "reason": "BackOff", "message": " Back-off restarting\n",
            "source": {"component": "kubelet", "host": "n1"},
        });
        check_row(
            &EventStrategy::core(),
            &event,
            100,
            &[
                ("Last Seen", "40s"),
                ("Type", "Warning"),
                ("Reason", "BackOff"),
                ("Object", "pod/web"),
                ("Subobject", "spec.containers{web}"),
                ("Source", "kubelet, n1"),
                ("Message", "Back-off restarting"),
                ("First Seen", "90s"),
                ("Count", "3"),
                ("Name", "e"),
            ],
        );
        let newer = json!({
            "involvedObject": {"kind": "Node"}, "eventTime": "1970-01-01T00:00:10.000000Z",
            "reportingComponent": "scheduler", "reportingInstance": "s-1",
            "series": {"count": 7, "lastObservedTime": "1970-01-01T00:01:30.000000Z"},
        });
        check_row(
            &EventStrategy::core(),
            &newer,
            100,
            &[
                ("Last Seen", "10s"),
                ("Object", "node"),
                ("Source", "scheduler, s-1"),
                ("First Seen", "90s"),
                ("Count", "7"),
            ],
        );
        let bare = json!({"involvedObject": {}, "eventTime": "1970-01-01T00:00:10.000000Z"});
        check_row(
            &EventStrategy::core(),
            &bare,
            100,
            &[("Last Seen", "90s"), ("Count", "1"), ("Source", "")],
        );
        let fields = EventStrategy::core().fields(&object(&event));
        let labels: Vec<&str> = fields.iter().map(|(label, _)| *label).collect();
        assert_eq!(labels, EventStrategy::core().field_labels());
        assert!(fields.contains(&("source", "kubelet".to_owned())));
    }
}
