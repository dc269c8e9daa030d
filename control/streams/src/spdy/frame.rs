//! Frames to and from bytes (SPDY draft 3.1, sections 2.2 and 2.6).
//!
//! The payload of a DATA frame comes out in pieces as it arrives, so that a frame of 16 MiB, which
//! the wire allows, never has to be held.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{BlockError, Deflater, Headers, Inflater};

/// The version in control frames: 3 in 3.1 too.
const VERSION: u16 = 3;
/// Bytes of a control frame's payload. The largest that we expect is a SYN_STREAM with a few
/// short headers; one that says it is longer ends the connection.
const CONTROL_BYTES_MAX: usize = 16 << 10;
/// Bytes of a piece of data.
const PIECE_BYTES_MAX: usize = 32 << 10;
/// Bytes of a frame's head.
const HEAD_BYTES: usize = 8;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

/// Why a stream was reset (section 2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)] // the draft's own words
pub enum Reset {
    ProtocolError = 1,
    InvalidStream = 2,
    RefusedStream = 3,
    Cancel = 5,
    FlowControlError = 7,
    StreamAlreadyClosed = 9,
}

/// A frame, or a piece of a DATA frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the draft's own words
pub enum Frame {
    SynStream {
        id: u32,
        /// The sender sends nothing more on it.
        fin: bool,
        /// The receiver may send nothing on it.
        unidirectional: bool,
        headers: Headers,
    },
    SynReply {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    Rst {
        id: u32,
        status: u32,
    },
    Settings {
        /// Ids and values.
        values: Vec<(u32, u32)>,
    },
    Ping(u32),
    GoAway {
        last: u32,
        status: u32,
    },
    /// More headers, which Kubernetes does not use.
    Headers {
        id: u32,
        fin: bool,
    },
    /// For one stream, or for the connection (id 0).
    WindowUpdate {
        id: u32,
        delta: u32,
    },
    Data {
        id: u32,
        /// Of the last piece: the sender sends nothing more on the stream.
        fin: bool,
        bytes: Bytes,
    },
}

/// What a peer cannot send without ending its connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not this protocol, or another version of it.
    #[error("a control frame of SPDY version {0}, but 3 was agreed on")]
    Version(u16),
    /// Longer than any that Kubernetes needs.
    #[error("a control frame of {0} bytes, more than {CONTROL_BYTES_MAX}")]
    TooLong(usize),
    /// Its length does not fit its type.
    #[error("a frame of type {kind} with {length} bytes")]
    Length {
        /// The control frame's type.
        kind: u16,
        /// Its payload's length.
        length: usize,
    },
    /// A frame that must name a stream, and names none.
    #[error("a frame of type {0} for stream 0")]
    NoStream(u16),
    /// Its headers cannot be read.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// Turns bytes into frames.
pub struct Decoder {
    inflater: Inflater,
    /// The DATA frame whose payload is arriving: stream, bytes to come, FIN.
    data: Option<(u32, usize, bool)>,
    /// Bytes to come of a frame that means nothing to us.
    skip: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            inflater: Inflater::new(),
            data: None,
            skip: 0,
        }
    }
}

