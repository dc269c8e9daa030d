//! Snapshots, intact and not.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use prost::Message as _;

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
    let cancelled = AtomicBool::new(false);
    let mut writer = Writer::new(Vec::new(), &cancelled);
    writer.write_state(&meta(), state).unwrap();
    writer.into_inner()
}

fn read(bytes: &[u8]) -> Result<(Meta, State), Unreadable> {
    Reader::new(bytes, bytes.len() as u64).read_state()
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
    let mut snapshot = written(&State::new())[..16].to_vec();
    for message in blocks {
        let len = (message.len() as u32).to_le_bytes();
        snapshot.extend_from_slice(&len);
        snapshot.extend_from_slice(&block_checksum(len, message).to_le_bytes());
        snapshot.extend_from_slice(message);
    }
    snapshot
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
fn format_1_is_read_and_format_3_refused_by_its_number() {
    let check = |format: u32| {
        let mut bytes = written(&State::new());
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        bytes[12..16].copy_from_slice(&crc32fast::hash(&format.to_le_bytes()).to_le_bytes());
        read(&bytes).map(drop)
    };
    assert!(check(1).is_ok());
    assert!(matches!(check(3), Err(Unreadable::Format(3))));
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
