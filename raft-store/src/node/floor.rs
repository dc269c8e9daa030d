//! The newest log files that there have been: without it, the loss of a newest file as a whole would look like a log that
//! ended earlier, and what it held would be missing without a word.
//!
//! ```text
//! LOGS: "EUSTLOGS" | u32 format | u64 newest log file | u64 newest rewritten one | u32 crc32 of all before
//! ```
//! Numbers are little endian. The file is replaced when raft-engine begins a log file, which is once in many megabytes,
//! and only after that file's name is durable; so it never promises more than there is.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::dir::{sync_dir, write_whole};
use crate::error::OpenError;

/// Beside the log's directory.
pub(super) const FLOOR_FILE: &str = "LOGS";
const MAGIC: &[u8; 8] = b"EUSTLOGS";
const FORMAT: u32 = 1;
const BYTES: usize = 8 + 4 + 8 + 8 + 4;

/// What raft-engine calls the files of its two queues: appended to, and rewritten.
pub(super) const EXTENSIONS: [&str; 2] = ["raftlog", "rewrite"];

/// The numbers of the newest file of each queue; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Newest(pub(super) [u64; 2]);

/// Keeps the file up to date.
#[derive(Debug)]
pub(super) struct Floor {
    path: PathBuf,
    newest: Mutex<Newest>,
}

impl Floor {
    /// Compares what there has been with what is in the log's directory.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`], naming the file that is missing.
    pub(super) fn check(log: &Path) -> Result<Self, OpenError> {
        let path = log.with_file_name(FLOOR_FILE);
        // Directories of earlier versions have none; it is there from the next log file on.
        let recorded = read(&path)?.unwrap_or_default();
        let found = found(log).map_err(OpenError::io("listing", log))?;
        for ((recorded, found), extension) in recorded.0.iter().zip(found.0).zip(EXTENSIONS) {
            if found < *recorded {
                return Err(OpenError::Corrupt {
                    file: log.join(format!("{recorded:016}.{extension}")),
                    what: "it is missing, and was the newest of its kind".to_owned(),
                });
            }
        }
        Ok(Self {
            path,
            newest: Mutex::new(recorded),
        })
    }

    /// Notes that a log file has been created.
    pub(super) fn created(&self, file: &Path) -> io::Result<()> {
        let Some((queue, number)) = number(file) else {
            return Ok(());
        };
        let mut newest = self.newest.lock();
        if newest.0[queue] >= number {
            return Ok(());
        }
        sync_dir(file.parent().unwrap_or(Path::new(".")))?;
        let mut next = *newest;
        next.0[queue] = number;
        write_whole(&self.path, |out| out.write_all(&encode(next)))?;
        *newest = next;
        Ok(())
    }
}

/// The queue and the number of a log file.
pub(super) fn number(file: &Path) -> Option<(usize, u64)> {
    let extension = file.extension()?.to_str()?;
    let queue = EXTENSIONS.iter().position(|known| *known == extension)?;
    Some((queue, file.file_stem()?.to_str()?.parse().ok()?))
}

fn found(log: &Path) -> io::Result<Newest> {
    let mut newest = Newest::default();
    for file in fs::read_dir(log)? {
        if let Some((queue, number)) = number(&file?.path()) {
            newest.0[queue] = newest.0[queue].max(number);
        }
    }
    Ok(newest)
}

pub(super) fn encode(newest: Newest) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    for number in newest.0 {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn read(path: &Path) -> Result<Option<Newest>, OpenError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("reading", path)(error)),
    };
    match decode(&bytes) {
        Ok(newest) => Ok(Some(newest)),
        Err(Unreadable::Format(found)) => Err(OpenError::UnknownFormat {
            file: path.to_owned(),
            found,
            supported: FORMAT,
        }),
        Err(Unreadable::What(what)) => Err(OpenError::Corrupt {
            file: path.to_owned(),
            what: what.to_owned(),
        }),
    }
}

pub(super) enum Unreadable {
    Format(u32),
    What(&'static str),
}

pub(super) fn decode(bytes: &[u8]) -> Result<Newest, Unreadable> {
    let bytes: &[u8; BYTES] = bytes
        .try_into()
        .map_err(|_| Unreadable::What("it is not as long as a LOGS file"))?;
    let (body, checksum) = bytes.split_at(BYTES - 4);
    if crc32fast::hash(body).to_le_bytes() != *checksum {
        return Err(Unreadable::What("its checksum does not match"));
    }
    let rest = body
        .strip_prefix(MAGIC)
        .ok_or(Unreadable::What("it does not begin as a LOGS file does"))?;
    let cut = Unreadable::What("it is cut off");
    let (format, numbers) = rest.split_first_chunk().ok_or(cut)?;
    let format = u32::from_le_bytes(*format);
    if format != FORMAT {
        return Err(Unreadable::Format(format));
    }
    let mut newest = Newest::default();
    for (number, bytes) in newest.0.iter_mut().zip(numbers.as_chunks().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::create_dir(&log).unwrap();
        (dir, log)
    }

    fn create(log: &Path, name: &str) {
        let file = log.join(name);
        fs::write(&file, b"").unwrap();
        Floor::check(log).unwrap().created(&file).unwrap();
    }

    #[test]
    fn the_newest_file_of_each_queue_is_missed() {
        let (_dir, log) = log();
        for name in [
            "0000000000000001.raftlog",
            "0000000000000002.raftlog",
            "0000000000000001.rewrite",
        ] {
            create(&log, name);
        }
        // Older ones go when nothing is left in them.
        fs::remove_file(log.join("0000000000000001.raftlog")).unwrap();
        Floor::check(&log).unwrap();
        for name in ["0000000000000002.raftlog", "0000000000000001.rewrite"] {
            fs::remove_file(log.join(name)).unwrap();
            let refused = Floor::check(&log).unwrap_err();
            assert!(
                matches!(&refused, OpenError::Corrupt { file, .. } if *file == log.join(name)),
                "{refused}"
            );
            fs::write(log.join(name), b"").unwrap();
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let intact = encode(Newest([7, 3]));
        assert!(matches!(decode(&intact), Ok(Newest([7, 3]))));
        for bit in 0..intact.len() * 8 {
            let mut bytes = intact.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..intact.len() {
            assert!(decode(&intact[..len]).is_err(), "{len} bytes");
        }
    }
}