impl Decoder {
    /// Takes the next frame off `input`; `None` if more bytes are needed. `input` never has to
    /// hold more than a control frame.
    ///
    /// # Errors
    /// See [`FrameError`]; the connection cannot go on after one.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            if self.skip > 0 {
                let skipped = self.skip.min(input.len());
                input.advance(skipped);
                self.skip -= skipped;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            if let Some((id, left, fin)) = self.data {
                if input.is_empty() && left > 0 {
                    return Ok(None);
                }
                let bytes = input.split_to(left.min(input.len()).min(PIECE_BYTES_MAX));
                let left = left - bytes.len();
                self.data = (left > 0).then_some((id, left, fin));
                return Ok(Some(Frame::Data {
                    id,
                    fin: fin && left == 0,
                    bytes: bytes.freeze(),
                }));
            }
            let Some(head) = input.first_chunk::<HEAD_BYTES>() else {
                return Ok(None);
            };
            let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let flags = head[4];
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            if word & 0x8000_0000 == 0 {
                if word == 0 {
                    return Err(FrameError::NoStream(0));
                }
                input.advance(HEAD_BYTES);
                self.data = Some((word, length, flags & FLAG_FIN != 0));
                continue;
            }
            let (version, kind) = (head_version(word), word as u16);
            if version != VERSION {
                return Err(FrameError::Version(version));
            }
            if length > CONTROL_BYTES_MAX {
                return Err(FrameError::TooLong(length));
            }
            if !(SYN_STREAM..=WINDOW_UPDATE).contains(&kind) || kind == 5 {
                // Unknown types are to be ignored.
                input.advance(HEAD_BYTES);
                self.skip = length;
                continue;
            }
            if input.len() < HEAD_BYTES + length {
                return Ok(None);
            }
            input.advance(HEAD_BYTES);
            let payload = input.split_to(length).freeze();
            return self.control(kind, flags, payload).map(Some);
        }
    }

    fn control(&mut self, kind: u16, flags: u8, mut p: Bytes) -> Result<Frame, FrameError> {
        let length = p.len();
        let wrong = FrameError::Length { kind, length };
        let fits = match kind {
            SYN_STREAM => length >= 10,
            SYN_REPLY | HEADERS | SETTINGS => length >= 4,
            PING => length == 4,
            _ => length == 8,
        };
        if !fits {
            return Err(wrong);
        }
        let fin = flags & FLAG_FIN != 0;
        let first = p.get_u32();
        let id = first & 0x7fff_ffff;
        if id == 0 && matches!(kind, SYN_STREAM | SYN_REPLY | HEADERS | RST_STREAM) {
            return Err(FrameError::NoStream(kind));
        }
        Ok(match kind {
            SYN_STREAM => {
                p.advance(6); // the associated stream, priority and slot
                Frame::SynStream {
                    id,
                    fin,
                    unidirectional: flags & FLAG_UNIDIRECTIONAL != 0,
                    headers: self.inflater.decompress(&p)?,
                }
            }
            SYN_REPLY => Frame::SynReply {
                id,
                fin,
                headers: self.inflater.decompress(&p)?,
            },
            HEADERS => {
                // Read although nobody wants them: the blocks share one zlib stream.
                self.inflater.decompress(&p)?;
                Frame::Headers { id, fin }
            }
            SETTINGS => {
                if p.remaining() != (first as usize).saturating_mul(8) {
                    return Err(wrong);
                }
                let entry = |_| (p.get_u32() & 0x00ff_ffff, p.get_u32());
                Frame::Settings {
                    values: (0..first).map(entry).collect(),
                }
            }
            PING => Frame::Ping(first),
            RST_STREAM => Frame::Rst {
                id,
                status: p.get_u32(),
            },
            GOAWAY => Frame::GoAway {
                last: id,
                status: p.get_u32(),
            },
            _ => Frame::WindowUpdate {
                id,
                delta: p.get_u32() & 0x7fff_ffff,
            },
        })
    }
}

fn head_version(word: u32) -> u16 {
    (word >> 16) as u16 & 0x7fff
}

/// Turns frames into bytes.
pub struct Encoder {
    deflater: Deflater,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            deflater: Deflater::new(),
        }
    }
}

impl Encoder {
    /// Appends a frame. Data beyond 16 MiB becomes several.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        const LENGTH_MAX: usize = 0x00ff_ffff;
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        match frame {
            Frame::SynStream {
                id,
                fin,
                unidirectional,
                headers,
            } => {
                let block = self.deflater.compress(headers);
                let flags = flag(*fin, FLAG_FIN) | flag(*unidirectional, FLAG_UNIDIRECTIONAL);
                control(out, SYN_STREAM, flags, 10 + block.len());
                out.put_u32(*id);
                out.put_u32(0);
                out.put_u16(0);
                out.extend_from_slice(&block);
            }
            Frame::SynReply { id, fin, headers } => {
                let block = self.deflater.compress(headers);
                control(out, SYN_REPLY, flag(*fin, FLAG_FIN), 4 + block.len());
                out.put_u32(*id);
                out.extend_from_slice(&block);
            }
            Frame::Headers { id, fin } => {
                let block = self.deflater.compress(&Headers::default());
                control(out, HEADERS, flag(*fin, FLAG_FIN), 4 + block.len());
                out.put_u32(*id);
                out.extend_from_slice(&block);
            }
            Frame::Settings { values } => {
                control(out, SETTINGS, 0, 4 + 8 * values.len());
                out.put_u32(values.len() as u32);
                for (id, value) in values {
                    out.put_u32(*id);
                    out.put_u32(*value);
                }
            }
            Frame::Ping(id) => {
                control(out, PING, 0, 4);
                out.put_u32(*id);
            }
            Frame::Rst { id, status } => pair(out, RST_STREAM, *id, *status),
            Frame::GoAway { last, status } => pair(out, GOAWAY, *last, *status),
            Frame::WindowUpdate { id, delta } => pair(out, WINDOW_UPDATE, *id, *delta),
            Frame::Data { id, fin, bytes } => {
                let mut rest = &bytes[..];
                loop {
                    let (piece, after) = rest.split_at(rest.len().min(LENGTH_MAX));
                    let last = after.is_empty();
                    out.put_u32(*id);
                    out.put_u32(u32::from(flag(*fin && last, FLAG_FIN)) << 24 | piece.len() as u32);
                    out.extend_from_slice(piece);
                    if last {
                        return;
                    }
                    rest = after;
                }
            }
        }
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    // Control frames of ours are short.
    out.put_u32(u32::from(flags) << 24 | length as u32);
}

fn pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) {
    control(out, kind, 0, 8);
    out.put_u32(first);
    out.put_u32(second);
}

#[cfg(test)]
mod tests;
