//! Decides what becomes of each occurrence: a new Event object, a higher count on an old one, or
//! nothing. The rules are client-go's: repeats are counted, many similar messages are combined, and
//! one object cannot flood the log. Pure: `now` is an argument.

use std::collections::HashMap as StdHashMap;
use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use ahash::RandomState;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

type HashMap<K, V> = StdHashMap<K, V, RandomState>;

/// Entries remembered per table generation. Forgetting one only starts a second Event object for
/// the same thing, as client-go's cache of this size does.
const REMEMBERED_MAX: usize = 4096;

/// From this many different messages on, for one object and reason within the window, they are combined.
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW_SECONDS: i64 = 600;

/// Tokens per object: so many at once, then one every five minutes.
const BURST: f64 = 25.0;
const SECONDS_PER_TOKEN: f64 = 300.0;

/// A map that forgets what was not used lately: two generations, the older one dropped when the
/// younger is full.
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    fn new() -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
        }
    }

    fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        if !self.young.contains_key(key) && self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        match self.young.entry(key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.old.remove(key).unwrap_or_else(make)),
        }
    }
}

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence {
    pub(crate) about: ObjectReference,
    pub(crate) type_: &'static str,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) at: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Subject {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SimilarKey {
    subject: Subject,
    field_path: String,
    type_: &'static str,
    reason: String,
}

struct Similar {
    messages: HashSet<String, RandomState>,
    last: Timestamp,
}

struct Known {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// What to send to the API.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// The whole Event as it should be; its count says whether it is new.
    pub(crate) event: Event,
    /// Whether it was never written before: create rather than patch.
    pub(crate) new: bool,
}

pub(crate) struct EventLog {
    component: String,
    host: Option<String>,
    similar: Recent<SimilarKey, Similar>,
    known: Recent<(SimilarKey, Option<String>), Known>,
    buckets: Recent<Subject, Bucket>,
    serial: u64,
}

impl EventLog {
    pub(crate) fn new(component: String, host: Option<String>) -> Self {
        Self {
            component,
            host,
            similar: Recent::new(),
            known: Recent::new(),
            buckets: Recent::new(),
            serial: 0,
        }
    }

    /// The write that `occurrence` leads to, or `None` if its object has used up its share.
    pub(crate) fn record(&mut self, occurrence: Occurrence) -> Option<Write> {
        let Occurrence {
            about,
            type_,
            reason,
            message,
            at,
        } = occurrence;
        let subject = Subject {
            kind: about.kind.clone().unwrap_or_default(),
            namespace: about.namespace.clone().unwrap_or_default(),
            name: about.name.clone().unwrap_or_default(),
            uid: about.uid.clone().unwrap_or_default(),
        };
        let similar_key = SimilarKey {
            subject: subject.clone(),
            field_path: about.field_path.clone().unwrap_or_default(),
            type_,
            reason: reason.clone(),
        };

        let similar = self.similar.get_or_insert_with(&similar_key, || Similar {
            messages: HashSet::default(),
            last: at,
        });
        if at.duration_since(similar.last).as_secs() > SIMILAR_WINDOW_SECONDS {
            similar.messages.clear();
        }
        similar.last = at;
        // Full sets are not added to: the set is bounded and stays "many".
        if similar.messages.len() < SIMILAR_MAX {
            similar.messages.insert(message.clone());
        }
        let combined = similar.messages.len() >= SIMILAR_MAX;
        let (known_key, message) = if combined {
            (
                (similar_key, None),
                format!("(combined from similar events): {message}"),
            )
        } else {
            ((similar_key, Some(message.clone())), message)
        };

        let bucket = self
            .buckets
            .get_or_insert_with(&subject, || Bucket { tokens: BURST, at });
        let passed = at.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed / SECONDS_PER_TOKEN).min(BURST);
        bucket.at = at;
        if bucket.tokens < 1.0 {
            return None;
        }
        bucket.tokens -= 1.0;

        self.serial += 1;
        let serial = self.serial;
        let known = self.known.get_or_insert_with(&known_key, || Known {
            name: event_name(&subject.name, at, serial),
            count: 0,
            first: at,
        });
        known.count = known.count.saturating_add(1);
        let namespace = if subject.namespace.is_empty() {
            "default".to_owned()
        } else {
            subject.namespace
        };
        let event = Event {
            metadata: ObjectMeta {
                name: Some(known.name.clone()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: about,
            type_: Some(type_.to_owned()),
            reason: Some(reason),
            message: Some(message),
            count: Some(known.count),
            first_timestamp: Some(Time(known.first)),
            last_timestamp: Some(Time(at)),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: self.host.clone(),
            }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone().unwrap_or_default()),
            ..Event::default()
        };
        Some(Write {
            new: known.count == 1,
            event,
        })
    }
}

