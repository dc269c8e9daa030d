//! Commands, intact and not.

use bytes::Bytes;
use fuzz_support::Seed;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::kv::KeyRange;
use crate::member::{Alarm, Member};
use crate::mvcc::State;
use crate::txn::{Compare, CompareOp, Op, RangeRequest, TXN_DEPTH_MAX, Txn};

fn every_shape() -> Command {
    let key = Bytes::from_static(b"k");
    let ops = [
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::Less,
    ];
    let compare = ops.into_iter().flat_map(|op| {
        let key = key.clone();
        [
            Compare::mod_revision(key.clone(), op, 7),
            Compare::create_revision(key.clone(), op, 0),
            Compare::version(key.clone(), op, u64::MAX),
            Compare::value(key.clone(), op, ""),
            Compare::lease(key, op, -1),
        ]
    });
    let mut compare: Vec<Compare> = compare.collect();
    let ranges = [
        KeyRange::key("a"),
        KeyRange::between("a", "b"),
        KeyRange::between("a", ""),
        KeyRange::from_key("a"),
        KeyRange::all(),
    ];
    compare.extend(
        ranges
            .iter()
            .map(|range| Compare::version("", CompareOp::Equal, 1).over(range.clone())),
    );
    let mut success: Vec<Op> = ranges
        .iter()
        .map(|range| Op::Delete {
            range: range.clone(),
            prev_kv: true,
        })
        .collect();
    success.extend(ranges.into_iter().map(|range| {
        Op::Range(RangeRequest {
            at_revision: Some(3),
            limit: 9,
            keys_only: true,
            count_only: true,
            ..RangeRequest::new(range)
        })
    }));
    let put = Op::Put {
        key,
        value: vec![0; 99].into(),
        lease: i64::MIN,
        ignore_value: true,
        ignore_lease: true,
    };
    let nested = Txn {
        compare: compare.clone(),
        success: vec![Op::Txn(Txn::put("a", "b"))],
        failure: vec![put.clone()],
    };
    success.push(Op::Txn(nested));
    Command::Txn(Txn {
        compare,
        success,
        failure: vec![put, Op::put("k", "v")],
    })
}

/// Every kind of command, encoded, without its header.
pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let body = |command: &Command| command.encode()[HEADER_BYTES..].to_vec();
    every_command().iter().map(body).collect()
}

/// What a fuzzer begins with.
pub(crate) fn seeds() -> Vec<Seed> {
    let seed = |body: Vec<u8>| ("command", [vec![FORMAT - FORMAT_FIRST], body].concat());
    bodies().into_iter().map(seed).collect()
}

/// A transaction in a transaction in a transaction ..
fn nested(depth: usize) -> Txn {
    (1..depth).fold(Txn::put("k", "v"), |inner, _| Txn {
        failure: vec![Op::Txn(inner)],
        ..Txn::default()
    })
}

fn every_command() -> Vec<Command> {
    let member = Member {
        id: u64::MAX,
        name: "n".to_owned(),
        peer_urls: vec!["https://127.0.0.1:1".to_owned(), String::new()],
        client_urls: vec!["https://127.0.0.1:2".to_owned()],
        learner: true,
    };
    vec![
        every_shape(),
        Command::Txn(Txn::default()),
        Command::Compact(12),
        Command::LeaseGrant {
            id: i64::MIN,
            ttl_seconds: -1,
        },
        Command::LeaseRevoke { id: 0 },
        Command::SetMember(member),
        Command::SetMember(Member::default()),
        Command::Alarm {
            member: 7,
            alarm: Alarm::NoSpace,
            on: true,
        },
        Command::Alarm {
            member: 0,
            alarm: Alarm::Corrupt,
            on: false,
        },
    ]
}

#[test]
fn commands_survive_the_log() {
    for command in every_command() {
        assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(&command));
    }
}

#[test]
fn the_deepest_transaction_survives_the_log_and_one_without_end_is_refused() {
    let deepest = Command::Txn(nested(TXN_DEPTH_MAX));
    assert_eq!(Command::decode(&deepest.encode()).as_ref(), Ok(&deepest));
    let hostile = Command::Txn(nested(2000));
    let decoded = Command::decode(&hostile.encode());
    assert!(
        matches!(decoded, Err(DecodeError::Protobuf(_))),
        "{decoded:?}"
    );
}

#[test]
fn what_format_1_had_is_still_read() {
    let mut bytes = Command::Txn(Txn {
        compare: vec![Compare::version("k", CompareOp::Less, 3)],
        ..Txn::put("k", "v")
    })
    .encode();
    bytes[0] = 1;
    // compare { key: "k", op: LESS, version: 3 }, success { put { key: "k", value: "v" } }
    let body = b"\x0a\x13\x0a\x07\x0a\x01k\x10\x04\x28\x03\x12\x08\x0a\x06\x0a\x01k\x12\x01v";
    assert_eq!(&bytes[HEADER_BYTES..], body);
    assert!(Command::decode(&bytes).is_ok());
}

/// With a checksum that matches, so that it is the decoder that must cope.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut entry = vec![FORMAT];
    entry.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    entry.extend_from_slice(body);
    entry
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_bytes_the_decoder_returns(
        which in 0..9_usize,
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in any::<Option<Index>>(),
        twice in any::<bool>(),
    ) {
        let mut body = every_command().swap_remove(which).encode()[HEADER_BYTES..].to_vec();
        if twice {
            body.extend_from_within(..);
        }
        // No command is encoded in no bytes.
        for (at, byte) in &changes {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len() + 1));
        }
        if let Ok(command) = Command::decode(&sealed(&body)) {
            // What came in can go out again, and be applied.
            let again = Command::decode(&command.encode());
            prop_assert_eq!(again.as_ref(), Ok(&command));
            State::new().apply_command(&command);
        }
    }

    #[test]
    fn no_bytes_at_all_upset_the_decoder(body in vec(any::<u8>(), 0..64)) {
        let _ = Command::decode(&body);
        let _ = Command::decode(&sealed(&body));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = every_shape().encode();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Command::decode(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_noticed() {
    let bytes = every_shape().encode();
    for len in 0..bytes.len() {
        assert!(Command::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn an_unknown_format_is_refused_by_its_number() {
    let mut bytes = Command::Compact(1).encode();
    bytes[0] = 9;
    assert_eq!(Command::decode(&bytes), Err(DecodeError::Format(9)));
}
