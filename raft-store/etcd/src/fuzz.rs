//! Fuzz target: the requests of etcd's clients, translated, done by the store's state machine, and answered.
//! `raft-store/fuzz` has its binary; see docs/fuzzing.md. Not part of the public interface.

use fuzz_support::{Choices, Target};
use prost::Message;
use raft_store::RangeRequest;
use raft_store::machine::Machine;
use tonic::Status;

use crate::config::EtcdConfig;
use crate::etcdserverpb as pb;
use crate::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::etcdserverpb::watch_request::Request as Watch;
use crate::mvccpb;
use crate::translate::{self, key_range};
use crate::watch::split;

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("etcd_requests", etcd_requests)];

/// A server has them for hours; here the reference below sorts all keys for each.
const REQUESTS_MAX: usize = 32;

/// Requests of several kinds, one after the other: each byte for byte as it could arrive.
///
/// # Panics
/// Where an answer cannot be encoded and read again, or a read is answered with something else than a simpler
/// implementation finds.
pub fn etcd_requests(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut machine = Machine::default();
    let mut left = REQUESTS_MAX;
    while !choices.is_empty() && left > 0 {
        left -= 1;
        let kind = choices.below(8);
        let message = choices.bytes();
        // A refusal is an answer as well.
        let _ = answer(&mut machine, kind, message);
    }
}

fn answer(machine: &mut Machine, kind: usize, message: &[u8]) -> Result<(), Status> {
    match kind {
        0 | 1 => {
            let request: pb::TxnRequest = decode(message)?;
            let ops_max = EtcdConfig::default().txn_ops_max;
            let (txn, branches) = translate::txn(request, ops_max)?;
            let answer = machine.txn(&txn).map_err(|e| translate::status_of(&e))?;
            check(&translate::txn_response(answer, &branches, header()));
        }
        2 => {
            let request: pb::RangeRequest = decode(message)?;
            let expect = expected(machine, request.clone());
            let got = range(machine, request);
            assert_eq!(got.as_ref().ok(), expect.as_ref());
            check(&translate::range_response(
                raft_store::RangeResponse {
                    revision: 1,
                    kvs: Vec::new(),
                    count: usize::MAX,
                    more: true,
                },
                header(),
            ));
        }
        3 => {
            let op = translate::put(decode(message)?)?;
            one(machine, op)?;
        }
        4 => {
            let op = translate::delete(decode(message)?)?;
            one(machine, op)?;
        }
        5 => {
            let request: pb::WatchRequest = decode(message)?;
            if let Some(Watch::Create(create)) = request.request {
                drop(translate::watch_range(create.key, create.range_end));
            }
        }
        6 => {
            let request: pb::MemberAddRequest = decode(message)?;
            for url in translate::peer_urls(request.peer_urls)? {
                assert!(url.starts_with("http"), "{url}");
            }
        }
        _ => {
            let response: pb::WatchResponse = decode(message)?;
            pieces(response.events);
        }
    }
    Ok(())
}

/// Events that are split stay as they are, in their order.
fn pieces(events: Vec<mvccpb::Event>) {
    let split = split(events.clone(), 64);
    assert!(split.iter().all(|piece| {
        let bytes: usize = piece.iter().map(Message::encoded_len).sum();
        piece.len() <= 1 || bytes <= 64
    }));
    assert_eq!(split.concat(), events);
}

fn one(machine: &mut Machine, op: raft_store::Op) -> Result<(), Status> {
    let txn = raft_store::Txn {
        success: vec![op],
        ..raft_store::Txn::default()
    };
    let done = machine.txn(&txn);
    done.map(drop).map_err(|e| translate::status_of(&e))
}

fn range(machine: &Machine, request: pb::RangeRequest) -> Result<Vec<mvccpb::KeyValue>, Status> {
    let (read, finish) = translate::range(request)?;
    let answer = machine.range(&read);
    let mut answer = answer.map_err(|e| translate::status_of(&e))?;
    if let Some(finish) = finish {
        finish.apply(&mut answer);
    }
    let response = translate::range_response(answer, header());
    check(&response);
    Ok(response.kvs)
}

