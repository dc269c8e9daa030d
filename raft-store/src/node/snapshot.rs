//! Snapshots on disk.
//!
//! ```text
//! "EUSTSNAP" | u32 format | u32 crc32 of the format | block .. | end block
//! block: u32 length | u32 crc32 of length and message | Block, protobuf
//! ```
//! Numbers are little endian. The first block is the head, then come a block of the group, blocks of leases, blocks of
//! keys as they were at the compaction point, blocks of revisions since, and the end, which counts what came before it. A file is written under another
//! name and renamed when it is complete and synced.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use bytes::Bytes;
use prost::Message;
use raft::eraftpb::ConfState;

use super::dir::{sync_dir, write_whole};
use super::log::Position;
use crate::command::{self, DecodeError};
use crate::error::{OpenError, StopCause};
use crate::kv::KeyValue;
use crate::member::Alarm;
use crate::mvcc::{Change, Restore, State};

const MAGIC: &[u8; 8] = b"EUSTSNAP";
/// Written. Format 1, which had neither group nor leases, is read too.
const FORMAT: u32 = 2;
const FORMAT_FIRST: u32 = 1;
const EXTENSION: &str = "snapshot";
/// Of a snapshot from another member while log and state are being replaced by it.
const INSTALLING: &str = "installing";
/// Blocks are closed at about this size.
const BLOCK_BYTES: usize = 1 << 20;
/// Leases in a block: about as many bytes.
const BLOCK_LEASES: usize = 1 << 16;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Meta {
    pub(super) cluster_id: u64,
    /// The last entry whose effect is in it.
    pub(super) position: Position,
    /// The group as of that entry.
    pub(super) conf_state: ConfState,
}

impl Meta {
    /// Of a copy that no log goes on from.
    pub(super) fn of_no_log(cluster_id: u64) -> Self {
        Self {
            cluster_id,
            position: Position { index: 0, term: 0 },
            conf_state: ConfState::default(),
        }
    }
}

/// A snapshot read back.
pub(super) struct Loaded {
    pub(super) meta: Meta,
    pub(super) state: State,
    pub(super) bytes: u64,
}

/// Writes a snapshot, then removes those before it. Returns its size in bytes.
pub(super) fn write(
    dir: &Path,
    meta: &Meta,
    state: &State,
    cancelled: &AtomicBool,
) -> io::Result<u64> {
    let path = dir.join(format!(
        "{:016x}-{:016x}.{EXTENSION}",
        meta.position.index, meta.position.term
    ));
    let mut bytes = 0;
    write_whole(&path, |file| {
        let mut writer = Writer {
            out: BufWriter::with_capacity(BLOCK_BYTES, file),
            end: proto::End::default(),
            bytes: 0,
            cancelled,
        };
        writer.write_state(meta, state)?;
        bytes = writer.bytes;
        writer.out.flush()
    })?;
    for old in list(dir)? {
        if old != path {
            fs::remove_file(old)?;
        }
    }
    sync_dir(dir)?;
    Ok(bytes)
}

/// Finds the newest snapshot; `None` if there is none.
pub(super) fn newest(dir: &Path) -> Result<Option<PathBuf>, OpenError> {
    let snapshots = list(dir).map_err(OpenError::io("listing", dir))?;
    // The names sort by index.
    Ok(snapshots.into_iter().max())
}

/// Reads a snapshot.
pub(super) fn read(path: &Path) -> Result<Loaded, OpenError> {
    let file = File::open(path).map_err(OpenError::io("opening", path))?;
    let left = file
        .metadata()
        .map_err(OpenError::io("measuring", path))?
        .len();
    let mut reader = Reader {
        input: BufReader::with_capacity(BLOCK_BYTES, file),
        left,
    };
    match reader.read_state() {
        Ok((meta, state)) => Ok(Loaded {
            meta,
            state,
            bytes: left,
        }),
        Err(Unreadable::Format(found)) => Err(OpenError::UnknownFormat {
            file: path.to_owned(),
            found,
            supported: FORMAT,
        }),
        Err(Unreadable::Corrupt(what)) => Err(OpenError::Corrupt {
            file: path.to_owned(),
            what,
        }),
        Err(Unreadable::Io(error)) => Err(OpenError::io("reading", path)(error)),
    }
}

