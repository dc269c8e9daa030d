//! One line of a log file: `2026-11-23T21:38:00.123456789Z stdout F text`.

use k8s_openapi::jiff::Timestamp;
use std::io::Write;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Longest piece of a line that is written at once; a longer line is cut into pieces marked `P`, as
/// container runtimes do, so that one line cannot grow without bound in memory.
pub(crate) const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Appends one piece. `whole` says that the line ends here.
pub(crate) fn append(out: &mut Vec<u8>, at: Timestamp, stream: Stream, piece: &[u8], whole: bool) {
    let tag = if whole { 'F' } else { 'P' };
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{at:.9} {} {tag} ", stream.name());
    out.extend_from_slice(piece);
    out.push(b'\n');
}

/// A line of a file, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) at: &'a str,
    pub(crate) whole: bool,
    pub(crate) text: &'a [u8],
}

/// Reads a line without its line feed; `None` for one that was cut off in a crash.
pub(crate) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let at = std::str::from_utf8(parts.next()?).ok()?;
    let (_stream, tag) = (parts.next()?, parts.next()?);
    Some(Line {
        at,
        whole: tag == b"F",
        text: parts.next()?,
    })
}

impl Line<'_> {
    /// When it was written.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        self.at.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_and_read() {
        let at: Timestamp = "2026-11-23T21:38:00.5Z".parse().unwrap();
        for (stream, piece, whole, expect) in [
            (
                Stream::Stdout,
                "hello",
                true,
                "2026-11-23T21:38:00.500000000Z stdout F hello\n",
            ),
            (
                Stream::Stderr,
                "part",
                false,
                "2026-11-23T21:38:00.500000000Z stderr P part\n",
            ),
            (
                Stream::Stdout,
                "",
                true,
                "2026-11-23T21:38:00.500000000Z stdout F \n",
            ),
            (
                Stream::Stdout,
                "a b  c",
                true,
                "2026-11-23T21:38:00.500000000Z stdout F a b  c\n",
            ),
        ] {
            let mut out = Vec::new();
            append(&mut out, at, stream, piece.as_bytes(), whole);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), expect);
            let line = parse(&out[..out.len() - 1]).unwrap();
            assert_eq!((line.text, line.whole), (piece.as_bytes(), whole));
            assert_eq!(line.timestamp(), Some(at));
        }
        for broken in ["", "2026", "2026-11-23T21:38:00Z stdout", "x stdout F"] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken:?}");
        }
    }
}
