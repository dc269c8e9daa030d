//! Tells a torn tail of the log from a damaged one, before raft-engine opens it.
//!
//! After a crash the last log file may end in a write that was never synced and so never acknowledged; raft-engine
//! cuts it off and goes on. It does the same, however, with every record behind a flipped bit in that file, and those
//! *were* acknowledged. So this reads the last file of each queue first and refuses what no crash can explain:
//! - an intact record behind the broken one: writes are synced in order, so the broken one was complete once;
//! - a broken record without a hole: a write that the disk did not finish leaves the file short, or a stretch of
//!   zeros of at least a sector (space is filled with zeros before it is used, and files are never reused).
//!
//! Earlier files were synced before the next one was begun; raft-engine itself refuses damage there.
//!
//! The layout is that of raft-engine 0.4, without compression:
//! ```text
//! file:   magic | u64 version = 2 | u64 alignment = 0 | record ..
//! record: u56 length | u8 compression = 0 | u64 offset of the items | entries, crc32 | items, crc32 ^ file number
//! ```
//! Numbers in headers are big endian, checksums little endian. A record without entries has no checksum for them.

use std::fs;
use std::path::Path;

use super::floor;
use crate::error::OpenError;

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const VERSION: u64 = 2;
const FILE_HEADER_BYTES: usize = MAGIC.len() + 16;
const RECORD_HEADER_BYTES: usize = 16;
/// Items are at least a count and a checksum.
const ITEMS_BYTES_MIN: usize = 5;
/// Disks write whole sectors; this is the smallest in use.
const SECTOR_BYTES: usize = 512;
/// How far the end of the items of a record with a damaged length is searched for.
const ITEMS_SEARCH_BYTES: usize = 1 << 20;

/// What the end of a log file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Clean,
    /// From this offset on, what is there was never synced.
    Torn(usize),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Version(u64),
    What(String),
}

/// Checks the last file of each queue in a log directory.
pub(super) fn audit(dir: &Path) -> Result<(), OpenError> {
    let mut last: [Option<(u64, std::path::PathBuf)>; 2] = [None, None];
    let files = fs::read_dir(dir).map_err(OpenError::io("listing", dir))?;
    for file in files {
        let path = file.map_err(OpenError::io("listing", dir))?.path();
        let Some((queue, number)) = floor::number(&path) else {
            continue;
        };
        let newest = &mut last[queue];
        if newest.as_ref().is_none_or(|(before, _)| *before < number) {
            *newest = Some((number, path));
        }
    }
    for (number, path) in last.into_iter().flatten() {
        let bytes = fs::read(&path).map_err(OpenError::io("reading", &path))?;
        // raft-engine signs records with the low half of the file's number.
        match check(&bytes, number as u32) {
            Ok(Tail::Clean) => {}
            Ok(Tail::Torn(offset)) => tracing::info!(
                file = %path.display(),
                offset,
                "the log ends in a write that was never acknowledged; it is cut off"
            ),
            Err(Damage::Version(found)) => {
                return Err(OpenError::UnknownFormat {
                    file: path,
                    found: u32::try_from(found).unwrap_or(u32::MAX),
                    supported: VERSION as u32,
                });
            }
            Err(Damage::What(what)) => return Err(OpenError::Corrupt { file: path, what }),
        }
    }
    Ok(())
}

pub(super) fn check(bytes: &[u8], signature: u32) -> Result<Tail, Damage> {
    if is_zero(bytes) {
        return Ok(Tail::Torn(0));
    }
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(Damage::What(
            "it does not begin as a log file does".to_owned(),
        ));
    }
    let (Some(version), Some(alignment)) = (
        number(bytes, MAGIC.len()),
        number(bytes, MAGIC.len() + size_of::<u64>()),
    ) else {
        return Ok(Tail::Torn(0));
    };
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    if alignment != 0 {
        return Err(Damage::What(format!(
            "it claims an alignment of {alignment}"
        )));
    }
    let mut offset = FILE_HEADER_BYTES;
    while offset < bytes.len() {
        match record(&bytes[offset..], signature) {
            Some(len) => offset += len,
            None => return judge(bytes, offset, signature),
        }
    }
    Ok(Tail::Clean)
}

