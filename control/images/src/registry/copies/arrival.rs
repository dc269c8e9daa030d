//! A blob on its way to this server, and the clients that read it meanwhile.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::io::ReaderStream;

use super::Copies;
use super::search::{Holder, Missing};
use crate::Digest;
use crate::registry::http::READ_BYTES;
use crate::registry::siblings::SiblingError;

/// The end of a blob that readers do not get before its digest was checked. So a wrong blob never
/// arrives whole, and one that is not larger than this is not begun before all of it is known to be right.
const HELD_BACK_BYTES: u64 = 4 << 20;
/// Blobs that are looked for or arrive at one time. One more is told to come back.
const ARRIVALS_MAX: usize = 1024;

/// How far a blob is.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    /// Nobody has begun to send it.
    Awaited,
    /// The try `attempt` has written so much of it.
    Coming {
        attempt: u32,
        path: Arc<PathBuf>,
        size: u64,
        written: u64,
    },
    /// It is one of this server's blobs; the try that brought it, if one was needed.
    Here { attempt: Option<u32> },
    /// It will not come.
    Missing(Missing),
}

/// A blob for reading.
pub(in crate::registry) struct Incoming {
    pub(in crate::registry) size: u64,
    pub(in crate::registry) body: Body,
}

impl Copies {
    /// Copies a blob to this server, if it is not here.
    pub(in crate::registry) async fn bring(
        self: &Arc<Self>,
        digest: Digest,
    ) -> Result<(), Missing> {
        if self.blobs.keep(&digest).await?.is_some() {
            return Ok(());
        }
        let mut arrival = self.begin(digest);
        let over = |a: &Arrival| matches!(a, Arrival::Here { .. } | Arrival::Missing(_));
        match arrival.wait_for(over).await.map(|end| end.clone()) {
            Ok(Arrival::Missing(missing)) => Err(missing),
            Ok(_) => Ok(()),
            Err(_) => Err(cut_off()),
        }
    }

    /// A blob for reading, wherever it is. If it is elsewhere, it also comes here, even if the
    /// reader loses interest.
    pub(in crate::registry) async fn read(
        self: &Arc<Self>,
        digest: Digest,
    ) -> Result<Incoming, Missing> {
        if let Some(here) = self.read_here(&digest).await? {
            return Ok(here);
        }
        let mut arrival = self.begin(digest);
        loop {
            let now = arrival.borrow_and_update().clone();
            match now {
                Arrival::Here { .. } => {
                    let here = self.read_here(&digest).await?;
                    return here.ok_or(Missing::Nowhere);
                }
                Arrival::Missing(missing) => return Err(missing),
                Arrival::Coming {
                    attempt,
                    path,
                    size,
                    written,
                } if written > HELD_BACK_BYTES => {
                    // It may have gone since; then the next state says why.
                    if let Ok(file) = File::open(path.as_ref()).await {
                        let reader = Reader {
                            file,
                            attempt,
                            at: 0,
                            size,
                            arrival,
                        };
                        let body = futures::stream::try_unfold(reader, Reader::next);
                        let body = Body::from_stream(body);
                        return Ok(Incoming { size, body });
                    }
                }
                Arrival::Awaited | Arrival::Coming { .. } => {}
            }
            // Bounded by what bounds the task that changes it.
            arrival.changed().await.map_err(|_| cut_off())?;
        }
    }

    async fn read_here(&self, digest: &Digest) -> io::Result<Option<Incoming>> {
        let found = self.blobs.open_blob(digest).await?;
        Ok(found.map(|(file, size)| Incoming {
            size,
            body: Body::from_stream(ReaderStream::with_capacity(file, READ_BYTES)),
        }))
    }

