//! Snapshots of blocks that are made up, with checksums that fit.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is what is looked for")]

use fuzz_support::Choices;
use prost::Message as _;

use super::reader::Contents;
use super::writer::block_checksum;
use super::*;
use crate::command::Command;
use crate::kv::KeyRange;
use crate::txn::Txn;

/// The bytes of a snapshot of a state.
pub(super) fn written_as(meta: &Meta, state: &State) -> Vec<u8> {
    let cancelled = AtomicBool::new(false);
    let mut writer = Writer::new(Vec::new(), &cancelled);
    writer.write_state(meta, state).unwrap();
    writer.into_inner()
}

pub(super) fn read(bytes: &[u8]) -> Result<(Meta, State), Unreadable> {
    read_all(bytes).map(|contents| (contents.meta, contents.state))
}

fn read_all(bytes: &[u8]) -> Result<Contents, Unreadable> {
    Reader::new(bytes, bytes.len() as u64).read_state(0)
}

/// A snapshot of these blocks, with checksums that match, and a hash in its last one if that is an end.
pub(super) fn sealed_as(format: u32, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut snapshot = MAGIC.to_vec();
    snapshot.extend_from_slice(&format.to_le_bytes());
    snapshot.extend_from_slice(&crc32fast::hash(&format.to_le_bytes()).to_le_bytes());
    for message in blocks {
        let mut message = message.clone();
        if let Ok(proto::Block {
            kind: Some(proto::Kind::End(mut end)),
        }) = proto::Block::decode(&message[..])
        {
            end.hash = if format < FORMAT_HASHED {
                Default::default()
            } else {
                blake3::hash(&snapshot).as_bytes().to_vec().into()
            };
            message = end_block(end);
        }
        let len = (message.len() as u32).to_le_bytes();
        snapshot.extend_from_slice(&len);
        snapshot.extend_from_slice(&block_checksum(len, &message).to_le_bytes());
        snapshot.extend_from_slice(&message);
    }
    snapshot
}

fn end_block(end: proto::End) -> Vec<u8> {
    let kind = Some(proto::Kind::End(end));
    proto::Block { kind }.encode_to_vec()
}

/// The end of these blocks.
fn end_of(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut end = proto::End {
        blocks: blocks.len() as u64,
        ..proto::End::default()
    };
    for block in blocks {
        match proto::Block::decode(&block[..]).map(|block| block.kind) {
            Ok(Some(proto::Kind::Keys(keys))) => end.keys += keys.kvs.len() as u64,
            Ok(Some(proto::Kind::Revisions(revisions))) => {
                end.revisions += revisions.revisions.len() as u64;
            }
            _ => {}
        }
    }
    end_block(end)
}

/// Reads the bytes as a snapshot, and as blocks of one whose checksums and end fit. What is read must be written and
/// read as the same, and be a state that can be worked with.
///
/// # Panics
/// Where it is not so.
pub(crate) fn snapshot(data: &[u8]) {
    let _ = read_all(data);
    let mut choices = Choices::new(data);
    let format = FORMAT_FIRST + u32::from(choices.byte()).wrapping_sub(FORMAT_FIRST) % FORMAT;
    let mut blocks = Vec::new();
    while !choices.is_empty() {
        blocks.push(choices.bytes().to_vec());
    }
    blocks.push(end_of(&blocks));
    let Ok((meta, mut state)) = read(&sealed_as(format, &blocks)) else {
        return;
    };
    let bytes = written_as(&meta, &state);
    let again = read_all(&bytes).unwrap_or_else(|_| panic!("what was written cannot be read"));
    assert_eq!(again.meta, meta);
    assert_eq!(written_as(&again.meta, &again.state), bytes);
    assert_eq!(again.state.hash(0).unwrap(), state.hash(0).unwrap());

    state.apply_command(&Command::Txn(Txn::put("a", "b")));
    let (keys, revision) = (state.hash(0).unwrap(), state.revision());
    state.apply_command(&Command::Txn(Txn::delete(KeyRange::all())));
    state.apply_command(&Command::Txn(Txn::put("a", "b")));
    assert_eq!(state.hash(revision).unwrap().hash, keys.hash);
    state.compact(state.revision()).unwrap();
    while state.sweep(1) {}
    assert_eq!(state.db_bytes(), state.db_bytes_in_use());
}
