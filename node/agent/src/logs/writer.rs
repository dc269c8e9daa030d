//! Takes what a guest prints and brings it to disk without ever making the guest wait.
//!
//! A container's output is gathered in memory, at most [`PENDING_BYTES_MAX`], and written by one
//! thread for the whole node. What does not fit is dropped and counted, and the log says so. A
//! container that prints nothing has no file, no buffer and no thread.

use super::format::{self, PIECE_BYTES_MAX, Stream};
use super::{FILE_BYTES_MAX, OLDER_PARTS, part};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Output of one container that waits for the disk: a few tens of thousands of short lines.
const PENDING_BYTES_MAX: usize = 512 * 1024;
/// What one container may log on average, and at once: a container that prints in a loop must not
/// wear out the disk or push everybody's logs out of the page cache.
const BYTES_PER_SECOND: f64 = 4.0 * 1024.0 * 1024.0;
const BURST_BYTES: f64 = 16.0 * 1024.0 * 1024.0;

/// The thread that writes, shared by all containers of a node. It ends when the last writer is
/// gone.
#[derive(Clone)]
pub(crate) struct LogDisk {
    /// Every log stands in the queue at most once, so that it is as long as there are containers
    /// that print.
    queue: mpsc::Sender<Arc<Log>>,
}

impl LogDisk {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (queue, logs) = mpsc::channel::<Arc<Log>>();
        std::thread::Builder::new()
            .name("log-disk".into())
            .spawn(move || {
                for log in logs {
                    log.flush();
                }
            })?;
        Ok(Self { queue })
    }

    /// A log of one start of a container. Nothing is created before the first line.
    pub(crate) fn open(&self, dir: PathBuf, restart: i32) -> Arc<LogWriter> {
        Arc::new(LogWriter {
            log: Arc::new(Log {
                dir,
                restart,
                inner: Mutex::new(Inner::default()),
                written: Notify::new(),
            }),
            queue: self.queue.clone(),
        })
    }
}

/// Where one container's output goes.
pub(crate) struct LogWriter {
    log: Arc<Log>,
    queue: mpsc::Sender<Arc<Log>>,
}

/// One start of a container.
pub(crate) struct Log {
    pub(crate) dir: PathBuf,
    pub(crate) restart: i32,
    inner: Mutex<Inner>,
    written: Notify,
}

#[derive(Default)]
struct Inner {
    /// Formatted, waiting for the disk.
    pending: Vec<u8>,
    queued: bool,
    writing: bool,
    /// The beginnings of lines that have not ended: stdout's and stderr's.
    open_lines: [Vec<u8>; 2],
    dropped_bytes: u64,
    budget: Option<(f64, Instant)>,
    closed: bool,
    made_dir: bool,
}

impl Inner {
    fn allow(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        let (left, since) = self.budget.unwrap_or((BURST_BYTES, now));
        let left =
            (left + now.duration_since(since).as_secs_f64() * BYTES_PER_SECOND).min(BURST_BYTES);
        let allowed = left >= bytes as f64 && self.pending.len() + bytes <= PENDING_BYTES_MAX;
        self.budget = Some((if allowed { left - bytes as f64 } else { left }, now));
        allowed
    }

    fn push(&mut self, at: Timestamp, stream: Stream, piece: &[u8], whole: bool) {
        if !self.allow(piece.len() + 64) {
            self.dropped_bytes += piece.len() as u64 + 1;
            return;
        }
        if self.dropped_bytes > 0 {
            let note = format!(
                "[euston: {} bytes of output were dropped here; the container prints faster than its log may grow]",
                std::mem::take(&mut self.dropped_bytes)
            );
            format::append(&mut self.pending, at, Stream::Stderr, note.as_bytes(), true);
        }
        format::append(&mut self.pending, at, stream, piece, whole);
    }
}

impl LogWriter {
    /// Takes bytes as they were printed. Never blocks on the disk.
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let at = Timestamp::now();
        let mut inner = self.log.inner.lock();
        if inner.closed {
            return;
        }
        let mut open = std::mem::take(&mut inner.open_lines[stream as usize]);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if open.is_empty() {
                push_pieces(&mut inner, at, stream, line, true);
            } else {
                open.extend_from_slice(line);
                push_pieces(&mut inner, at, stream, &open, true);
                open.clear();
            }
        }
        open.extend_from_slice(rest);
        if open.len() >= PIECE_BYTES_MAX {
            push_pieces(&mut inner, at, stream, &open, false);
            open.clear();
        }
        inner.open_lines[stream as usize] = open;
        self.enqueue(inner);
    }

    /// Writes what is left, lines without an end too, and returns when it is on its way to the disk
    /// and readable. Nothing is taken afterwards.
    pub(crate) async fn close(&self, at_most: Duration) {
        {
            let at = Timestamp::now();
            let mut inner = self.log.inner.lock();
            for stream in [Stream::Stdout, Stream::Stderr] {
                let open = std::mem::take(&mut inner.open_lines[stream as usize]);
                if !open.is_empty() {
                    push_pieces(&mut inner, at, stream, &open, true);
                }
            }
            inner.closed = true;
            self.enqueue(inner);
        }
        // A disk that hangs must not keep a pod from being reported as ended.
        let _ = tokio::time::timeout(at_most, self.log.settled()).await;
        self.log.written.notify_waiters();
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    fn enqueue(&self, mut inner: parking_lot::MutexGuard<'_, Inner>) {
        if !inner.queued && !inner.pending.is_empty() {
            inner.queued = true;
            drop(inner);
            // The thread lives as long as this sender.
            let _ = self.queue.send(self.log.clone());
        }
    }
}

