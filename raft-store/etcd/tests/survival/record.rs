//! What clients did and were told, and whether the store's own history bears it out.
//!
//! Every answer carries a revision, and the revisions are the order of everything. So it is enough to check that this order
//! explains every answer, and that it agrees with real time: what began after something was answered comes behind it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// A key's value and the revision that wrote it.
pub type Version = (i64, String);

/// One change of the store's history.
#[derive(Clone, Debug)]
pub struct Change {
    pub revision: i64,
    pub key: String,
    pub value: String,
}

/// What a client was told.
#[derive(Clone, Debug)]
enum Told {
    /// The value is written, at this revision; `over` the version that it was made to depend on.
    Written { value: String, over: Option<i64> },
    /// It was not written, since the key was not at the revision `over`.
    Refused { over: i64 },
    /// What the key held, if it was there.
    Read(Option<Version>),
}

#[derive(Clone, Debug)]
struct Answer {
    key: String,
    revision: i64,
    told: Told,
}

/// See the module.
#[derive(Default)]
pub struct Record {
    /// The newest revision in any answer.
    newest: AtomicI64,
    /// Since the last check.
    answers: Mutex<Vec<Answer>>,
    /// Values that somebody tried to write and does not know what became of.
    open: Mutex<HashSet<String>>,
    /// When the first write of each term was acknowledged.
    terms: Mutex<BTreeMap<u64, Instant>>,
}

/// A moment before a request.
#[derive(Clone, Copy)]
pub struct Before(i64);

impl Record {
    pub fn begin(&self) -> Before {
        Before(self.newest.load(Ordering::SeqCst))
    }

    /// A write is about to be tried.
    pub fn tries(&self, value: &str) {
        self.open.lock().insert(value.to_owned());
    }

    pub fn written(
        &self,
        before: Before,
        key: &str,
        value: &str,
        over: Option<i64>,
        revision: i64,
        term: u64,
    ) {
        self.terms.lock().entry(term).or_insert_with(Instant::now);
        assert!(
            revision > before.0,
            "{value} was written at revision {revision}, after {}",
            before.0
        );
        self.open.lock().remove(value);
        let value = value.to_owned();
        self.answered(key, revision, Told::Written { value, over });
    }

    pub fn refused(&self, before: Before, key: &str, value: &str, over: i64, revision: i64) {
        assert!(
            revision >= before.0,
            "{key} was looked at in revision {revision}, after {}",
            before.0
        );
        self.open.lock().remove(value);
        self.answered(key, revision, Told::Refused { over });
    }

    pub fn read(&self, before: Before, key: &str, found: Option<Version>, revision: i64) {
        assert!(
            revision >= before.0,
            "{key} was read at revision {revision}, after {}",
            before.0
        );
        self.answered(key, revision, Told::Read(found));
    }

    fn answered(&self, key: &str, revision: i64, told: Told) {
        let key = key.to_owned();
        self.answers.lock().push(Answer {
            key,
            revision,
            told,
        });
        // Last: whoever sees it began after this answer.
        self.newest.fetch_max(revision, Ordering::SeqCst);
    }

    /// When the first write of a later term was acknowledged.
    pub fn first_after(&self, term: u64) -> Option<Instant> {
        let terms = self.terms.lock();
        terms.range(term + 1..).map(|(_, at)| *at).min()
    }

    /// How many writes have been acknowledged since the last check.
    pub fn acknowledged(&self) -> usize {
        let answers = self.answers.lock();
        let written = answers
            .iter()
            .filter(|answer| matches!(answer.told, Told::Written { .. }));
        written.count()
    }