/// Makes a snapshot that was taken in from another member the one of this member. The log is begun anew by `install`
/// in the middle of it: until then the snapshot has a name of its own, by which a start after a crash knows that it has to
/// go on from here.
pub(super) fn keep(
    received: &Path,
    position: Position,
    install: &mut dyn FnMut() -> Result<(), StopCause>,
) -> Result<(), StopCause> {
    let installing = received.with_file_name(format!(
        "{:016x}-{:016x}.{INSTALLING}",
        position.index, position.term
    ));
    rename(received, &installing)?;
    install()?;
    finish_keeping(&installing)
}

/// The last step of [`keep`]: what is installed becomes the newest snapshot.
pub(super) fn finish_keeping(installing: &Path) -> Result<(), StopCause> {
    rename(installing, &installing.with_extension(EXTENSION))
}

/// A snapshot whose installation a crash interrupted.
pub(super) fn interrupted(dir: &Path) -> Result<Option<PathBuf>, OpenError> {
    let found = list_of(dir, INSTALLING).map_err(OpenError::io("listing", dir))?;
    Ok(found.into_iter().max())
}

fn rename(from: &Path, to: &Path) -> Result<(), StopCause> {
    fs::rename(from, to)
        .and_then(|()| sync_dir(to.parent().unwrap_or(Path::new("."))))
        .map_err(|error| StopCause::Disk {
            what: format!("renaming {} to {}", from.display(), to.display()),
            error: error.to_string().into(),
        })
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    list_of(dir, EXTENSION)
}

fn list_of(dir: &Path, wanted: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == wanted)
        {
            found.push(path);
        }
    }
    Ok(found)
}

/// A snapshot as a stream: the bytes of its file, in chunks of about 1 MiB. Getting the next one may block; they are made
/// no faster than they are taken.
pub struct Backup {
    source: Option<(Meta, State)>,
    bytes_about: u64,
    chunks: Option<Receiver<io::Result<Bytes>>>,
}

impl Backup {
    pub(crate) fn new(meta: Meta, state: State) -> Self {
        Self {
            bytes_about: state.db_bytes() as u64,
            source: Some((meta, state)),
            chunks: None,
        }
    }

    /// About how many bytes it will be.
    pub fn bytes_about(&self) -> u64 {
        self.bytes_about
    }

    fn start((meta, state): (Meta, State)) -> io::Result<Receiver<io::Result<Bytes>>> {
        let (sender, chunks) = mpsc::sync_channel(2);
        thread::Builder::new()
            .name("raft-backup".to_owned())
            .spawn(move || {
                let out = Chunks {
                    sender: sender.clone(),
                    chunk: Vec::new(),
                };
                let mut writer = Writer {
                    out,
                    end: proto::End::default(),
                    bytes: 0,
                    cancelled: &AtomicBool::new(false),
                };
                let written = writer
                    .write_state(&meta, &state)
                    .and_then(|()| writer.out.flush());
                if let Err(error) = written {
                    // Fails where nobody takes it any more, which ended the writing in the first place.
                    let _ = sender.send(Err(error));
                }
            })?;
        Ok(chunks)
    }
}

impl Iterator for Backup {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(source) = self.source.take() {
            match Self::start(source) {
                Ok(chunks) => self.chunks = Some(chunks),
                Err(error) => return Some(Err(error)),
            }
        }
        self.chunks.as_ref()?.recv().ok()
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("bytes_about", &self.bytes_about)
            .finish_non_exhaustive()
    }
}

/// Hands on what is written, a chunk at a time.
struct Chunks {
    sender: SyncSender<io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.sender
            .send(Ok(chunk.into()))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

struct Writer<'a, W> {
    out: W,
    end: proto::End,
    bytes: u64,
    cancelled: &'a AtomicBool,
}

