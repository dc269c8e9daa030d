//! What etcd's clients find at the end of a snapshot that they saved: zeros up to a multiple of 512 bytes, and the SHA-256
//! of all before it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use sha2::{Digest as _, Sha256};

use super::BLOCK_BYTES;

pub(super) const DIGEST_BYTES: u64 = 32;
pub(super) const PADDING_BYTES_MAX: u64 = SECTOR_BYTES - 1;
const SECTOR_BYTES: u64 = 512;

/// Whether a file of `bytes` ends in a digest that matches. Leaves the file at its beginning.
pub(super) fn is_sealed(file: &mut File, bytes: u64) -> io::Result<bool> {
    if bytes % SECTOR_BYTES != DIGEST_BYTES {
        return Ok(false);
    }
    let mut digest = Sha256::new();
    let mut reader = BufReader::with_capacity(BLOCK_BYTES, &*file);
    io::copy(&mut reader.by_ref().take(bytes - DIGEST_BYTES), &mut digest)?;
    let mut end = Vec::new();
    reader.read_to_end(&mut end)?;
    file.rewind()?;
    Ok(digest.finalize().as_slice() == end)
}