fn push_pieces(inner: &mut Inner, at: Timestamp, stream: Stream, line: &[u8], ends: bool) {
    let mut pieces = line.chunks(PIECE_BYTES_MAX).peekable();
    if pieces.peek().is_none() && ends {
        inner.push(at, stream, &[], true);
    }
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        inner.push(at, stream, piece, ends && last);
    }
}

impl Log {
    /// Whether nothing more will come, and everything is written.
    pub(crate) fn finished(&self) -> bool {
        let inner = self.inner.lock();
        inner.closed && inner.pending.is_empty() && !inner.writing
    }

    /// Waits for more to read, or for the end.
    pub(crate) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.written.notified()
    }

    async fn settled(&self) {
        loop {
            let written = self.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            if self.finished() {
                return;
            }
            written.await;
        }
    }

    fn flush(&self) {
        let (bytes, make_dir) = {
            let mut inner = self.inner.lock();
            inner.queued = false;
            inner.writing = true;
            let make_dir = !inner.made_dir;
            inner.made_dir = true;
            (std::mem::take(&mut inner.pending), make_dir)
        };
        let outcome = write_out(&self.dir, self.restart, &bytes, make_dir);
        let mut inner = self.inner.lock();
        inner.writing = false;
        if let Err(error) = outcome {
            inner.dropped_bytes += bytes.len() as u64;
            inner.made_dir = false;
            drop(inner);
            tracing::warn!(dir = %self.dir.display(), %error, "cannot write a container's log; its output is dropped");
        } else {
            drop(inner);
        }
        self.written.notify_waiters();
    }
}

/// Appends to the file and closes it again: a node with ten thousand containers that print now and
/// then does not hold ten thousand files open.
fn write_out(dir: &Path, restart: i32, bytes: &[u8], make_dir: bool) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if make_dir {
        std::fs::create_dir_all(dir)?;
    }
    let path = part(dir, restart, 0);
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    file.write_all(bytes)?;
    if file.metadata()?.len() >= FILE_BYTES_MAX {
        drop(file);
        rotate(dir, restart)?;
    }
    Ok(())
}

fn rotate(dir: &Path, restart: i32) -> std::io::Result<()> {
    for age in (0..OLDER_PARTS).rev() {
        match std::fs::rename(part(dir, restart, age), part(dir, restart, age + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn logged(writes: &[(Stream, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let writer = LogDisk::start().unwrap().open(dir.path().join("c"), 0);
        for (stream, text) in writes {
            writer.write(*stream, text.as_bytes());
        }
        writer.close(Duration::from_secs(10)).await;
        assert!(writer.log().finished());
        match std::fs::read_to_string(part(&dir.path().join("c"), 0, 0)) {
            Ok(text) => text
                .lines()
                .map(|line| line.split_once(' ').unwrap().1.to_owned())
                .collect(),
            Err(_) => vec!["no file".to_owned()],
        }
    }

    #[tokio::test]
    async fn output_is_cut_into_lines() {
        use Stream::{Stderr, Stdout};
        for (writes, expect) in [
            (&[][..], &["no file"][..]),
            (&[(Stdout, "one\ntwo\n")], &["stdout F one", "stdout F two"]),
            (&[(Stdout, "on"), (Stdout, "e\n")], &["stdout F one"]),
            (
                &[(Stdout, "a"), (Stderr, "b\n"), (Stdout, "c\n")],
                &["stderr F b", "stdout F ac"],
            ),
            (&[(Stdout, "no end")], &["stdout F no end"]),
            (&[(Stdout, "\n\n")], &["stdout F ", "stdout F "]),
        ] {
            assert_eq!(logged(writes).await, expect, "{writes:?}");
        }
    }

    #[tokio::test]
    async fn long_lines_are_written_in_pieces() {
        let long = "x".repeat(PIECE_BYTES_MAX + 5) + "\n";
        let lines = logged(&[(Stream::Stdout, &long)]).await;
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("stdout P xxx"));
        assert_eq!(lines[1], "stdout F xxxxx");
    }

    #[tokio::test]
    async fn files_rotate_by_size_and_old_parts_go() {
        let dir = tempfile::tempdir().unwrap();
        let big = vec![b'y'; FILE_BYTES_MAX as usize];
        for _ in 0..OLDER_PARTS + 3 {
            write_out(dir.path(), 3, &big, true).unwrap();
        }
        for age in 1..=OLDER_PARTS {
            assert!(part(dir.path(), 3, age).exists(), "part {age}");
        }
        assert!(!part(dir.path(), 3, 0).exists());
        assert!(!part(dir.path(), 3, OLDER_PARTS + 1).exists());
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut inner = Inner::default();
        let at = Timestamp::UNIX_EPOCH;
        let line = vec![b'z'; 1000];
        for _ in 0..1000 {
            inner.push(at, Stream::Stdout, &line, true);
        }
        assert!(inner.pending.len() <= PENDING_BYTES_MAX + 64);
        let dropped = inner.dropped_bytes;
        assert!(dropped > 400_000, "{dropped}");
        inner.pending.clear();
        inner.push(at, Stream::Stdout, b"after", true);
        let text = String::from_utf8(inner.pending.clone()).unwrap();
        assert!(
            text.contains(&format!("{dropped} bytes of output were dropped")),
            "{text}"
        );
        assert!(text.ends_with("stdout F after\n"));
    }
}