/// The length of the intact record that `bytes` begin with.
fn record(bytes: &[u8], signature: u32) -> Option<usize> {
    let (len, items) = header(bytes)?;
    let bytes = bytes.get(..len)?;
    let entries = &bytes[RECORD_HEADER_BYTES..items];
    (checked(&bytes[items..], signature) && (entries.is_empty() || checked(entries, 0)))
        .then_some(len)
}

/// The length of a record and the offset of its items, if they can be true.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let len_and_compression = number(bytes, 0)?;
    let items = usize::try_from(number(bytes, 8)?).ok()?;
    let len = usize::try_from(len_and_compression >> 8).ok()?;
    let possible = len_and_compression & 0xff == 0
        && items >= RECORD_HEADER_BYTES
        && len >= items.checked_add(ITEMS_BYTES_MIN)?;
    possible.then_some((len, items))
}

/// Whether the last four bytes are the signed checksum of those before.
fn checked(bytes: &[u8], signature: u32) -> bool {
    bytes.split_last_chunk().is_some_and(|(body, checksum)| {
        crc32fast::hash(body) ^ signature == u32::from_le_bytes(*checksum)
    })
}

/// Whether the broken record at `offset` is a write that was never finished.
fn judge(bytes: &[u8], offset: usize, signature: u32) -> Result<Tail, Damage> {
    let torn = Ok(Tail::Torn(offset));
    let rest = &bytes[offset..];
    if is_zero(rest) {
        return torn;
    }
    let later = (1..rest.len()).find(|at| record(&rest[*at..], signature).is_some());
    if let Some(later) = later {
        return Err(Damage::What(format!(
            "the record at offset {offset} is broken, and intact ones follow at {}",
            offset + later
        )));
    }
    let broken = Err(Damage::What(format!(
        "the record at offset {offset} is complete, but its checksum does not match"
    )));
    if rest.len() < RECORD_HEADER_BYTES {
        return torn;
    }
    // Sectors are those of the file, and the first one holds the end of the record before.
    let hole = |from: usize, to: usize| {
        (offset + from..offset + to)
            .step_by_sector()
            .any(|(from, to)| is_zero(&bytes[from..to]))
    };
    match header(rest) {
        Some((_, items)) if is_complete(rest, items, signature) => broken,
        Some((len, _)) if len <= rest.len() => {
            let unfinished = is_zero(&rest[len - 4..len]);
            if unfinished || hole(0, len) {
                torn
            } else {
                broken
            }
        }
        Some(_) => torn,
        None if hole(0, RECORD_HEADER_BYTES) => torn,
        None => broken,
    }
}

/// Whether a broken record is there in full, only shorter than it claims, so that its length must be wrong.
fn is_complete(rest: &[u8], items: usize, signature: u32) -> bool {
    let Some(entries) = rest.get(RECORD_HEADER_BYTES..items) else {
        return false;
    };
    if !entries.is_empty() && !checked(entries, 0) {
        return false;
    }
    let items = &rest[items..];
    let mut hasher = crc32fast::Hasher::new();
    for (at, window) in items.windows(4).take(ITEMS_SEARCH_BYTES).enumerate() {
        let checksum = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
        if at > 0 && hasher.clone().finalize() ^ signature == checksum {
            return true;
        }
        hasher.update(&items[at..=at]);
    }
    false
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

trait StepBySector {
    /// The parts of a stretch of a file that lie in one sector each.
    fn step_by_sector(self) -> impl Iterator<Item = (usize, usize)>;
}

impl StepBySector for std::ops::Range<usize> {
    fn step_by_sector(self) -> impl Iterator<Item = (usize, usize)> {
        let mut from = self.start;
        std::iter::from_fn(move || {
            let part = from;
            if part >= self.end {
                return None;
            }
            from = ((part / SECTOR_BYTES + 1) * SECTOR_BYTES).min(self.end);
            Some((part, from))
        })
    }
}

/// What a log file begins with.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn file_header() -> Vec<u8> {
    [MAGIC, &VERSION.to_be_bytes(), &0_u64.to_be_bytes()].concat()
}