    /// Holds all answers since the last check against the changes since then, and returns how many there were. `before` is
    /// what every key held, and is brought up to date. Nothing may be under way.
    ///
    /// # Panics
    /// At the first answer that the history does not bear out.
    pub fn check(&self, before: &mut HashMap<String, Version>, history: &[Change]) -> usize {
        let mut answers = std::mem::take(&mut *self.answers.lock());
        answers.sort_by_key(|answer| answer.revision);
        let mut open = self.open.lock();
        let acknowledged: HashMap<&str, i64> = answers
            .iter()
            .filter_map(|answer| match &answer.told {
                Told::Written { value, .. } => Some((&value[..], answer.revision)),
                _ => None,
            })
            .collect();
        let mut changes = history.iter().peekable();
        let mut overwritten = None;
        for answer in &answers {
            while let Some(change) = changes.next_if(|change| change.revision <= answer.revision) {
                // Written once: a value that was acknowledged where it was, another one if its client does not know.
                let expected = acknowledged.get(&change.value[..]) == Some(&change.revision)
                    || open.remove(&change.value);
                assert!(expected, "nobody wrote {change:?}, or not again");
                let version = (change.revision, change.value.clone());
                overwritten = before.insert(change.key.clone(), version);
            }
            let now = before.get(&answer.key);
            match &answer.told {
                Told::Written { value, over } => {
                    assert_eq!(
                        now,
                        Some(&(answer.revision, value.clone())),
                        "lost: {answer:?}"
                    );
                    if let Some(over) = over {
                        let was = overwritten.as_ref().map_or(0, |(revision, _)| *revision);
                        assert_eq!(was, *over, "{answer:?}");
                    }
                }
                Told::Refused { over } => {
                    assert_ne!(
                        now.map_or(0, |(revision, _)| *revision),
                        *over,
                        "{answer:?}"
                    );
                }
                Told::Read(found) => assert_eq!(now, found.as_ref(), "{answer:?}"),
            }
        }
        for change in changes {
            assert!(
                open.remove(&change.value),
                "nobody wrote {change:?}, or not again"
            );
            before.insert(change.key.clone(), (change.revision, change.value.clone()));
        }
        answers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: i64, key: &str, value: &str) -> Change {
        let (key, value) = (key.to_owned(), value.to_owned());
        Change {
            revision,
            key,
            value,
        }
    }

    /// Whether a history bears out what a client was told.
    fn holds(told: impl Fn(&Record), history: &[Change]) -> bool {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let record = Record::default();
            told(&record);
            record.check(&mut HashMap::new(), history);
        }));
        checked.is_ok()
    }

    fn write(record: &Record, value: &str, over: Option<i64>, revision: i64) {
        let before = record.begin();
        record.tries(value);
        record.written(before, "k", value, over, revision, 1);
    }

    #[test]
    fn every_kind_of_wrong_answer_is_found() {
        let history = [change(2, "k", "a"), change(3, "k", "b")];
        let both = |record: &Record| {
            write(record, "a", None, 2);
            write(record, "b", Some(2), 3);
        };
        assert!(holds(both, &history));
        // Lost, or there twice, or never asked for.
        assert!(!holds(both, &history[..1]));
        let again = [history[0].clone(), history[1].clone(), change(4, "k", "a")];
        assert!(!holds(both, &again));
        assert!(!holds(|_| {}, &history));
        // Its client does not know what became of it: both are right.
        let unknown = |record: &Record| record.tries("a");
        assert!(holds(unknown, &history[..1]) && holds(unknown, &[]));
        // A swap over what was not there, or refused although it was.
        let swap = |over| {
            move |record: &Record| {
                write(record, "a", None, 2);
                write(record, "b", Some(over), 3);
            }
        };
        assert!(!holds(swap(1), &history));
        let refused = |over| {
            move |record: &Record| {
                both(record);
                record.refused(record.begin(), "k", "c", over, 3);
            }
        };
        assert!(holds(refused(2), &history) && !holds(refused(3), &history));
        // A read of what was not there at its revision, and one of before what its client could know.
        let read = |revision: i64, found: Version| {
            move |record: &Record| {
                both(record);
                record.read(record.begin(), "k", Some(found.clone()), revision);
            }
        };
        assert!(holds(read(3, (3, "b".to_owned())), &history));
        assert!(!holds(read(3, (2, "a".to_owned())), &history));
        assert!(!holds(read(2, (2, "a".to_owned())), &history));
    }
}
