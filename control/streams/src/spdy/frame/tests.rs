use super::*;
use proptest::prelude::*;

fn samples() -> Vec<Frame> {
    let headers = || Headers::from([("streamtype", "data"), ("port", "80")]);
    vec![
        Frame::SynStream {
            id: 1,
            fin: false,
            unidirectional: true,
            headers: headers(),
        },
        Frame::SynReply {
            id: 1,
            fin: true,
            headers: Headers::default(),
        },
        Frame::Headers { id: 1, fin: false },
        Frame::Data {
            id: 1,
            fin: false,
            bytes: Bytes::from_static(b"abc"),
        },
        Frame::Data {
            id: 1,
            fin: true,
            bytes: Bytes::new(),
        },
        Frame::Settings {
            values: vec![(4, 100), (7, 65536)],
        },
        Frame::Ping(7),
        Frame::WindowUpdate { id: 0, delta: 9 },
        Frame::Rst { id: 3, status: 5 },
        Frame::GoAway { last: 3, status: 0 },
        Frame::SynStream {
            id: 3,
            fin: true,
            unidirectional: false,
            headers: headers(),
        },
    ]
}

fn decode_all(bytes: &[u8], step: usize) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut input, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
    for part in bytes.chunks(step) {
        input.extend_from_slice(part);
        while let Some(frame) = decoder.decode(&mut input)? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

#[test]
fn frames_come_back_however_their_bytes_arrive() {
    let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
    for frame in samples() {
        encoder.encode(&frame, &mut bytes);
    }
    assert_eq!(decode_all(&bytes, bytes.len()).unwrap(), samples());
    // In single bytes, data comes in pieces.
    let mut joined: Vec<Frame> = Vec::new();
    for frame in decode_all(&bytes, 1).unwrap() {
        match (joined.last_mut(), frame) {
            (
                Some(Frame::Data { id, fin, bytes }),
                Frame::Data {
                    id: next,
                    fin: last,
                    bytes: more,
                },
            ) if *id == next && !more.is_empty() => {
                *bytes = [&bytes[..], &more[..]].concat().into();
                *fin = last;
            }
            (_, frame) => joined.push(frame),
        }
    }
    assert_eq!(joined, samples());
}

#[test]
fn a_long_data_frame_is_never_held() {
    let mut decoder = Decoder::default();
    let mut input = BytesMut::from(&[0, 0, 0, 1, 1, 0xff, 0xff, 0xff][..]);
    assert_eq!(decoder.decode(&mut input).unwrap(), None);
    let (mut total, mut ended) = (0, false);
    while !ended {
        input.extend_from_slice(&[7; 100_000][..(0xff_ffff - total).min(100_000)]);
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            let Frame::Data { id: 1, fin, bytes } = frame else {
                panic!("{frame:?}");
            };
            assert!(bytes.len() <= PIECE_BYTES_MAX && !ended);
            total += bytes.len();
            ended = fin;
        }
        assert!(input.is_empty());
    }
    assert_eq!(total, 0xff_ffff);
}

fn head(kind: u16, length: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 3];
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn hostile_frames_are_refused() {
    let with = |kind, payload: &[u8]| [head(kind, payload.len() as u32), payload.to_vec()].concat();
    let length = |kind, length| FrameError::Length { kind, length };
    for (bytes, expect) in [
        (vec![0; 8], FrameError::NoStream(0)),
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], FrameError::Version(2)),
        (head(SYN_STREAM, 0xff_ffff), FrameError::TooLong(0xff_ffff)),
        (head(99, 0xff_ffff), FrameError::TooLong(0xff_ffff)),
        (with(SYN_STREAM, &[0; 9]), length(SYN_STREAM, 9)),
        (with(SYN_STREAM, &[0; 10]), FrameError::NoStream(SYN_STREAM)),
        (with(SYN_REPLY, &[0; 3]), length(SYN_REPLY, 3)),
        (with(RST_STREAM, &[0; 8]), FrameError::NoStream(RST_STREAM)),
        (with(RST_STREAM, &[1; 9]), length(RST_STREAM, 9)),
        (with(PING, &[0; 5]), length(PING, 5)),
        (with(GOAWAY, &[0; 4]), length(GOAWAY, 4)),
        (with(WINDOW_UPDATE, &[0; 7]), length(WINDOW_UPDATE, 7)),
        (with(SETTINGS, &[0xff; 12]), length(SETTINGS, 12)),
        (
            with(SETTINGS, &[0x20, 0, 0, 0, 1, 1, 1, 1]),
            length(SETTINGS, 8),
        ),
        (
            with(SYN_REPLY, &[0, 0, 0, 1]),
            FrameError::Block(BlockError::CutOff("length")),
        ),
    ] {
        assert_eq!(
            decode_all(&bytes, bytes.len()).unwrap_err(),
            expect,
            "{bytes:?}"
        );
    }
}

#[test]
fn unknown_frames_are_skipped() {
    let mut bytes = head(10, 3);
    bytes.extend_from_slice(b"abc");
    bytes.extend_from_slice(&head(5, 0));
    bytes.extend_from_slice(&head(PING, 4));
    bytes.extend_from_slice(&7u32.to_be_bytes());
    for step in [1, 4, 100] {
        assert_eq!(decode_all(&bytes, step).unwrap(), [Frame::Ping(7)]);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        start in 0usize..11,
        noise in prop::collection::vec(any::<u8>(), 0..600),
        step in 1usize..64,
    ) {
        let _ = decode_all(&noise, step);
        let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
        for frame in &samples()[..start] {
            encoder.encode(frame, &mut bytes);
        }
        bytes.extend_from_slice(&noise);
        let _ = decode_all(&bytes, step);
    }

    /// One bit of good frames turned over.
    #[test]
    fn damaged_frames_do_not_panic(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
        for frame in samples() {
            encoder.encode(&frame, &mut bytes);
        }
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = decode_all(&bytes, 16);
    }
}