/// A record with checksums that fit.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn record_of(entries: &[u8], items: &[u8], signature: u32) -> Vec<u8> {
    let mut bytes = vec![0; RECORD_HEADER_BYTES];
    if !entries.is_empty() {
        bytes.extend_from_slice(entries);
        bytes.extend_from_slice(&crc32fast::hash(entries).to_le_bytes());
    }
    let items_at = bytes.len() as u64;
    bytes.extend_from_slice(items);
    bytes.extend_from_slice(&(crc32fast::hash(items) ^ signature).to_le_bytes());
    let len = (bytes.len() as u64) << 8;
    bytes[..8].copy_from_slice(&len.to_be_bytes());
    bytes[8..16].copy_from_slice(&items_at.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: u32 = 7;

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        [file_header(), records.concat()].concat()
    }

    fn make(entries: &[u8], items: &[u8]) -> Vec<u8> {
        record_of(entries, items, SIGNATURE)
    }

    fn filler(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8 + 1).collect()
    }

    fn records() -> Vec<Vec<u8>> {
        vec![
            make(&filler(40), b"\x01items"),
            make(b"", b"\x01only items"),
            make(&filler(1300), b"\x01more items"),
        ]
    }

    #[test]
    fn an_intact_file_passes() {
        let bytes = file(&records());
        assert_eq!(check(&bytes, SIGNATURE), Ok(Tail::Clean));
        let end = bytes.len();
        let reserved = [bytes, vec![0; 5000]].concat();
        assert_eq!(check(&reserved, SIGNATURE), Ok(Tail::Torn(end)));
    }

    #[test]
    fn a_file_cut_anywhere_is_torn() {
        let bytes = file(&records());
        for len in 0..bytes.len() {
            let tail = check(&bytes[..len], SIGNATURE);
            assert!(tail.is_ok(), "{len} bytes: {tail:?}");
        }
    }

    #[test]
    fn a_sector_that_was_not_written_is_torn() {
        let bytes = file(&records());
        let start = bytes.len() - records()[2].len();
        for hole in (start.next_multiple_of(SECTOR_BYTES)..bytes.len()).step_by(SECTOR_BYTES) {
            let mut bytes = bytes.clone();
            let end = bytes.len().min(hole + SECTOR_BYTES);
            bytes[hole..end].fill(0);
            bytes.resize(8192, 0);
            assert_eq!(check(&bytes, SIGNATURE), Ok(Tail::Torn(start)), "{hole}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for reserved in [0, 4096] {
            let mut bytes = file(&records());
            let written = bytes.len();
            bytes.resize(written + reserved, 0);
            for bit in 0..written * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let result = check(&bytes, SIGNATURE);
                assert!(
                    result.is_err(),
                    "byte {}, bit {}: {result:?}",
                    bit / 8,
                    bit % 8
                );
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn whatever_a_file_holds_the_audit_returns(
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u64>()), 1..4),
            len in proptest::prelude::any::<proptest::sample::Index>(),
        ) {
            let mut bytes = file(&records());
            for (at, number) in changes {
                // Lengths and offsets are numbers of eight bytes.
                let at = at.index(bytes.len() - 8);
                bytes[at..at + 8].copy_from_slice(&(number >> (number % 64)).to_be_bytes());
            }
            bytes.truncate(len.index(bytes.len() + 1));
            let _ = check(&bytes, SIGNATURE);
        }
    }

    #[test]
    fn another_files_records_are_not_taken_for_this_ones() {
        assert!(check(&file(&records()), SIGNATURE + 1).is_err());
    }
}
