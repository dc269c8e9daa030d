//! Reads a container's log: its last lines, from a time on, and whatever comes.

use super::format::{self, Line};
use super::writer::Log;
use super::{OLDER_PARTS, part};
use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How much is read and sent at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that wait for a slow client; the reader then waits too, and the files keep the rest.
const BLOCKS_WAITING: usize = 4;
/// A follower looks for itself this often, should a notice have been missed.
const FOLLOW_LOOK: Duration = Duration::from_secs(5);

/// What is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    /// Only the last so many lines.
    pub(crate) tail_lines: Option<u64>,
    /// Only lines from this time on.
    pub(crate) since: Option<Timestamp>,
    /// No more than so many bytes.
    pub(crate) limit_bytes: Option<u64>,
}

/// Streams the log of one start of a container. `live` is the log while its container may still
/// write to it. A log without a file is empty.
pub(crate) fn stream(
    dir: PathBuf,
    restart: i32,
    live: Option<Arc<Log>>,
    query: Query,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(BLOCKS_WAITING);
    tokio::spawn(async move {
        let mut output = Output::new(&query);
        if let Err(Stop::Failed(error)) =
            run(&dir, restart, live, &query, &mut output, &sender).await
        {
            // The client may be gone already.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

enum Stop {
    /// Enough was sent, or nobody takes it any more.
    Done,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

async fn run(
    dir: &Path,
    restart: i32,
    live: Option<Arc<Log>>,
    query: &Query,
    output: &mut Output,
    sender: &Sender,
) -> Result<(), Stop> {
    let (plan_dir, tail) = (dir.to_owned(), query.tail_lines);
    let mut starts: VecDeque<Start> =
        blocking(move || plan_reading(&plan_dir, restart, tail)).await?;
    // The file that is read, to see whether it has been rotated away.
    let mut last: Option<Start> = None;
    loop {
        // Looked at before reading: what is written in between is then found the next time.
        let finished = live.as_ref().is_none_or(|log| log.finished());
        let notified = live.as_ref().map(|log| log.notified());
        tokio::pin!(notified);
        if let Some(mut notified) = notified.as_mut().as_pin_mut() {
            notified.as_mut().enable();
        }
        while let Some(start) = starts.pop_front() {
            last = Some(send_file(start, output, sender).await?);
        }
        if !query.follow || finished {
            output.flush(sender).await?;
            return Ok(());
        }
        output.flush(sender).await?;
        tokio::select! {
            () = sender.closed() => return Err(Stop::Done),
            () = async { match notified.as_mut().as_pin_mut() { Some(n) => n.await, None => std::future::pending().await } } => {}
            () = tokio::time::sleep(FOLLOW_LOOK) => {}
        }
        let (dir, position) = (dir.to_owned(), last.take());
        starts = blocking(move || continue_reading(&dir, restart, position)).await?;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Stop> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Stop::Done),
    }
}

/// A file and where in it to begin.
struct Start {
    file: File,
    offset: u64,
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files to read, oldest first, and where the last `tail` lines begin.
fn plan_reading(dir: &Path, restart: i32, tail: Option<u64>) -> io::Result<VecDeque<Start>> {
    let mut starts = VecDeque::new();
    let mut wanted = tail;
    for age in 0..=OLDER_PARTS {
        let Some(mut file) = open(&part(dir, restart, age))? else {
            continue;
        };
        let mut offset = 0;
        if let Some(lines) = wanted.as_mut() {
            let (found, at) = tail_offset(&mut file, *lines)?;
            offset = at;
            *lines -= found;
        }
        starts.push_front(Start { file, offset });
        if wanted == Some(0) {
            break;
        }
    }
    Ok(starts)
}

/// Where the last `lines` lines of a file begin, and how many it has up to that number. Reads from
/// the end, so that the tail of a large file costs what the tail is.
fn tail_offset(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    let mut end = file.seek(SeekFrom::End(0))?;
    if lines == 0 || end == 0 {
        return Ok((0, end));
    }
    let mut block = vec![0; BLOCK_BYTES];
    let mut found = 0;
    let mut at_end = true;
    // Pieces of a long line end in a line feed too; only the tag tells. Tails are counted in file
    // lines therefore, which errs towards showing less of a line of more than 16 KiB.
    while end > 0 {
        let length = BLOCK_BYTES.min(usize::try_from(end).unwrap_or(BLOCK_BYTES));
        let start = end - length as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length])?;
        for position in (0..length).rev() {
            if block[position] != b'\n' {
                at_end = false;
                continue;
            }
            if at_end {
                at_end = false;
                continue;
            }
            found += 1;
            if found == lines {
                return Ok((found, start + position as u64 + 1));
            }
        }
        end = start;
    }
    Ok((found + 1, 0))
}

/// What has been written since: the rest of the file that was read, and the one after it if it was
/// rotated away.
fn continue_reading(
    dir: &Path,
    restart: i32,
    position: Option<Start>,
) -> io::Result<VecDeque<Start>> {
    let current = open(&part(dir, restart, 0))?;
    let mut starts = VecDeque::new();
    match (position, current) {
        (None, Some(file)) => starts.push_back(Start { file, offset: 0 }),
        (Some(before), current) => {
            let was = before.file.metadata()?.ino();
            starts.push_back(before);
            if let Some(file) = current
                && file.metadata()?.ino() != was
            {
                starts.push_back(Start { file, offset: 0 });
            }
        }
        (None, None) => {}
    }
    Ok(starts)
}

/// Reads a file to its present end and returns where that is.
async fn send_file(mut start: Start, output: &mut Output, sender: &Sender) -> Result<Start, Stop> {
    loop {
        let (next, block) = blocking(move || {
            let mut block = vec![0; BLOCK_BYTES];
            start.file.seek(SeekFrom::Start(start.offset))?;
            let read = start.file.read(&mut block)?;
            block.truncate(read);
            start.offset += read as u64;
            Ok((start, block))
        })
        .await?;
        start = next;
        if block.is_empty() {
            return Ok(start);
        }
        output.take(&block);
        if output.full() {
            output.flush(sender).await?;
            return Err(Stop::Done);
        }
        if output.ready.len() >= BLOCK_BYTES {
            output.flush(sender).await?;
        }
    }
}

/// Turns lines of the file into what the client asked to see.
struct Output {
    timestamps: bool,
    since: Option<Timestamp>,
    left: Option<u64>,
    /// A line that is not complete yet.
    begun: Vec<u8>,
    ready: Vec<u8>,
    /// The last piece shown did not end its line.
    inside_line: bool,
}

impl Output {
    fn new(query: &Query) -> Self {
        Self {
            timestamps: query.timestamps,
            since: query.since,
            left: query.limit_bytes,
            begun: Vec::new(),
            ready: Vec::new(),
            inside_line: false,
        }
    }

    fn take(&mut self, block: &[u8]) {
        let mut rest = block;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if self.begun.is_empty() {
                self.line(line);
            } else {
                let mut begun = std::mem::take(&mut self.begun);
                begun.extend_from_slice(line);
                self.line(&begun);
            }
        }
        self.begun.extend_from_slice(rest);
    }

    fn line(&mut self, line: &[u8]) {
        let Some(line) = format::parse(line) else {
            return;
        };
        if let Some(since) = self.since {
            if line.timestamp().is_some_and(|at| at < since) {
                return;
            }
            // Lines are in order: from the first one on, all are wanted.
            self.since = None;
        }
        self.show(&line);
    }

    fn show(&mut self, line: &Line<'_>) {
        if self.timestamps && !self.inside_line {
            self.ready.extend_from_slice(line.at.as_bytes());
            self.ready.push(b' ');
        }
        self.ready.extend_from_slice(line.text);
        if line.whole {
            self.ready.push(b'\n');
        }
        self.inside_line = !line.whole;
    }

    fn full(&self) -> bool {
        self.left
            .is_some_and(|left| self.ready.len() as u64 >= left)
    }

    async fn flush(&mut self, sender: &Sender) -> Result<(), Stop> {
        if let Some(left) = self.left.as_mut() {
            let allowed = usize::try_from(*left).unwrap_or(usize::MAX);
            self.ready.truncate(allowed);
            *left -= self.ready.len() as u64;
        }
        if !self.ready.is_empty() {
            let block = Bytes::from(std::mem::take(&mut self.ready));
            sender.send(Ok(block)).await.map_err(|_| Stop::Done)?;
        }
        match self.left {
            Some(0) => Err(Stop::Done),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::format::Stream;
    use crate::logs::writer::LogDisk;

    async fn read(dir: &Path, query: Query) -> String {
        let mut blocks = stream(dir.to_owned(), 0, None, query);
        let mut text = Vec::new();
        while let Some(block) = blocks.recv().await {
            text.extend_from_slice(&block.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    fn line(second: i64, text: &str) -> String {
        let mut out = Vec::new();
        let at = Timestamp::from_second(second).unwrap();
        format::append(&mut out, at, Stream::Stdout, text.as_bytes(), true);
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn queries_choose_lines() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(part(dir.path(), 0, 1), line(1, "a") + &line(2, "b")).unwrap();
        std::fs::write(part(dir.path(), 0, 0), line(3, "c") + &line(4, "d")).unwrap();
        let base = Query::default;
        let tail = |lines| Query {
            tail_lines: Some(lines),
            ..base()
        };
        for (query, expect) in [
            (base(), "a\nb\nc\nd\n"),
            (tail(0), ""),
            (tail(1), "d\n"),
            (tail(2), "c\nd\n"),
            (tail(3), "b\nc\nd\n"),
            (tail(4), "a\nb\nc\nd\n"),
            (tail(99), "a\nb\nc\nd\n"),
            (
                Query {
                    since: Timestamp::from_second(3).ok(),
                    ..base()
                },
                "c\nd\n",
            ),
            (
                Query {
                    limit_bytes: Some(3),
                    ..base()
                },
                "a\nb",
            ),
            (
                Query {
                    timestamps: true,
                    ..tail(1)
                },
                "1970-01-01T00:00:04.000000000Z d\n",
            ),
        ] {
            assert_eq!(read(dir.path(), query.clone()).await, expect, "{query:?}");
        }
        assert_eq!(read(&dir.path().join("none"), base()).await, "");
    }

    #[tokio::test]
    async fn tails_of_large_files_cross_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..5000).map(|n| line(n, &format!("line {n}"))).collect();
        assert!(text.len() > 3 * BLOCK_BYTES);
        std::fs::write(part(dir.path(), 0, 0), text).unwrap();
        let shown = read(
            dir.path(),
            Query {
                tail_lines: Some(4000),
                ..Query::default()
            },
        )
        .await;
        assert_eq!(shown.lines().count(), 4000);
        assert!(shown.starts_with("line 1000\n") && shown.ends_with("line 4999\n"));
    }

    #[tokio::test]
    async fn a_follower_sees_lines_as_they_come_and_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let writer = LogDisk::start().unwrap().open(dir.path().to_owned(), 0);
        let query = Query {
            follow: true,
            ..Query::default()
        };
        let mut blocks = stream(dir.path().to_owned(), 0, Some(writer.log().clone()), query);
        writer.write(Stream::Stdout, b"one\n");
        assert_eq!(blocks.recv().await.unwrap().unwrap(), "one\n");
        writer.write(Stream::Stdout, b"two\n");
        assert_eq!(blocks.recv().await.unwrap().unwrap(), "two\n");
        writer.close(Duration::from_secs(10)).await;
        assert!(blocks.recv().await.is_none());
    }
}
