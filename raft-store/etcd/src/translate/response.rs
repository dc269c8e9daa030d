//! What the store answered, as messages. Keys and values are shared, not copied.

use raft_store::{Event, EventKind, KeyValue, RangeResponse};

use super::{wire, wire_count};
use crate::etcdserverpb as pb;
use crate::mvccpb;

pub(crate) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: wire(kv.create_revision),
        mod_revision: wire(kv.mod_revision),
        version: wire(kv.version),
        value: kv.value,
        lease: kv.lease,
    }
}

pub(crate) fn range_response(
    answer: RangeResponse,
    header: pb::ResponseHeader,
) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        more: answer.more,
        count: wire_count(answer.count),
        kvs: answer.kvs.into_iter().map(key_value).collect(),
    }
}

/// `prev_kv` is `None` where the key was created, or the request does not want it.
pub(crate) fn put_response(
    prev_kv: Option<KeyValue>,
    header: pb::ResponseHeader,
) -> pb::PutResponse {
    pb::PutResponse {
        header: Some(header),
        prev_kv: prev_kv.map(key_value),
    }
}

pub(crate) fn delete_response(
    deleted: u64,
    prev_kvs: Vec<KeyValue>,
    header: pb::ResponseHeader,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
        prev_kvs: prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// An event as a watch shows it, with the key before only where it was asked for.
pub(crate) fn event(event: &Event, prev_kv: bool) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv.clone())),
        prev_kv: event
            .prev_kv
            .as_ref()
            .filter(|_| prev_kv)
            .map(|kv| key_value(kv.clone())),
    }
}
