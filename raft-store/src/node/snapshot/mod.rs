//! Snapshots on disk.
//!
//! ```text
//! "EUSTSNAP" | u32 format | u32 crc32 of the format | block .. | end block
//! block: u32 length | u32 crc32 of length and message | Block, protobuf
//! ```
//! Numbers are little endian. The first block is the head, then come a block of the group, blocks of leases, blocks of
//! keys as they were at the compaction point, blocks of revisions since, and the end, which counts what came before it and has the blake3 hash
//! of all of it. A file is written under another
//! name and renamed when it is complete and synced.

mod backup;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzz;
mod proto;
mod reader;
mod seal;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use raft::eraftpb::ConfState;

use super::dir::{sync_dir, write_whole};
use super::log::Position;
use crate::error::{OpenError, StopCause};
use crate::mvcc::State;

pub use backup::Backup;
use reader::{Reader, Unreadable};
#[cfg(test)]
pub(super) use tests::seed;
use writer::Writer;

const MAGIC: &[u8; 8] = b"EUSTSNAP";
/// Written. Formats 1, which had neither group nor leases, and 2, which had no hash, are read too.
const FORMAT: u32 = 3;
/// The first with a hash at its end.
const FORMAT_HASHED: u32 = 3;
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
    pub(super) format: u32,
    /// The blake3 hash of all before the end block.
    pub(super) hash: [u8; 32],
}

impl Loaded {
    /// Of a member that has joined and not heard from the group yet.
    pub(super) fn nothing(cluster_id: u64) -> Self {
        Self {
            meta: Meta::of_no_log(cluster_id),
            state: State::new(),
            bytes: 0,
            format: FORMAT,
            hash: [0; 32],
        }
    }
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
        let out = BufWriter::with_capacity(BLOCK_BYTES, file);
        let mut writer = Writer::new(out, cancelled);
        writer.write_state(meta, state)?;
        bytes = writer.bytes();
        writer.flush()
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
    let (file, bytes) = open(path)?;
    read_file(path, file, bytes, 0)
}

/// Reads a snapshot that left the store: as its bytes are, or as etcd's clients save it (see [`seal`]).
pub(super) fn read_backup(path: &Path) -> Result<Loaded, OpenError> {
    let (mut file, bytes) = open(path)?;
    let sealed = seal::is_sealed(&mut file, bytes).map_err(OpenError::io("reading", path))?;
    if sealed {
        read_file(
            path,
            file,
            bytes - seal::DIGEST_BYTES,
            seal::PADDING_BYTES_MAX,
        )
    } else {
        read_file(path, file, bytes, 0)
    }
}

fn open(path: &Path) -> Result<(File, u64), OpenError> {
    let file = File::open(path).map_err(OpenError::io("opening", path))?;
    let metadata = file.metadata().map_err(OpenError::io("measuring", path))?;
    Ok((file, metadata.len()))
}

/// Reads a snapshot of `left` bytes, of which up to `padding` may be zeros behind its end.
fn read_file(path: &Path, file: File, left: u64, padding: u64) -> Result<Loaded, OpenError> {
    let mut reader = Reader::new(BufReader::with_capacity(BLOCK_BYTES, file), left);
    match reader.read_state(padding) {
        Ok(contents) => Ok(Loaded {
            meta: contents.meta,
            state: contents.state,
            bytes: left,
            format: contents.format,
            hash: contents.hash,
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