/// A read as etcd's documentation has it, said once more: all keys of the range, filtered, sorted, cut off.
fn expected(machine: &Machine, request: pb::RangeRequest) -> Option<Vec<mvccpb::KeyValue>> {
    let order = SortOrder::try_from(request.sort_order).ok()?;
    let target = SortTarget::try_from(request.sort_target).ok()?;
    let all = RangeRequest {
        at_revision: u64::try_from(request.revision).ok().filter(|at| *at > 0),
        ..RangeRequest::new(key_range(request.key, request.range_end).ok()?)
    };
    let answer = translate::range_response(machine.range(&all).ok()?, header());
    if request.count_only {
        return Some(Vec::new());
    }
    let between =
        |revision, min, max| (min == 0 || revision >= min) && (max == 0 || revision <= max);
    let (min_mod, max_mod) = (request.min_mod_revision, request.max_mod_revision);
    let (min_create, max_create) = (request.min_create_revision, request.max_create_revision);
    let mut kvs = answer.kvs;
    kvs.retain(|kv| {
        between(kv.mod_revision, min_mod, max_mod)
            && between(kv.create_revision, min_create, max_create)
    });
    // By the key where it is the same: they come in that order, and neither direction changes it.
    match target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
    }
    if order == SortOrder::Descend {
        let mut groups: Vec<Vec<mvccpb::KeyValue>> = Vec::new();
        for kv in kvs {
            let same = |other: &mvccpb::KeyValue| match target {
                SortTarget::Key => false,
                SortTarget::Version => other.version == kv.version,
                SortTarget::Create => other.create_revision == kv.create_revision,
                SortTarget::Mod => other.mod_revision == kv.mod_revision,
                SortTarget::Value => other.value == kv.value,
            };
            match groups.last_mut() {
                Some(group) if group.last().is_some_and(same) => group.push(kv),
                _ => groups.push(vec![kv]),
            }
        }
        groups.reverse();
        kvs = groups.concat();
    }
    if let Some(limit) = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0)
    {
        kvs.truncate(limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    Some(kvs)
}

fn header() -> pb::ResponseHeader {
    pb::ResponseHeader {
        revision: 1,
        ..pb::ResponseHeader::default()
    }
}

fn decode<M: Message + Default>(message: &[u8]) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// What is sent can be read.
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(response: &M) {
    let again = M::decode(&response.encode_to_vec()[..]);
    assert_eq!(again.as_ref(), Ok(response));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fuzz_support::{Seed, replay};

    use super::*;
    use crate::etcdserverpb::request_op::Request as Step;

    fn seeds() -> Vec<Seed> {
        let put = |key: &str| pb::PutRequest {
            key: key.to_owned().into(),
            value: "v".into(),
            ..pb::PutRequest::default()
        };
        let read = pb::RangeRequest {
            key: "a".into(),
            range_end: "z".into(),
            limit: 2,
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Version.into(),
            ..pb::RangeRequest::default()
        };
        let delete = pb::DeleteRangeRequest {
            key: "b".into(),
            range_end: "c".into(),
            prev_kv: true,
        };
        let step = |request| pb::RequestOp {
            request: Some(request),
        };
        let nested = pb::TxnRequest {
            success: vec![step(Step::DeleteRange(delete.clone()))],
            ..pb::TxnRequest::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![pb::Compare {
                key: "a".into(),
                ..pb::Compare::default()
            }],
            success: vec![step(Step::Put(put("c"))), step(Step::Txn(nested))],
            failure: vec![step(Step::Range(read.clone()))],
        };
        let watch = pb::WatchRequest {
            request: Some(Watch::Create(pb::WatchCreateRequest {
                key: "a".into(),
                ..pb::WatchCreateRequest::default()
            })),
        };
        let add = pb::MemberAddRequest {
            peer_urls: vec!["http://a:1".to_owned()],
            ..pb::MemberAddRequest::default()
        };
        let one = |kind: u8, message: Vec<u8>| [vec![kind], Choices::written(&message)].concat();
        let parts = [
            one(3, put("a").encode_to_vec()),
            one(3, put("b").encode_to_vec()),
            one(2, read.encode_to_vec()),
            one(0, txn.encode_to_vec()),
            one(4, delete.encode_to_vec()),
            one(5, watch.encode_to_vec()),
            one(6, add.encode_to_vec()),
        ];
        let mut seeds: Vec<Seed> = vec![("etcd_requests", parts.concat())];
        seeds.extend(parts.map(|part| ("etcd_requests", part)));
        seeds
    }

    #[test]
    fn the_corpus_finds_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        replay(&corpus, TARGETS, &seeds());
    }
}
