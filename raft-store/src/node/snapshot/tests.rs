//! Snapshots, intact and not.

use fuzz_support::Choices;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use prost::Message as _;

use super::fuzz::{read, sealed_as, written_as};
use super::writer::block_checksum;
use super::*;
use crate::command::Command;
use crate::kv::KeyRange;
use crate::member::{Alarm, Member};
use crate::txn::{Op, Txn};

/// A state with some of everything.
fn full() -> State {
    let mut state = State::new();
    for id in [5, 7] {
        state.set_member(Member {
            id,
            name: format!("m{id}"),
            peer_urls: vec!["https://127.0.0.1:1".to_owned()],
            client_urls: vec![],
            learner: id == 7,
        });
    }
    state.remove_member(6);
    let put = |key: &str, lease| Op::put_with_lease(key.to_owned(), "value", lease);
    let txn = |success| {
        Command::Txn(Txn {
            success,
            ..Txn::default()
        })
    };
    let grant = |id| Command::LeaseGrant {
        id,
        ttl_seconds: 60,
    };
    let commands = [
        grant(i64::MIN),
        grant(2),
        grant(3),
        txn(vec![put("a", 2), put("b", 3), put("c", 0)]),
        txn(vec![put("a", i64::MIN), put("d", 3)]),
        Command::Compact(2),
        // History may speak of leases that are no more.
        Command::LeaseRevoke { id: 3 },
        txn(vec![Op::Delete {
            range: KeyRange::key("c"),
            prev_kv: false,
        }]),
        Command::Alarm {
            member: 5,
            alarm: Alarm::NoSpace,
            on: true,
        },
    ];
    for command in commands {
        state.apply_command(&command);
    }
    assert_eq!(state.revision(), 5);
    state
}

fn meta() -> Meta {
    Meta {
        cluster_id: 1,
        position: Position { index: 9, term: 2 },
        conf_state: ConfState {
            voters: vec![5],
            learners: vec![7],
            ..ConfState::default()
        },
    }
}

fn written(state: &State) -> Vec<u8> {
    written_as(&meta(), state)
}

/// The messages of the blocks of a snapshot.
fn blocks(snapshot: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &snapshot[16..];
    let mut found = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let (message, behind) = behind[4..].split_at(u32::from_le_bytes(*len) as usize);
        found.push(message.to_vec());
        rest = behind;
    }
    found
}

/// A snapshot of these blocks, with checksums that match.
fn sealed(blocks: &[Vec<u8>]) -> Vec<u8> {
    sealed_as(FORMAT, blocks)
}

/// As a fuzzer begins with it: the format, and every block but the end.
pub(in crate::node) fn seed() -> Vec<u8> {
    let blocks = blocks(&written(&full()));
    let (_, blocks) = blocks.split_last().unwrap();
    let blocks = blocks.iter().map(|block| Choices::written(block));
    [vec![FORMAT as u8], blocks.collect::<Vec<_>>().concat()].concat()
}

#[test]
fn everything_comes_back() {
    let state = full();
    let bytes = written(&state);
    assert_eq!(sealed(&blocks(&bytes)), bytes);
    let Ok((meta_again, again)) = read(&bytes) else {
        panic!("unreadable");
    };
    assert_eq!(meta_again, meta());
    assert_eq!(written(&again), bytes);
    assert_eq!(again.members(), state.members());
    assert_eq!(again.alarms(), state.alarms());
    assert!(again.is_removed(6));
    assert!(again.leases().eq(state.leases()));
    assert_eq!(again.lease_keys(i64::MIN), ["a"]);
    assert_eq!(again.hash(0).unwrap(), state.hash(0).unwrap());
    assert_eq!(again.hash(3).unwrap(), state.hash(3).unwrap());
    assert_eq!(again.db_bytes(), state.db_bytes_in_use());
}

#[test]
fn a_key_on_a_lease_that_is_not_there_is_damage() {
    let mut blocks = blocks(&written(&full()));
    // Head, group, leases, keys, revisions, end.
    blocks[2].clear();
    proto::Block {
        kind: Some(proto::Kind::Leases(proto::Leases::default())),
    }
    .encode(&mut blocks[2])
    .unwrap();
    let refused = read(&sealed(&blocks)).map(drop);
    assert!(matches!(refused, Err(Unreadable::Corrupt(what)) if what.contains("lease")));
}

#[test]
fn earlier_formats_are_read_and_the_next_refused_by_its_number() {
    let check = |format| read(&sealed_as(format, &blocks(&written(&full())))).map(drop);
    for known in FORMAT_FIRST..=FORMAT {
        assert!(check(known).is_ok(), "{known}");
    }
    let next = FORMAT + 1;
    assert!(matches!(check(next), Err(Unreadable::Format(format)) if format == next));
}

#[test]
fn intact_blocks_of_another_snapshot_are_noticed() {
    let one = written(&full());
    let mut mixed = blocks(&one);
    // The same keys at the same revisions, one with another value: all numbers fit.
    let value = mixed[4].windows(5).position(|bytes| bytes == b"value");
    let value = value.unwrap();
    mixed[4][value..value + 5].copy_from_slice(b"eulav");
    let end = mixed.last().unwrap().clone();
    let mut spliced = sealed(&mixed);
    // With the end of the first one, hash included.
    let message = end.len();
    let at = spliced.len() - message;
    spliced[at..].copy_from_slice(&end);
    let checksum = block_checksum((message as u32).to_le_bytes(), &end);
    spliced[at - 4..at].copy_from_slice(&checksum.to_le_bytes());
    let refused = read(&spliced).map(drop);
    assert!(matches!(refused, Err(Unreadable::Corrupt(what)) if what.contains("hash")));
}

#[test]
fn a_snapshot_is_read_as_etcds_clients_save_it() {
    use sha2::Digest as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved");
    let bytes = written(&full());
    let mut saved = bytes.clone();
    saved.resize(bytes.len().next_multiple_of(512), 0);
    saved.extend_from_slice(&sha2::Sha256::digest(&saved));
    let check = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        read_backup(&path).map(|loaded| loaded.state.revision())
    };
    assert_eq!(check(&bytes).unwrap(), 5);
    assert_eq!(check(&saved).unwrap(), 5);
    for len in 0..saved.len() {
        assert_eq!(
            check(&saved[..len]).is_ok(),
            len == bytes.len(),
            "{len} bytes"
        );
    }
    for byte in 0..saved.len() {
        let mut damaged = saved.clone();
        damaged[byte] ^= 1;
        assert!(check(&damaged).is_err(), "byte {byte}");
    }
    // It is no snapshot of a member's own.
    fs::write(&path, &saved).unwrap();
    assert!(super::read(&path).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_blocks_say_reading_them_returns(
        changes in vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..4),
        moved in any::<Option<(Index, Index)>>(),
    ) {
        let mut blocks = blocks(&written(&full()));
        for (block, at, byte) in changes {
            let block = block.index(blocks.len());
            let at = at.index(blocks[block].len());
            blocks[block][at] = byte;
        }
        if let Some((one, other)) = moved {
            let (one, other) = (one.index(blocks.len()), other.index(blocks.len()));
            blocks.swap(one, other);
        }
        if let Ok((_, mut state)) = read(&sealed(&blocks)) {
            // What was read can be worked with.
            let _ = written(&state);
            state.apply_command(&Command::Txn(Txn::delete(KeyRange::all())));
            state.apply_command(&Command::Txn(Txn::put("a", "b")));
            let _ = state.compact(state.revision());
            while state.sweep(1) {}
        }
    }
}
