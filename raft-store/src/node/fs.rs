//! The file system as raft-engine sees it.
//!
//! Two things differ from its default. A failed sync is remembered and reported to the caller of the write, where
//! raft-engine would panic; from then on every sync fails, since what the disk holds is unknown. And space for a log
//! file is not only reserved but filled with zeros: a sync of a reserved stretch has to write the file system's
//! journal too, every time, while a sync over written zeros writes the data alone.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

use super::floor::Floor;

/// Zeros are written in pieces of this size.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Whether syncing has ever failed.
#[derive(Debug, Default)]
pub(super) struct DiskHealth {
    failed: OnceLock<Arc<str>>,
    #[cfg(test)]
    pub(super) fail_syncs: std::sync::atomic::AtomicBool,
    #[cfg(test)]
    pub(super) full: std::sync::atomic::AtomicBool,
}

impl DiskHealth {
    /// The first failure, if there was one.
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.failed.get().cloned()
    }

    /// Fails where a test has filled the disk.
    fn check_room(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn note(&self, result: io::Result<()>) {
        #[cfg(test)]
        let result = if self.fail_syncs.load(std::sync::atomic::Ordering::SeqCst) {
            Err(io::Error::other("a failure planted by a test"))
        } else {
            result
        };
        if let Err(error) = result {
            // The first failure is the one that matters.
            let _ = self.failed.set(error.to_string().into());
        }
    }
}

type Inner = DefaultFileSystem;
type InnerHandle = <Inner as FileSystem>::Handle;
type InnerReader = <Inner as FileSystem>::Reader;
type InnerWriter = <Inner as FileSystem>::Writer;

/// See the module.
pub(super) struct LogFileSystem {
    pub(super) health: Arc<DiskHealth>,
    pub(super) floor: Floor,
}

/// An open log file.
pub(super) struct LogHandle {
    inner: Arc<InnerHandle>,
    health: Arc<DiskHealth>,
}

impl LogFileSystem {
    fn wrap(&self, inner: InnerHandle) -> LogHandle {
        LogHandle {
            inner: Arc::new(inner),
            health: self.health.clone(),
        }
    }
}

impl FileSystem for LogFileSystem {
    type Handle = LogHandle;
    type Reader = LogReader;
    type Writer = LogWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<LogHandle> {
        let inner = Inner {}.create(&path)?;
        self.floor.created(path.as_ref())?;
        Ok(self.wrap(inner))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<LogHandle> {
        Inner {}
            .open(path, permission)
            .map(|inner| self.wrap(inner))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        Inner {}.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        Inner {}.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<LogHandle>) -> io::Result<LogReader> {
        Inner {}.new_reader(handle.inner.clone()).map(LogReader)
    }

    fn new_writer(&self, handle: Arc<LogHandle>) -> io::Result<LogWriter> {
        Inner {}
            .new_writer(handle.inner.clone())
            .map(|inner| LogWriter {
                inner,
                health: handle.health.clone(),
            })
    }
}

impl Handle for LogHandle {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        Handle::truncate(&*self.inner, offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.inner.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        self.health.note(Handle::sync(&*self.inner));
        Ok(())
    }
}

/// Reads a log file.
pub(super) struct LogReader(InnerReader);

impl Read for LogReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Seek for LogReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Writes a log file.
pub(super) struct LogWriter {
    inner: InnerWriter,
    health: Arc<DiskHealth>,
}

impl Write for LogWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.health.check_room()?;
        self.inner.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for LogWriter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl WriteExt for LogWriter {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        WriteExt::truncate(&mut self.inner, offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        let back = self.inner.stream_position()?;
        self.inner.seek(SeekFrom::Start(offset as u64))?;
        let mut left = size;
        let filled = loop {
            if left == 0 {
                break Ok(());
            }
            let piece = &ZEROS[..left.min(ZEROS.len())];
            if let Err(error) = self.write_all(piece) {
                break Err(error);
            }
            left -= piece.len();
        };
        self.inner.seek(SeekFrom::Start(back))?;
        filled
    }
}