impl<W: Write> Writer<'_, W> {
    fn write_state(&mut self, meta: &Meta, state: &State) -> io::Result<()> {
        self.raw(MAGIC)?;
        self.raw(&FORMAT.to_le_bytes())?;
        self.raw(&crc32fast::hash(&FORMAT.to_le_bytes()).to_le_bytes())?;
        self.block(proto::Kind::Head(proto::Head {
            cluster_id: meta.cluster_id,
            index: meta.position.index,
            term: meta.position.term,
            voters: meta.conf_state.voters.clone(),
            learners: meta.conf_state.learners.clone(),
            voters_outgoing: meta.conf_state.voters_outgoing.clone(),
            learners_next: meta.conf_state.learners_next.clone(),
            auto_leave: meta.conf_state.auto_leave,
            compacted: state.compacted(),
            revision: state.revision(),
        }))?;

        self.block(proto::Kind::Group(proto::Group {
            members: state.members().iter().map(Into::into).collect(),
            removed: state.removed_members().collect(),
            alarms: state.alarms().into_iter().map(alarm_on).collect(),
        }))?;
        let leases: Vec<proto::Lease> = state
            .leases()
            .map(|(id, ttl_seconds)| proto::Lease { id, ttl_seconds })
            .collect();
        for some in leases.chunks(BLOCK_LEASES) {
            self.block(proto::Kind::Leases(proto::Leases {
                leases: some.to_vec(),
            }))?;
        }

        let mut keys = proto::Keys::default();
        let mut pending = 0;
        let mut result = Ok(());
        state.visit_base(|kv| {
            if result.is_err() {
                return;
            }
            pending += kv.key.len() + kv.value.len();
            keys.kvs.push((&**kv).into());
            if pending >= BLOCK_BYTES {
                pending = 0;
                result = self.block(proto::Kind::Keys(std::mem::take(&mut keys)));
            }
        });
        result?;
        if !keys.kvs.is_empty() {
            self.block(proto::Kind::Keys(keys))?;
        }

        let mut revisions = proto::Revisions::default();
        let mut pending = 0;
        for events in state.log() {
            let changes: Vec<proto::Change> = events
                .iter()
                .map(|event| Change::from(event).into())
                .collect();
            pending += changes.iter().map(Message::encoded_len).sum::<usize>();
            revisions.revisions.push(proto::Revision { changes });
            if pending >= BLOCK_BYTES {
                pending = 0;
                self.block(proto::Kind::Revisions(std::mem::take(&mut revisions)))?;
            }
        }
        if !revisions.revisions.is_empty() {
            self.block(proto::Kind::Revisions(revisions))?;
        }
        let end = self.end;
        self.block(proto::Kind::End(end))
    }

    fn block(&mut self, kind: proto::Kind) -> io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the store is shutting down",
            ));
        }
        match &kind {
            proto::Kind::Keys(keys) => self.end.keys += keys.kvs.len() as u64,
            proto::Kind::Revisions(revisions) => {
                self.end.revisions += revisions.revisions.len() as u64;
            }
            // The number of blocks vouches for them.
            proto::Kind::Head(_)
            | proto::Kind::Group(_)
            | proto::Kind::Leases(_)
            | proto::Kind::End(_) => {}
        }
        self.end.blocks += 1;
        let message = proto::Block { kind: Some(kind) }.encode_to_vec();
        let len = u32::try_from(message.len())
            .map_err(|_| io::Error::other("a block of a snapshot is larger than 4 GiB"))?
            .to_le_bytes();
        self.raw(&len)?;
        self.raw(&block_checksum(len, &message).to_le_bytes())?;
        self.raw(&message)
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

fn block_checksum(len: [u8; 4], message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(message);
    hasher.finalize()
}

enum Unreadable {
    Format(u32),
    Corrupt(String),
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Corrupt("it is cut off".to_owned())
        } else {
            Self::Io(error)
        }
    }
}

impl From<String> for Unreadable {
    fn from(what: String) -> Self {
        Self::Corrupt(what)
    }
}

struct Reader<R> {
    input: R,
    left: u64,
}

