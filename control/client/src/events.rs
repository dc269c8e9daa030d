//! Recording core/v1 Events without ever making the recorder wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::errors;
use crate::event_log::{EventLog, Occurrence, Write};

/// Occurrences that wait to be written: some 4 MB. Beyond it the oldest is dropped and counted:
/// events are a courtesy and must not cost memory or time without limit.
const QUEUE_MAX: usize = 8192;

/// Writes in flight. Few, so that a burst of events leaves the API to the work itself.
const WRITES_MAX: usize = 4;

/// One write, and how often it is tried when the server does not answer.
const WRITE_MOST: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;

/// Kubernetes' bound on the length of an event's message, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The two kinds of Event that `kubectl describe` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Something that a person may have to look at.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What an Event about `object` refers to.
#[must_use]
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Occurrence>,
    dropped: u64,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
}

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.wake.notify_one();
    }
}

/// Records events about objects. Never blocks; repeats raise a count, floods are cut off, and a
/// server that does not answer costs nothing but the events. Cloning shares the queue; the task
/// behind it ends after the last clone is gone and the queue is empty.
#[derive(Clone)]
pub struct EventRecorder {
    handle: Arc<Handle>,
}

impl EventRecorder {
    /// Starts recording as `component` (as `kubectl describe` names it under "From"), on `host` if the
    /// component belongs to a node. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(client: Client, component: &str, host: Option<String>) -> Self {
        let shared = Arc::new(Shared::default());
        tokio::spawn(write_out(
            client,
            shared.clone(),
            EventLog::new(component.to_owned(), host),
        ));
        Self {
            handle: Arc::new(Handle(shared)),
        }
    }

    /// Notes that something happened to the object `about`. `reason` is one CamelCase word,
    /// `message` a sentence for people (cut at 1,024 bytes).
    pub fn event(
        &self,
        about: &ObjectReference,
        type_: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut message: String = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let mut end = MESSAGE_BYTES_MAX - '…'.len_utf8();
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        let occurrence = Occurrence {
            about: about.clone(),
            type_: type_.as_str(),
            reason: reason.to_owned(),
            message,
            at: Timestamp::now(),
        };
        let shared = &self.handle.0;
        let mut queue = shared.queue.lock();
        if queue.waiting.len() >= QUEUE_MAX {
            queue.waiting.pop_front();
            queue.dropped += 1;
        }
        queue.waiting.push_back(occurrence);
        drop(queue);
        shared.wake.notify_one();
    }
}

async fn write_out(client: Client, shared: Arc<Shared>, mut log: EventLog) {
    loop {
        let (batch, dropped) = {
            let mut queue = shared.queue.lock();
            if queue.waiting.is_empty() && queue.closed {
                return;
            }
            (
                std::mem::take(&mut queue.waiting),
                std::mem::take(&mut queue.dropped),
            )
        };
        if dropped > 0 {
            warn!(
                dropped,
                "events were recorded faster than the API took them; the oldest were dropped"
            );
        }
        if batch.is_empty() {
            shared.wake.notified().await;
            continue;
        }
        // One write per Event object, with its newest count.
        let mut writes: HashMap<String, Write> = HashMap::default();
        for occurrence in batch {
            if let Some(write) = log.record(occurrence) {
                let name = write.event.metadata.name.clone().unwrap_or_default();
                let new = write.new || writes.get(&name).is_some_and(|earlier| earlier.new);
                writes.insert(name, Write { new, ..write });
            }
        }
        futures::stream::iter(writes.into_values())
            .for_each_concurrent(WRITES_MAX, |write| send(client.clone(), write))
            .await;
    }
}

async fn send(client: Client, write: Write) {
    let api: Api<Event> = Api::namespaced(
        client,
        write
            .event
            .metadata
            .namespace
            .as_deref()
            .unwrap_or("default"),
    );
    let name = write.event.metadata.name.as_deref().unwrap_or_default();
    let mut create = write.new;
    for attempt in 1..=TRIES {
        let call = async {
            if create {
                api.create(&PostParams::default(), &write.event).await
            } else {
                let patch = serde_json::json!({
                    "count": write.event.count,
                    "lastTimestamp": write.event.last_timestamp,
                    "message": write.event.message,
                });
                api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await
            }
        };
        let error = match tokio::time::timeout(WRITE_MOST, call).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) if create && errors::is_already_exists(&error) => return,
            // The server forgot it (events expire): write it anew.
            Ok(Err(error)) if !create && errors::is_not_found(&error) => {
                create = true;
                continue;
            }
            Ok(Err(error)) if !errors::outcome_unknown(&error) => {
                debug!(event = name, reason = write.event.reason, %error, "the API refused an event");
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {WRITE_MOST:?}"),
        };
        debug!(
            event = name,
            reason = write.event.reason,
            attempt,
            error,
            "cannot write an event"
        );
        tokio::time::sleep(Duration::from_millis(100) * attempt).await;
    }
}
