//! The data directory: who may use it, whose it is, and how files get into it for good.
//!
//! ```text
//! LOCK        held by the one process that uses the directory
//! MEMBER      who this member is; written last when a directory is set up
//! LOGS        the newest log files that there have been; see [`super::floor`]
//! log/        raft-engine's files
//! snapshots/  the newest snapshot
//! ```
//! While all of it is being replaced there is more; see [`super::stage`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;

use super::stage;
use crate::error::OpenError;

/// Written last when a directory is set up, so that one with this file is complete.
pub(crate) const MEMBER_FILE: &str = "MEMBER";
pub(super) const LOG_DIR: &str = "log";
pub(super) const SNAPSHOTS_DIR: &str = "snapshots";
const LOCK_FILE: &str = "LOCK";
/// The format of MEMBER.
const MEMBER_FORMAT: u32 = 1;
const MEMBER_MAGIC: &[u8; 8] = b"EUSTMEMB";

/// How long a lock that is held may take to come free before the directory counts as in use. A lock belongs to an open
/// file, and a child process that another thread of this one has just forked holds a copy of every open file until
/// it runs its own program: a lock let go a moment ago can then look taken. That takes milliseconds, on a busy machine
/// some tens; somebody who really uses the directory keeps it for longer than this.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at it.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

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

impl Identity {
    /// Writes it as a file.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = self.encode_file();
        write_whole(path, |file| file.write_all(&bytes))
    }

    /// The bytes of its file.
    pub(super) fn encode_file(&self) -> Vec<u8> {
        let body = self.encode_to_vec();
        let mut bytes = MEMBER_MAGIC.to_vec();
        bytes.extend_from_slice(&MEMBER_FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(crc32fast::hash(&body) ^ MEMBER_FORMAT).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads the bytes of its file.
    pub(super) fn decode_file(bytes: &[u8]) -> Result<Self, Unreadable> {
        let corrupt = |what: &str| Unreadable::What(what.to_owned());
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
            return Err(Unreadable::Format(found));
        }
        Self::decode(body).map_err(|error| corrupt(&error.to_string()))
    }
}

/// Why a MEMBER file cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// Its format, which is not known.
    Format(u32),
    What(String),
}

impl DataDir {
    /// Creates the directory if need be and takes it. A replacement of its content that was interrupted is finished.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(OpenError::io("creating the data directory", path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(OpenError::io("opening", &lock_path))?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::InUse {
                        dir: path.to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => {
                    return Err(OpenError::io("locking", &lock_path)(error));
                }
            }
        }
        let dir = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        stage::finish(path, &stage::uninterrupted)?;
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

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join(LOG_DIR)
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.path.join(SNAPSHOTS_DIR)
    }

    /// Something in a directory that is not of an unused data directory.
    pub(super) fn occupied_by(path: &Path) -> Result<Option<PathBuf>, OpenError> {
        let ours = [LOCK_FILE, LOG_DIR, SNAPSHOTS_DIR, stage::UNFINISHED];
        let ours = ours.map(|name| path.join(name));
        let mut all = list(path)?;
        all.retain(|path| !ours.contains(path));
        for sub in [LOG_DIR, SNAPSHOTS_DIR] {
            all.extend(list(&path.join(sub))?);
        }
        Ok(all.into_iter().min())
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
                if stage::is_unfinished(&self.path) {
                    return Err(OpenError::Config {
                        what: format!(
                            "restoring a snapshot into {} was interrupted: restore it again",
                            self.path.display()
                        ),
                    });
                }
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
        Identity::decode_file(&bytes)
            .map(Some)
            .map_err(|error| match error {
                Unreadable::Format(found) => OpenError::UnknownFormat {
                    file: path,
                    found,
                    supported: MEMBER_FORMAT,
                },
                Unreadable::What(what) => OpenError::Corrupt { file: path, what },
            })
    }

    /// Makes the directory a member's.
    pub(super) fn set_identity(&self, identity: &Identity) -> Result<(), OpenError> {
        let path = self.member_path();
        identity
            .write(&path)
            .map_err(OpenError::io("writing", &path))
    }
}

/// What is in a directory, if that exists.
fn list(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    match fs::read_dir(dir) {
        Ok(files) => files
            .map(|file| file.map(|file| file.path()))
            .collect::<io::Result<_>>()
            .map_err(OpenError::io("listing", dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(OpenError::io("listing", dir)(error)),
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Enough that a directory is refused every time, were there no patience.
    const CHILDREN: usize = 300;

    #[test]
    fn a_directory_let_go_is_free_while_other_threads_start_processes() {
        let dir = tempfile::tempdir().unwrap();
        let children = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while children.fetch_add(1, Ordering::Relaxed) < CHILDREN {
                        let mut child = Command::new("true");
                        child.stdout(Stdio::null()).status().unwrap();
                    }
                });
            }
            while children.load(Ordering::Relaxed) < CHILDREN {
                DataDir::take(dir.path()).unwrap();
            }
        });
    }

    #[test]
    fn a_directory_that_is_held_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _held = DataDir::take(dir.path()).unwrap();
        let refused = DataDir::take(dir.path()).map(drop);
        assert!(matches!(refused, Err(OpenError::InUse { dir: named }) if named == dir.path()));
    }
}