impl<R: Read> Reader<R> {
    fn read_state(&mut self) -> Result<(Meta, State), Unreadable> {
        let corrupt = |what: &str| Err(Unreadable::Corrupt(what.to_owned()));
        if &self.array::<8>()? != MAGIC {
            return corrupt("it does not begin as a snapshot does");
        }
        let format = self.array::<4>()?;
        if crc32fast::hash(&format) != u32::from_le_bytes(self.array()?) {
            return corrupt("the checksum of its format does not match");
        }
        let format = u32::from_le_bytes(format);
        if !(FORMAT_FIRST..=FORMAT).contains(&format) {
            return Err(Unreadable::Format(format));
        }
        let proto::Kind::Head(head) = self.block()? else {
            return corrupt("its first block is not a head");
        };
        let mut restore = Restore::new(head.compacted)?;
        let mut seen = proto::End {
            blocks: 1,
            ..proto::End::default()
        };
        loop {
            match self.block()? {
                proto::Kind::Group(group) => {
                    for member in group.members {
                        restore.member(member.into());
                    }
                    for id in group.removed {
                        restore.removed(id);
                    }
                    for alarm in group.alarms {
                        let kind = alarm.alarm().try_into();
                        restore.alarm(alarm.member, kind.map_err(|e: DecodeError| e.to_string())?);
                    }
                }
                proto::Kind::Leases(leases) => {
                    for lease in leases.leases {
                        restore.lease(lease.id, lease.ttl_seconds)?;
                    }
                }
                proto::Kind::Keys(keys) => {
                    seen.keys += keys.kvs.len() as u64;
                    for kv in keys.kvs {
                        restore.base(kv.into())?;
                    }
                }
                proto::Kind::Revisions(revisions) => {
                    seen.revisions += revisions.revisions.len() as u64;
                    for revision in revisions.revisions {
                        let changes = revision.changes.into_iter().map(TryInto::try_into);
                        restore.revision(changes.collect::<Result<_, String>>()?)?;
                    }
                }
                proto::Kind::End(end) if end == seen && self.left == 0 => break,
                proto::Kind::End(_) => return corrupt("it does not end where it says"),
                proto::Kind::Head(_) => return corrupt("it has a second head"),
            }
            seen.blocks += 1;
        }
        let state = restore.finish()?;
        if state.revision() != head.revision {
            return Err(Unreadable::Corrupt(format!(
                "its head says revision {}, its content comes to {}",
                head.revision,
                state.revision()
            )));
        }
        let conf_state = ConfState {
            voters: head.voters,
            learners: head.learners,
            voters_outgoing: head.voters_outgoing,
            learners_next: head.learners_next,
            auto_leave: head.auto_leave,
            ..ConfState::default()
        };
        let meta = Meta {
            cluster_id: head.cluster_id,
            position: Position {
                index: head.index,
                term: head.term,
            },
            conf_state,
        };
        Ok((meta, state))
    }

