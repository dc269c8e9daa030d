//! What is on the disk of a member, and what other members send to it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is what is looked for")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fuzz_support::Choices;
#[cfg(test)]
use fuzz_support::Seed;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Message};
use raft::{GetEntriesContext, Storage as _};

use super::audit::{self, Tail};
use super::core::Disk as _;
use super::dir::Identity;
use super::floor;
#[cfg(test)]
use super::floor::Newest;
use super::frame::{Frame, ProposalId};
use super::log::{Opening, Position, RaftLog};
use super::offline;
use crate::command::Command;
use crate::command::fuzz::sealed;
use crate::error::OpenError;
use crate::member::Member;
use crate::mvcc::{State, rebuilt};
use crate::txn::Txn;

pub(crate) use super::snapshot::fuzz::snapshot;

/// Where the log of [`log_dir`] lies: in memory, if there is such a place.
const MEMORY: &str = "/dev/shm";

/// Frames of other members, and the headers of their snapshots. What is read must be written and read as the same.
///
/// # Panics
/// Where it is not so.
pub(crate) fn frame(data: &[u8]) {
    let _ = ProposalId::decode(data);
    let _ = Message::parse_from_bytes(data);
    if let Ok(frame) = Frame::decode(&Bytes::copy_from_slice(data)) {
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
    }
}

/// Entries of the log, one after the other, as a member applies them: commands and changes of the group.
///
/// # Panics
/// Where one that is refused changes something, or leaves a state that cannot be put together again.
pub(crate) fn entries(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut state = State::new();
    let member = |id: u64| Member {
        id,
        peer_urls: vec![format!("http://m{id}")],
        ..Member::default()
    };
    state.begin_group(vec![member(1), member(2)]);
    while !choices.is_empty() {
        let mut entry = Entry::default();
        let kind = choices.byte();
        let body = choices.bytes();
        entry.data = if kind & 1 == 0 {
            sealed(2, body).into()
        } else {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            Bytes::copy_from_slice(body)
        };
        let before = state.clone();
        if offline::replay(&mut state, &entry).is_err() {
            assert_eq!(state.revision(), before.revision());
            assert_eq!(state.members(), before.members());
        }
    }
    assert_eq!(rebuilt(&state).hash(0).unwrap(), state.hash(0).unwrap());
}

/// The files MEMBER and LOGS, as they are and with checksums that fit.
///
/// # Panics
/// Where what is read is not written as the same.
pub(crate) fn identity(data: &[u8]) {
    let identity = |bytes: &[u8]| {
        if let Ok(identity) = Identity::decode_file(bytes) {
            let again = Identity::decode_file(&identity.encode_file()).unwrap();
            assert!(again == identity);
        }
    };
    identity(data);
    // Magic, format, checksum.
    let mut file = Identity::default().encode_file()[..16].to_vec();
    let format = 1_u32;
    file[8..12].copy_from_slice(&format.to_le_bytes());
    file[12..16].copy_from_slice(&(crc32fast::hash(data) ^ format).to_le_bytes());
    file.extend_from_slice(data);
    identity(&file);

    let floor = |bytes: &[u8]| {
        if let Ok(newest) = floor::decode(bytes) {
            assert_eq!(floor::encode(newest), bytes);
        }
    };
    floor(data);
    let sealed = [data, &crc32fast::hash(data).to_le_bytes()].concat();
    floor(&sealed);
}

/// A log file as the audit sees it, in pieces that are damaged, or records whose checksums fit.
///
/// # Panics
/// Where something intact is not taken for that, or the tail is none.
pub(crate) fn log_file(data: &[u8]) {
    let _ = audit::check(data, 1);
    let (bytes, intact) = file_of(data);
    match audit::check(&bytes, 1) {
        Ok(Tail::Torn(at)) => assert!(at < bytes.len()),
        Ok(Tail::Clean) => {}
        Err(damage) => assert!(!intact, "{damage:?}"),
    }
}

/// A log file of records and of bytes as they are; and whether it has nothing but records.
fn file_of(data: &[u8]) -> (Vec<u8>, bool) {
    let mut choices = Choices::new(data);
    let mut file = audit::file_header();
    let mut intact = true;
    while !choices.is_empty() {
        match choices.below(4) {
            0 | 1 => {
                let (entries, items) = (choices.bytes(), choices.bytes());
                intact &= !items.is_empty();
                file.extend_from_slice(&audit::record_of(entries, items, 1));
            }
            2 => {
                let bytes = choices.bytes();
                intact &= bytes.is_empty();
                file.extend_from_slice(bytes);
            }
            _ => {
                let zeros = choices.below(256) * 16;
                intact &= zeros == 0;
                file.resize(file.len() + zeros, 0);
            }
        }
    }
    (file, intact)
}