/// `<object>.<unique>`, no longer than the 253 characters that a name may have.
fn event_name(object: &str, at: Timestamp, serial: u64) -> String {
    let unique = format!("{:x}{serial:x}", at.as_nanosecond());
    let room = 253 - 1 - unique.len();
    let mut end = object.len().min(room);
    while !object.is_char_boundary(end) {
        end -= 1;
    }
    // A cut name may end in a separator, which may not stand before the dot.
    let object = object
        .get(..end)
        .unwrap_or_default()
        .trim_end_matches(['.', '-']);
    if object.is_empty() {
        unique
    } else {
        format!("{object}.{unique}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> EventLog {
        EventLog::new("test".into(), None)
    }

    fn occurrence(name: &str, message: &str, second: i64) -> Occurrence {
        Occurrence {
            about: ObjectReference {
                kind: Some("Pod".into()),
                namespace: Some("ns".into()),
                name: Some(name.into()),
                uid: Some(format!("uid-{name}")),
                ..ObjectReference::default()
            },
            type_: "Normal",
            reason: "Because".into(),
            message: message.into(),
            at: Timestamp::from_second(1_000_000 + second).unwrap(),
        }
    }

    #[test]
    fn a_repeat_raises_the_count_of_the_same_event() {
        let mut log = log();
        let first = log.record(occurrence("a", "m", 0)).unwrap();
        let second = log.record(occurrence("a", "m", 5)).unwrap();
        assert!(first.new && !second.new);
        assert_eq!(first.event.metadata.name, second.event.metadata.name);
        assert_eq!(second.event.count, Some(2));
        assert_eq!(second.event.first_timestamp, first.event.first_timestamp);
        assert_ne!(second.event.last_timestamp, first.event.last_timestamp);
        let other = log.record(occurrence("b", "m", 5)).unwrap();
        assert!(other.new, "another object has events of its own");
    }

    #[test]
    fn many_similar_messages_are_combined() {
        let mut log = log();
        let writes: Vec<_> = (0..15)
            .filter_map(|i| log.record(occurrence("a", &format!("m{i}"), i)))
            .collect();
        let combined: Vec<_> = writes
            .iter()
            .filter(|w| {
                w.event
                    .message
                    .as_deref()
                    .unwrap_or_default()
                    .starts_with("(combined from similar events): ")
            })
            .collect();
        assert_eq!(combined.len(), 6);
        assert_eq!(combined.iter().filter(|w| w.new).count(), 1);
        assert_eq!(combined.last().and_then(|w| w.event.count), Some(6));
        let later = log
            .record(occurrence("a", "m99", 14 + SIMILAR_WINDOW_SECONDS + 1))
            .unwrap();
        assert_eq!(
            later.event.message.as_deref(),
            Some("m99"),
            "the window has passed"
        );
    }

    #[test]
    fn one_object_cannot_flood_the_log() {
        let mut log = log();
        let written = (0..1000)
            .filter_map(|i| log.record(occurrence("a", &format!("m{i}"), 0)))
            .count();
        assert_eq!(written, 25);
        assert!(
            log.record(occurrence("b", "m", 0)).is_some(),
            "others are not affected"
        );
        assert!(log.record(occurrence("a", "m", 299)).is_none());
        assert!(
            log.record(occurrence("a", "m", 300)).is_some(),
            "a token has come back"
        );
    }

    #[test]
    fn names_stay_valid_and_memory_bounded() {
        let long = "x".repeat(253);
        let at = Timestamp::from_second(1).unwrap();
        assert!(event_name(&long, at, 1).len() <= 253);
        assert!(event_name("web-1", at, 1).starts_with("web-1."));
        let mut log = log();
        for i in 0..3 * REMEMBERED_MAX {
            assert!(log.record(occurrence(&format!("p{i}"), "m", 0)).is_some());
        }
        assert!(log.known.young.len() + log.known.old.len() <= 2 * REMEMBERED_MAX);
    }
}