    fn block(&mut self) -> Result<proto::Kind, Unreadable> {
        let len = self.array()?;
        let checksum = u32::from_le_bytes(self.array()?);
        let bytes = u32::from_le_bytes(len);
        // Checked before memory is reserved for it.
        if u64::from(bytes) > self.left {
            return Err(Unreadable::Corrupt("it is cut off".to_owned()));
        }
        let mut message = vec![0; bytes as usize];
        self.input.read_exact(&mut message)?;
        self.left -= u64::from(bytes);
        if block_checksum(len, &message) != checksum {
            return Err(Unreadable::Corrupt(format!(
                "the checksum of the block that ends {} bytes before its end does not match",
                self.left
            )));
        }
        // Decoding from a slice gives every key and value an allocation of its own.
        proto::Block::decode(&message[..])
            .map_err(|error| error.to_string())?
            .kind
            .ok_or_else(|| Unreadable::Corrupt("a block is of no known kind".to_owned()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.left = self.left.saturating_sub(N as u64);
        Ok(bytes)
    }
}

/// The wire form. Tags are never reused.
mod proto {
    use super::Bytes;
    use crate::command::proto::{Alarm, Member};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Block {
        #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
        pub(super) kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Kind {
        #[prost(message, tag = "1")]
        Head(Head),
        #[prost(message, tag = "2")]
        Keys(Keys),
        #[prost(message, tag = "3")]
        Revisions(Revisions),
        #[prost(message, tag = "4")]
        End(End),
        #[prost(message, tag = "5")]
        Group(Group),
        #[prost(message, tag = "6")]
        Leases(Leases),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Head {
        #[prost(fixed64, tag = "1")]
        pub(super) cluster_id: u64,
        #[prost(uint64, tag = "2")]
        pub(super) index: u64,
        #[prost(uint64, tag = "3")]
        pub(super) term: u64,
        #[prost(fixed64, repeated, tag = "4")]
        pub(super) voters: Vec<u64>,
        #[prost(fixed64, repeated, tag = "5")]
        pub(super) learners: Vec<u64>,
        #[prost(uint64, tag = "6")]
        pub(super) compacted: u64,
        #[prost(uint64, tag = "7")]
        pub(super) revision: u64,
        /// While the group goes over from one set of voters to another, the old one.
        #[prost(fixed64, repeated, tag = "8")]
        pub(super) voters_outgoing: Vec<u64>,
        #[prost(fixed64, repeated, tag = "9")]
        pub(super) learners_next: Vec<u64>,
        #[prost(bool, tag = "10")]
        pub(super) auto_leave: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Group {
        #[prost(message, repeated, tag = "1")]
        pub(super) members: Vec<Member>,
        #[prost(fixed64, repeated, tag = "2")]
        pub(super) removed: Vec<u64>,
        /// Those that are on.
        #[prost(message, repeated, tag = "3")]
        pub(super) alarms: Vec<Alarm>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Leases {
        #[prost(message, repeated, tag = "1")]
        pub(super) leases: Vec<Lease>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Lease {
        #[prost(sfixed64, tag = "1")]
        pub(super) id: i64,
        #[prost(int64, tag = "2")]
        pub(super) ttl_seconds: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Keys {
        #[prost(message, repeated, tag = "1")]
        pub(super) kvs: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Revisions {
        #[prost(message, repeated, tag = "1")]
        pub(super) revisions: Vec<Revision>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Revision {
        #[prost(message, repeated, tag = "1")]
        pub(super) changes: Vec<Change>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Change {
        #[prost(oneof = "ChangeKind", tags = "1, 2")]
        pub(super) kind: Option<ChangeKind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum ChangeKind {
        #[prost(message, tag = "1")]
        Put(KeyValue),
        #[prost(bytes = "bytes", tag = "2")]
        Delete(Bytes),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) key: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) value: Bytes,
        #[prost(uint64, tag = "3")]
        pub(super) create_revision: u64,
        #[prost(uint64, tag = "4")]
        pub(super) mod_revision: u64,
        #[prost(uint64, tag = "5")]
        pub(super) version: u64,
        #[prost(int64, tag = "6")]
        pub(super) lease: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct End {
        #[prost(uint64, tag = "1")]
        pub(super) blocks: u64,
        #[prost(uint64, tag = "2")]
        pub(super) keys: u64,
        #[prost(uint64, tag = "3")]
        pub(super) revisions: u64,
    }
}

fn alarm_on((member, alarm): (u64, Alarm)) -> command::proto::Alarm {
    command::proto::Alarm {
        member,
        alarm: command::proto::AlarmKind::from(alarm).into(),
        on: true,
    }
}

impl From<&KeyValue> for proto::KeyValue {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: kv.key.clone(),
            value: kv.value.clone(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl From<proto::KeyValue> for KeyValue {
    fn from(kv: proto::KeyValue) -> Self {
        Self {
            key: kv.key,
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl From<Change> for proto::Change {
    fn from(change: Change) -> Self {
        Self {
            kind: Some(match change {
                Change::Put(kv) => proto::ChangeKind::Put((&kv).into()),
                Change::Delete(key) => proto::ChangeKind::Delete(key),
            }),
        }
    }
}

impl TryFrom<proto::Change> for Change {
    type Error = String;

    fn try_from(change: proto::Change) -> Result<Self, String> {
        match change.kind {
            Some(proto::ChangeKind::Put(kv)) => Ok(Self::Put(kv.into())),
            Some(proto::ChangeKind::Delete(key)) => Ok(Self::Delete(key)),
            None => Err("a change is of no known kind".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::command::Command;
    use crate::kv::KeyRange;
    use crate::member::Member;
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
        let mut writer = Writer {
            out: Vec::new(),
            end: proto::End::default(),
            bytes: 0,
            cancelled: &cancelled,
        };
        writer.write_state(&meta(), state).unwrap();
        writer.out
    }

    fn read(bytes: &[u8]) -> Result<(Meta, State), Unreadable> {
        let left = bytes.len() as u64;
        Reader { input: bytes, left }.read_state()
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
}
