//! Header blocks: names and values, compressed by one zlib stream per direction that lives as long
//! as the connection (SPDY draft 3.1, section 2.6.10).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;

/// Bytes of one block, decompressed. Kubernetes' streams have three or four short headers; a block
/// that grows beyond this is a bomb, and ends the connection before it is held.
pub(super) const BLOCK_BYTES_MAX: usize = 16 << 10;
/// Headers of one block.
const HEADERS_MAX: u32 = 64;

/// Names and values of a stream, in order; names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a header; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_ascii_lowercase(), value.to_owned());
        Self(pairs.into_iter().map(own).collect())
    }
}

/// Why a header block cannot be read. The connection's compression state is lost with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// No zlib stream, a damaged one, or one with another dictionary.
    #[error("a header block cannot be decompressed: {0}")]
    Zlib(String),
    /// It would not end.
    #[error("a header block has more than {BLOCK_BYTES_MAX} bytes")]
    TooLong,
    /// Its inner lengths do not fit it.
    #[error("a header block is cut off at its {0}")]
    CutOff(&'static str),
    /// Too many headers.
    #[error("a header block has {0} headers, more than {HEADERS_MAX}")]
    TooMany(u32),
    /// A name is empty, not in lower case, or there twice; or bytes are not text.
    #[error("a header block has a bad name or value: {0:?}")]
    Bad(String),
}

/// The sending side's compressor.
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        // Only refused once data was compressed.
        let known = zlib.set_dictionary(&DICTIONARY);
        debug_assert!(known.is_ok());
        Self(zlib)
    }

    pub(super) fn compress(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = Vec::new();
        let number = |n: usize, plain: &mut Vec<u8>| {
            // What we send is a few short headers.
            plain.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
        };
        number(headers.0.len(), &mut plain);
        for (name, value) in &headers.0 {
            for text in [name, value] {
                number(text.len(), &mut plain);
                plain.extend_from_slice(text.as_bytes());
            }
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let begin = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - begin).unwrap_or(plain.len());
            let before = out.len();
            out.reserve(256);
            let result = self
                .0
                .compress_vec(&plain[done..], &mut out, FlushCompress::Sync);
            let all_in = self.0.total_in() - begin == plain.len() as u64;
            // A sync flush is complete when it leaves room.
            if result.is_err() || (all_in && out.len() < out.capacity()) || out.len() == before {
                return out;
            }
        }
    }
}