/// The log of a member, damaged, opened as a member does.
///
/// # Panics
/// Where opening it panics, is refused without a name, or brings to light what was never written.
pub(crate) fn log_dir(data: &[u8]) {
    static INTACT: OnceLock<Vec<u8>> = OnceLock::new();
    let place = Path::new(MEMORY);
    let temporary = std::env::temp_dir();
    let place = if place.is_dir() { place } else { &temporary };
    let dir = place.join(format!("euston-fuzz-{}", std::process::id()));
    let log = dir.join("log");
    let fresh = || {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&log).unwrap();
    };
    let file = log.join("0000000000000001.raftlog");
    fresh();
    let intact = INTACT.get_or_init(|| {
        let mut log = open(&log).unwrap();
        for index in 1..=ENTRIES {
            let hard_state = HardState {
                term: 1,
                ..HardState::default()
            };
            log.append(&[entry(index)], Some(&hard_state), true)
                .unwrap();
        }
        drop(log);
        fs::read(&file).unwrap()
    });
    fresh();
    fs::write(&file, damaged(intact, data)).unwrap();
    match open(&log) {
        Ok(mut log) => {
            let last = log.last_index().unwrap();
            assert!(last <= ENTRIES && log.check().is_ok());
            for index in 1..=last {
                let read = log.entries(index, index + 1, None, GetEntriesContext::empty(false));
                assert_eq!(read.unwrap(), [entry(index)]);
            }
        }
        Err(OpenError::Corrupt { .. } | OpenError::UnknownFormat { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let _ = fs::remove_dir_all(&dir);
}

/// Entries of the log that is damaged: enough for one behind another in a sector, and one over several.
const ENTRIES: u64 = 6;

fn entry(index: u64) -> Entry {
    let value = vec![index as u8; if index == 3 { 1500 } else { 20 }];
    Entry {
        index,
        term: 1,
        data: Command::Txn(Txn::put("key", value)).encode().into(),
        ..Entry::default()
    }
}

fn open(log: &Path) -> Result<RaftLog, OpenError> {
    let start = Position { index: 0, term: 0 };
    let conf_state = ConfState::default();
    RaftLog::open(log, Arc::default(), start, conf_state, Opening::Continue)
}

/// What disks do: bits that flip, sectors and stretches that are zero, an end that is missing, space behind it.
fn damaged(intact: &[u8], data: &[u8]) -> Vec<u8> {
    let mut choices = Choices::new(data);
    let mut bytes = intact.to_vec();
    while !choices.is_empty() && !bytes.is_empty() {
        let kind = choices.below(5);
        let at = choices.number() as usize % bytes.len();
        let len = choices.below(256);
        let end = bytes.len().min(at + len);
        match kind {
            0 => bytes[at] ^= 1 << (len % 8),
            1 => bytes[at..end].fill(0),
            2 => {
                let sector = at - at % 512;
                let end = bytes.len().min(sector + 512);
                bytes[sector..end].fill(0);
            }
            3 => bytes.truncate(at),
            _ => bytes.resize(bytes.len() + len * 16, 0),
        }
        if bytes.len() > 1 << 16 {
            break;
        }
    }
    bytes
}

/// What a fuzzer begins with.
#[cfg(test)]
pub(crate) fn seeds() -> Vec<Seed> {
    use super::change::MemberChange;

    let one = |kind: u8, body: &[u8]| [vec![kind], Choices::written(body)].concat();
    let member = Member {
        id: 3,
        peer_urls: vec!["http://m3".to_owned()],
        ..Member::default()
    };
    let changes = [
        MemberChange::Add(member.clone()),
        MemberChange::Replace {
            gone: 1,
            new: member,
        },
        MemberChange::Promote(3),
        MemberChange::Remove(2),
    ];
    let changes = changes.iter().map(MemberChange::encode);
    let mut entries: Vec<u8> = changes.flat_map(|change| one(1, &change)).collect();
    for command in crate::command::bodies() {
        entries.extend(one(0, &command));
    }
    let identity = Identity {
        cluster_id: 1,
        member_id: 2,
        name: "n".to_owned(),
        joining: true,
    };
    let record = |kind: u8, entries: &[u8], items: &[u8]| {
        let parts = [Choices::written(entries), Choices::written(items)];
        [vec![kind], parts.concat()].concat()
    };
    let records = [record(0, b"entries", b"items"), record(1, b"", b"items")].concat();
    let torn = [records.clone(), vec![2, 4, 0, 1, 2, 3, 4, 3, 99]].concat();
    let mut seeds = vec![
        ("entries", entries),
        ("identity", identity.encode_file()),
        ("identity", identity.encode_file()[16..].to_vec()),
        ("identity", floor::encode(Newest([7, 3]))),
        ("log_file", records),
        ("log_file", torn),
        ("log_dir", Vec::new()),
        ("log_dir", vec![3, 200, 6, 0, 0, 0, 0, 0, 0, 0]),
        ("log_dir", vec![0, 200, 6, 0, 0, 0, 0, 0, 0, 1]),
        ("snapshot", super::snapshot::seed()),
        ("history", (0..=255).collect()),
    ];
    let frames = super::frame::tests::frames();
    seeds.extend(
        frames
            .iter()
            .map(|frame| ("frame", frame.encode().to_vec())),
    );
    seeds
}
