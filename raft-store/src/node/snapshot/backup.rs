//! A snapshot that leaves the member as a stream of bytes.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use bytes::Bytes;

use super::writer::Writer;
use super::{BLOCK_BYTES, Meta};
use crate::mvcc::State;

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
                let cancelled = AtomicBool::new(false);
                let mut writer = Writer::new(out, &cancelled);
                let written = writer
                    .write_state(&meta, &state)
                    .and_then(|()| writer.flush());
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
