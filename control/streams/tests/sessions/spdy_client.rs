//! A client that speaks SPDY as kubectl does, frame by frame.

use bytes::{Bytes, BytesMut};
use euston_streams::spdy::Headers;
use euston_streams::spdy::frame::{Decoder, Encoder, Frame};
use std::collections::HashMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub struct Client<IO> {
    io: IO,
    encoder: Encoder,
    decoder: Decoder,
    input: BytesMut,
    next: u32,
    /// What came on each stream, and whether it ended.
    pub got: HashMap<u32, (Vec<u8>, bool)>,
    /// Everything else that came, in order.
    pub frames: Vec<Frame>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    pub fn new(io: IO) -> Self {
        Self {
            io,
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            input: BytesMut::new(),
            next: 1,
            got: HashMap::new(),
            frames: Vec::new(),
        }
    }

    pub async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(&frame, &mut bytes);
        self.raw(&bytes).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Opens a stream; does not wait for the reply.
    pub async fn open<const N: usize>(&mut self, headers: [(&str, &str); N]) -> u32 {
        let id = self.next;
        self.next += 2;
        self.send(Frame::SynStream {
            id,
            fin: false,
            unidirectional: false,
            headers: Headers::from(headers),
        })
        .await;
        id
    }

    pub async fn data(&mut self, id: u32, bytes: &[u8], fin: bool) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.send(Frame::Data { id, fin, bytes }).await;
    }

    /// Reads a frame; `false` when the server closed.
    pub async fn read(&mut self) -> bool {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.input).unwrap() {
                match frame {
                    Frame::Data { id, fin, bytes } => {
                        let stream = self.got.entry(id).or_default();
                        stream.0.extend_from_slice(&bytes);
                        stream.1 |= fin;
                    }
                    frame => self.frames.push(frame),
                }
                return true;
            }
            if self.io.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return false;
            }
        }
    }

    /// Reads until something is so.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        crate::within(what, async {
            while !done(self) {
                assert!(self.read().await, "the server closed before {what}");
            }
        })
        .await;
    }

    pub async fn close(&mut self) {
        self.io.shutdown().await.unwrap();
    }

    pub fn text(&self, id: u32) -> String {
        let bytes = self.got.get(&id).map(|(bytes, _)| bytes.clone());
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    }

    pub fn ended(&self, id: u32) -> bool {
        self.got.get(&id).is_some_and(|(_, ended)| *ended)
    }

    pub fn replied(&self, id: u32) -> bool {
        self.frames
            .iter()
            .any(|frame| matches!(frame, Frame::SynReply { id: of, .. } if *of == id))
    }

    /// The status with which a stream was reset.
    pub fn reset(&self, id: u32) -> Option<u32> {
        self.frames.iter().find_map(|frame| match frame {
            Frame::Rst { id: of, status } if *of == id => Some(*status),
            _ => None,
        })
    }

    /// The status with which the server took its leave.
    pub fn went_away(&self) -> Option<u32> {
        self.frames.iter().find_map(|frame| match frame {
            Frame::GoAway { status, .. } => Some(*status),
            _ => None,
        })
    }
}