/// The receiving side's decompressor.
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Reads one block.
    ///
    /// # Errors
    /// See [`BlockError`]; nothing can be read after one.
    pub(super) fn decompress(&mut self, block: &[u8]) -> Result<Headers, BlockError> {
        let mut plain = Vec::with_capacity(1024);
        let mut input = block;
        loop {
            let before = (self.0.total_in(), plain.len());
            if plain.len() == plain.capacity() {
                plain.reserve(1024);
            }
            let result = self
                .0
                .decompress_vec(input, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before.0).unwrap_or(input.len());
            input = input.get(taken..).unwrap_or_default();
            if plain.len() > BLOCK_BYTES_MAX {
                return Err(BlockError::TooLong);
            }
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(&DICTIONARY)
                        .map_err(|_| BlockError::Zlib("another dictionary".to_owned()))?;
                    continue;
                }
                Err(error) => return Err(BlockError::Zlib(error.to_string())),
                Ok(Status::StreamEnd) => {
                    return Err(BlockError::Zlib("its zlib stream ends".to_owned()));
                }
                Ok(_) => {}
            }
            let room_left = plain.len() < plain.capacity();
            if input.is_empty() && room_left {
                return parse(&plain);
            }
            if taken == 0 && plain.len() == before.1 {
                return Err(BlockError::Zlib("it makes no progress".to_owned()));
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, BlockError> {
    let count = number(&mut plain)?;
    if count > HEADERS_MAX {
        return Err(BlockError::TooMany(count));
    }
    let mut headers = Headers::default();
    for _ in 0..count {
        let name = text(&mut plain, "name")?;
        let value = text(&mut plain, "value")?;
        if name.is_empty()
            || name.bytes().any(|b| b.is_ascii_uppercase())
            || headers.get(&name).is_some()
        {
            return Err(BlockError::Bad(name));
        }
        headers.0.push((name, value));
    }
    if plain.is_empty() {
        Ok(headers)
    } else {
        Err(BlockError::CutOff("end"))
    }
}

fn number(plain: &mut &[u8]) -> Result<u32, BlockError> {
    let (bytes, rest) = plain
        .split_first_chunk::<4>()
        .ok_or(BlockError::CutOff("length"))?;
    *plain = rest;
    Ok(u32::from_be_bytes(*bytes))
}

fn text(plain: &mut &[u8], what: &'static str) -> Result<String, BlockError> {
    let length = usize::try_from(number(plain)?).unwrap_or(usize::MAX);
    let bytes = plain.get(..length).ok_or(BlockError::CutOff(what))?;
    *plain = &plain[length..];
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| BlockError::Bad(String::from_utf8_lossy(bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_share_one_stream() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for headers in [
            Headers::from([("streamType", "error")]),
            Headers::from([]),
            Headers::from([("streamtype", "data"), ("port", "8080"), ("requestid", "0")]),
            Headers::from([("streamtype", "data"), ("port", "8080"), ("requestid", "1")]),
            Headers::from([("x", "y".repeat(BLOCK_BYTES_MAX - 100).as_str())]),
            Headers::from([("streamtype", "error")]),
        ] {
            let block = deflater.compress(&headers);
            assert_eq!(inflater.decompress(&block).unwrap(), headers);
        }
    }

    /// Made by another implementation: zlib's own, with the dictionary, of two headers.
    #[test]
    fn a_block_of_another_implementation_is_read() {
        let block = b"\x78\xbb\xe3\xc6\xa7\xc2\x02\xe5\x0e\x70\x3a\x2b\x29\x4a\x4d\xcc\x45\x2a\x4a\x12\x21\xa5\x72\x11\x28\x05\x33\x59\x18\x00\x00\x00\x00\xff\xff";
        let headers = Inflater::new().decompress(block).unwrap();
        assert_eq!(headers.get("streamtype"), Some("data"));
        assert_eq!(headers.get("port"), Some("80"));
        assert_eq!(headers.get("other"), None);
    }

    fn plain(count: u32, pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut plain = count.to_be_bytes().to_vec();
        for (name, value) in pairs {
            for text in [name, value] {
                plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
                plain.extend_from_slice(text);
            }
        }
        plain
    }

    #[test]
    fn blocks_that_lie_are_refused() {
        let bad = |name: &str| BlockError::Bad(name.to_owned());
        for (plain, expect) in [
            (vec![], BlockError::CutOff("length")),
            (vec![0, 0, 0, 1], BlockError::CutOff("length")),
            (plain(1, &[]), BlockError::CutOff("length")),
            (plain(0, &[(b"a", b"b")]), BlockError::CutOff("end")),
            (plain(u32::MAX, &[]), BlockError::TooMany(u32::MAX)),
            (
                vec![0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, b'a'],
                BlockError::CutOff("name"),
            ),
            (
                vec![0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 9, b'b'],
                BlockError::CutOff("value"),
            ),
            (plain(1, &[(b"", b"b")]), bad("")),
            (plain(1, &[(b"StreamType", b"b")]), bad("StreamType")),
            (plain(2, &[(b"a", b"b"), (b"a", b"c")]), bad("a")),
            (plain(1, &[(b"a", b"\xff")]), bad("\u{fffd}")),
        ] {
            assert_eq!(parse(&plain).unwrap_err(), expect, "{plain:?}");
        }
    }

    #[test]
    fn a_bomb_is_cut_short() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&DICTIONARY).unwrap();
        let mut bomb = Vec::with_capacity(1 << 20);
        zlib.compress_vec(&vec![0; 64 << 20], &mut bomb, FlushCompress::Sync)
            .unwrap();
        assert_eq!(zlib.total_in(), 64 << 20);
        assert!(bomb.len() < 80 << 10, "{}", bomb.len());
        assert_eq!(
            Inflater::new().decompress(&bomb).unwrap_err(),
            BlockError::TooLong
        );
    }

    #[test]
    fn other_dictionaries_and_ended_streams_are_refused() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(b"another").unwrap();
        let mut block = Vec::with_capacity(100);
        zlib.compress_vec(&plain(0, &[]), &mut block, FlushCompress::Sync)
            .unwrap();
        let error = Inflater::new().decompress(&block).unwrap_err();
        assert!(matches!(error, BlockError::Zlib(_)), "{error}");

        let mut zlib = Compress::new(Compression::best(), true);
        let mut block = Vec::with_capacity(100);
        zlib.compress_vec(&plain(0, &[]), &mut block, FlushCompress::Finish)
            .unwrap();
        let error = Inflater::new().decompress(&block).unwrap_err();
        assert!(matches!(error, BlockError::Zlib(_)), "{error}");
    }

    proptest! {
        #[test]
        fn any_headers_come_back(pairs in prop::collection::vec(("[a-z:]{1,12}", ".{0,40}"), 0..8)) {
            let mut headers = Headers::default();
            for (name, value) in pairs {
                if headers.get(&name).is_none() {
                    headers.0.push((name, value));
                }
            }
            let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
            for _ in 0..3 {
                let block = deflater.compress(&headers);
                prop_assert_eq!(&inflater.decompress(&block).unwrap(), &headers);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(block in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..60) {
            let _ = Inflater::new().decompress(&block);
            let _ = parse(&block);
            // A good beginning reaches deeper.
            let good = Deflater::new().compress(&Headers::from([("streamtype", "stdin")]));
            let mut block = [&good[..at.min(good.len())], &block[..]].concat();
            let mut inflater = Inflater::new();
            let _ = inflater.decompress(&block);
            block.reverse();
            let _ = inflater.decompress(&block);
        }
    }
}
