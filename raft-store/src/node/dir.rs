//! The data directory: who may use it, whose it is, and how files get into it for good.
//!
//! ```text
//! LOCK        held by the one process that uses the directory
//! MEMBER      who this member is; written last when a directory is set up
//! log/        raft-engine's files
//! snapshots/  the newest snapshot
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::error::OpenError;

/// Who this member is; there as soon as the directory is set up.
pub(crate) const MEMBER_FILE: &str = "MEMBER";
/// The format of MEMBER.
const MEMBER_FORMAT: u32 = 1;
const MEMBER_MAGIC: &[u8; 8] = b"EUSTMEMB";

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Who a member is.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Identity {
    /// Distinguishes groups, so that a member of one is never taken for a member of another. Random, not 0.
    #[prost(fixed64, tag = "1")]
    pub(super) cluster_id: u64,
    /// The member's Raft id. Random, not 0.
    #[prost(fixed64, tag = "2")]
    pub(super) member_id: u64,
    /// The member's name.
    #[prost(string, tag = "3")]
    pub(super) name: String,
    /// It joined a running group, and begins with a snapshot from another member.
    #[prost(bool, tag = "4")]
    pub(super) joining: bool,
}

impl DataDir {
    /// Creates the directory if need be and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(OpenError::io("creating the data directory", path))?;
        let lock_path = path.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(OpenError::io("opening", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    dir: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(OpenError::io("locking", &lock_path)(error));
            }
        }
        let dir = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        for sub in [dir.log(), dir.snapshots()] {
            fs::create_dir_all(&sub).map_err(OpenError::io("creating", &sub))?;
        }
        sync_dir(path).map_err(OpenError::io("syncing", path))?;
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            sync_dir(parent).map_err(OpenError::io("syncing", parent))?;
        }
        Ok(dir)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    fn member_path(&self) -> PathBuf {
        self.path.join(MEMBER_FILE)
    }

    /// Reads who the directory belongs to; `None` if it is new.
    pub(super) fn identity(&self) -> Result<Option<Identity>, OpenError> {
        let path = self.member_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match fs::read_dir(self.log()).map(|mut files| files.next().is_some()) {
                    Ok(false) => Ok(None),
                    // MEMBER is written before the first log file, so it has been lost.
                    Ok(true) => Err(OpenError::Corrupt {
                        file: path,
                        what: "it is missing although there is a log".to_owned(),
                    }),
                    Err(error) => Err(OpenError::io("listing", self.log())(error)),
                };
            }
            Err(error) => return Err(OpenError::io("reading", &path)(error)),
        };
        let corrupt = |what: &str| OpenError::Corrupt {
            file: path.clone(),
            what: what.to_owned(),
        };
        let rest = bytes
            .strip_prefix(MEMBER_MAGIC)
            .ok_or_else(|| corrupt("it does not begin as a MEMBER file does"))?;
        let (found, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| corrupt("it is cut off"))?;
        let (checksum, body) = rest
            .split_first_chunk()
            .ok_or_else(|| corrupt("it is cut off"))?;
        let found = u32::from_le_bytes(*found);
        if crc32fast::hash(body) ^ found != u32::from_le_bytes(*checksum) {
            return Err(corrupt("its checksum does not match"));
        }
        if found != MEMBER_FORMAT {
            return Err(OpenError::UnknownFormat {
                file: path,
                found,
                supported: MEMBER_FORMAT,
            });
        }
        Identity::decode(body)
            .map(Some)
            .map_err(|error| corrupt(&error.to_string()))
    }

    /// Makes the directory a member's.
    pub(super) fn set_identity(&self, identity: &Identity) -> Result<(), OpenError> {
        let path = self.member_path();
        let body = identity.encode_to_vec();
        let mut bytes = MEMBER_MAGIC.to_vec();
        bytes.extend_from_slice(&MEMBER_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(crc32fast::hash(&body) ^ MEMBER_FORMAT).to_le_bytes());
        bytes.extend_from_slice(&body);
        write_whole(&path, |file| file.write_all(&bytes)).map_err(OpenError::io("writing", &path))
    }
}

/// Writes a file so that it is there complete and durable, or not at all.
pub(super) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let result = (|| {
        let mut file = File::create(&temporary)?;
        write(&mut file)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)?;
        sync_dir(path.parent().unwrap_or(Path::new(".")))
    })();
    if result.is_err() {
        // Whether it can be removed or not, the next start ignores it.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Makes what was created, renamed or removed in a directory durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