    /// Has the blob brought here by a task, or follows the one that does it already.
    fn begin(self: &Arc<Self>, digest: Digest) -> watch::Receiver<Arrival> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arrival) = arriving.get(&digest) {
            return arrival.clone();
        }
        let (state, arrival) = watch::channel(Arrival::Awaited);
        if arriving.len() >= ARRIVALS_MAX {
            let why = format!("this server is looking for {ARRIVALS_MAX} other blobs already");
            state.send_replace(Arrival::Missing(Missing::Unreachable(why)));
            return arrival;
        }
        arriving.insert(digest, arrival.clone());
        let entry = Entry(Arc::clone(self), digest);
        tokio::spawn(async move {
            let end = match entry.0.obtain(digest, &state).await {
                Ok(attempt) => Arrival::Here { attempt },
                Err(missing) => Arrival::Missing(missing),
            };
            drop(entry);
            state.send_replace(end);
        });
        arrival
    }

    /// Tries one holder after the other. Answers with the number of the try that succeeded.
    async fn obtain(
        &self,
        digest: Digest,
        state: &watch::Sender<Arrival>,
    ) -> Result<Option<u32>, Missing> {
        // Another task may have brought it since the caller looked.
        if self.blobs.keep(&digest).await?.is_some() {
            return Ok(None);
        }
        let mut search = self.search(digest);
        let mut attempt = 0;
        loop {
            let holder = search.next().await?;
            let wait = self.limits.body_idle;
            let Ok(Ok(_transfer)) = timeout(wait, self.transfers.acquire()).await else {
                let why = format!("this server is busy with copying other blobs for {wait:?}");
                return Err(Missing::Unreachable(why));
            };
            match self.copy(&holder, digest, attempt, state).await {
                Ok(()) => return Ok(Some(attempt)),
                Err(why) => {
                    let sibling = &holder.sibling;
                    tracing::warn!(%sibling, %digest, %why, "a blob could not be copied from another server");
                    search.failed(sibling, &why);
                }
            }
            attempt += 1;
        }
    }

    async fn copy(
        &self,
        holder: &Holder,
        digest: Digest,
        attempt: u32,
        state: &watch::Sender<Arrival>,
    ) -> Result<(), SiblingError> {
        let disk = |e: io::Error| SiblingError::new(format!("this server's disk: {e}"));
        let idle = self.limits.sibling_idle;
        let asked = self.siblings.fetch(&holder.sibling, digest);
        let Some((size, mut content)) = self.answer(idle, asked).await? else {
            return Err(SiblingError::new("it does not have the blob any more"));
        };
        let max = self.limits.content_bytes_max();
        if size > max {
            let why = format!("it has {size} bytes for the blob, which may have {max}");
            return Err(SiblingError::new(why));
        }
        let mut upload = self.uploads.scratch().await.map_err(disk)?;
        let path = Arc::new(upload.path().to_path_buf());
        let deadline = Instant::now() + self.transfer_max(size);
        loop {
            let written = upload.size();
            let path = Arc::clone(&path);
            state.send_replace(Arrival::Coming {
                attempt,
                path,
                size,
                written,
            });
            let soon = deadline.min(Instant::now() + idle);
            let chunk = match timeout_at(soon, content.next()).await {
                Ok(Some(chunk)) => chunk?,
                Ok(None) => break,
                Err(_) => {
                    let why = format!("it stopped after {written} of {size} bytes");
                    return Err(SiblingError::new(why));
                }
            };
            if written + chunk.len() as u64 > size {
                let why = format!("it sent more than the {size} bytes that it said");
                return Err(SiblingError::new(why));
            }
            upload.write(&chunk).await.map_err(disk)?;
            upload.flush().await.map_err(disk)?;
        }
        let written = upload.size();
        let (file, found) = upload.finish().await.map_err(disk)?;
        if found != digest {
            let why = format!("it sent {written} of {size} bytes, whose digest is {found}");
            return Err(SiblingError::new(why));
        }
        self.blobs.adopt(file, digest).await.map_err(disk)
    }
}

/// A place among the arriving blobs, free again when this is dropped.
struct Entry(Arc<Copies>, Digest);

impl Drop for Entry {
    fn drop(&mut self) {
        let arriving = self.0.arriving.lock();
        arriving
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

fn cut_off() -> Missing {
    Missing::Unreachable("copying it was cut off".to_owned())
}

/// Follows a file that grows.
struct Reader {
    file: File,
    attempt: u32,
    at: u64,
    size: u64,
    arrival: watch::Receiver<Arrival>,
}

impl Reader {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let readable = match &*self.arrival.borrow_and_update() {
                Arrival::Coming {
                    attempt, written, ..
                } if *attempt == self.attempt => written.saturating_sub(HELD_BACK_BYTES),
                Arrival::Here { attempt } if *attempt == Some(self.attempt) => self.size,
                Arrival::Missing(Missing::Unreachable(why)) => {
                    return Err(io::Error::other(why.clone()));
                }
                _ => return Err(io::Error::other("the server that sent it failed")),
            };
            if self.at == self.size {
                return Ok(None);
            }
            if self.at < readable {
                let bytes = self.piece(readable).await?;
                return Ok(Some((bytes, self)));
            }
            let changed = self.arrival.changed().await;
            changed.map_err(|_| io::Error::other("copying it was cut off"))?;
        }
    }

    async fn piece(&mut self, readable: u64) -> io::Result<Bytes> {
        let len = (readable - self.at).min(READ_BYTES as u64);
        let mut bytes = BytesMut::zeroed(usize::try_from(len).map_err(io::Error::other)?);
        self.file.seek(SeekFrom::Start(self.at)).await?;
        self.file.read_exact(&mut bytes).await?;
        self.at += len;
        Ok(bytes.freeze())
    }
}
