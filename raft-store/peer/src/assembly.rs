//! From messages back to frames.

use bytes::{Bytes, BytesMut};

use crate::proto::{Batch, Part, frames_request::What};
use crate::queue::BATCH_BYTES;

/// A message can hold this many frames; a sender of this crate stays far below.
const FRAMES_MAX: usize = 1 << 16;

/// Puts the pieces of large frames together. Takes memory as they arrive, not as they are announced.
pub(crate) struct Assembly {
    frame_bytes_max: usize,
    /// The whole frame's size, and what of it is here.
    partial: Option<(usize, BytesMut)>,
}

impl Assembly {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max,
            partial: None,
        }
    }

    /// The frames that a message completes.
    pub(crate) fn take(&mut self, what: Option<What>) -> Result<Vec<Bytes>, String> {
        match what {
            Some(What::Batch(Batch { frames })) => {
                if self.partial.is_some() {
                    return Err("a frame was begun in pieces and left unfinished".to_owned());
                }
                if frames.len() > FRAMES_MAX {
                    return Err(format!(
                        "a message holds {} frames, at most {FRAMES_MAX} are taken",
                        frames.len()
                    ));
                }
                Ok(frames)
            }
            Some(What::Part(part)) => self.part(part),
            Some(What::Handshake(_)) => Err("a second handshake in one stream".to_owned()),
            None => Err("a message of no known kind".to_owned()),
        }
    }

    fn part(&mut self, Part { frame_bytes, data }: Part) -> Result<Vec<Bytes>, String> {
        let max = self.frame_bytes_max;
        let Some(whole) = usize::try_from(frame_bytes).ok().filter(|len| *len <= max) else {
            return Err(format!(
                "a frame of {frame_bytes} bytes, at most {max} are taken"
            ));
        };
        let (begun, mut frame) = self
            .partial
            .take()
            .unwrap_or_else(|| (whole, BytesMut::with_capacity(whole.min(2 * BATCH_BYTES))));
        if data.is_empty() || begun != whole || frame.len() + data.len() > whole {
            return Err("the pieces of a frame do not fit together".to_owned());
        }
        frame.extend_from_slice(&data);
        if frame.len() == whole {
            return Ok(vec![frame.freeze()]);
        }
        self.partial = Some((whole, frame));
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(frame_bytes: u64, data: &'static str) -> What {
        What::Part(Part {
            frame_bytes,
            data: data.into(),
        })
    }

    fn batch(frames: &[&'static str]) -> What {
        What::Batch(Batch {
            frames: frames.iter().map(|frame| (*frame).into()).collect(),
        })
    }

    #[test]
    fn frames_come_out_as_they_went_in_or_not_at_all() {
        let check = |messages: Vec<What>, expect: Result<&[&str], &str>| {
            let mut assembly = Assembly::new(8);
            let mut frames = Vec::new();
            let result = messages.into_iter().try_for_each(|message| {
                frames.extend(assembly.take(Some(message))?);
                Ok::<_, String>(())
            });
            match (result, expect) {
                (Ok(()), Ok(expect)) => assert_eq!(frames, expect),
                (Err(found), Err(expect)) => assert!(found.contains(expect), "{found}"),
                (found, expect) => panic!("{found:?} with {frames:?}, expected {expect:?}"),
            }
        };
        check(vec![batch(&["a", "", "b"])], Ok(&["a", "", "b"]));
        check(
            vec![part(4, "ab"), part(4, "cd"), batch(&["e"])],
            Ok(&["abcd", "e"]),
        );
        check(vec![part(2, "ab"), part(1, "c")], Ok(&["ab", "c"]));
        check(vec![part(9, "ab")], Err("a frame of 9 bytes"));
        check(vec![part(u64::MAX, "ab")], Err("at most 8"));
        check(vec![part(4, "")], Err("do not fit"));
        check(vec![part(0, "")], Err("do not fit"));
        check(vec![part(4, "abcde")], Err("do not fit"));
        check(vec![part(4, "abc"), part(4, "de")], Err("do not fit"));
        check(vec![part(4, "abc"), part(5, "d")], Err("do not fit"));
        check(vec![part(4, "abc"), batch(&["d"])], Err("left unfinished"));
        check(vec![What::Handshake(Default::default())], Err("second"));
        assert!(Assembly::new(8).take(None).is_err());
    }
}
