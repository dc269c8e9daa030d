//! What frames mean: which streams there are, which of their halves are open, what is answered.
//! Pure, for the serving side, to which only the peer opens streams.

use std::collections::HashMap;

use bytes::Bytes;

use super::frame::{Frame, Reset};
use super::headers::Headers;

/// Streams of one connection that are open at a time, each of which may hold 128 KiB that nobody has
/// read. An exec has five; a port-forward two for each connection, and browsers open six at once.
/// More are refused, which clients report.
const STREAMS_MAX: usize = 256;
/// The id of the setting for the window that streams begin with.
const SETTING_INITIAL_WINDOW: u32 = 7;

/// What the connection is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The peer opens a stream.
    Open { id: u32, headers: Headers },
    /// Bytes for a stream.
    Data { id: u32, bytes: Bytes },
    /// The peer sends nothing more on it.
    End { id: u32 },
    /// The stream is over at once.
    Lost { id: u32 },
    /// The peer has read.
    Window { id: u32, delta: u32 },
    /// Streams begin with another window.
    InitialWindow(u32),
    /// Tell the peer that a stream is refused.
    Refuse { id: u32, why: Reset },
    /// Answer a ping.
    Pong(u32),
}

/// What ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("the client opened stream {0}, which is not odd and larger than those before")]
    StreamId(u32),
    #[error("the client sent a SYN_REPLY, but the server opens no streams")]
    Reply,
}

#[derive(Debug)]
struct Halves {
    /// The peer may send.
    theirs: bool,
    /// We may send.
    ours: bool,
}

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Machine {
    streams: HashMap<u32, Halves>,
    last: u32,
    /// The peer opens no more streams.
    leaving: bool,
}

impl Machine {
    /// Takes a frame.
    ///
    /// # Errors
    /// What ends the connection.
    pub(super) fn take(&mut self, frame: Frame) -> Result<Vec<Event>, Violation> {
        Ok(match frame {
            Frame::SynStream {
                id,
                fin,
                unidirectional,
                headers,
            } => self.open(id, fin, unidirectional, headers)?,
            Frame::SynReply { .. } => return Err(Violation::Reply),
            Frame::Data { id, fin, bytes } => self.data(id, fin, bytes),
            Frame::Headers { id, fin } => match self.streams.get(&id) {
                Some(halves) if fin && halves.theirs => self.end(id),
                _ => Vec::new(),
            },
            Frame::Rst { id, .. } => match self.streams.remove(&id) {
                Some(_) => vec![Event::Lost { id }],
                None => Vec::new(),
            },
            Frame::Settings { values } => values
                .into_iter()
                .filter(|(id, _)| *id == SETTING_INITIAL_WINDOW)
                .map(|(_, value)| Event::InitialWindow(value))
                .collect(),
            // Odd pings are the peer's own, even ones the answers to ours.
            Frame::Ping(id) if id % 2 == 1 => vec![Event::Pong(id)],
            Frame::Ping(_) => Vec::new(),
            Frame::GoAway { .. } => {
                self.leaving = true;
                Vec::new()
            }
            Frame::WindowUpdate { id, delta } => vec![Event::Window { id, delta }],
        })
    }

    fn open(
        &mut self,
        id: u32,
        fin: bool,
        unidirectional: bool,
        headers: Headers,
    ) -> Result<Vec<Event>, Violation> {
        if id.is_multiple_of(2) || id <= self.last {
            return Err(Violation::StreamId(id));
        }
        self.last = id;
        if self.leaving || self.streams.len() >= STREAMS_MAX {
            let why = Reset::RefusedStream;
            return Ok(vec![Event::Refuse { id, why }]);
        }
        let halves = Halves {
            theirs: true,
            ours: !unidirectional,
        };
        self.streams.insert(id, halves);
        let mut events = vec![Event::Open { id, headers }];
        if fin {
            events.extend(self.end(id));
        }
        Ok(events)
    }

    fn data(&mut self, id: u32, fin: bool, bytes: Bytes) -> Vec<Event> {
        match self.streams.get(&id) {
            Some(halves) if halves.theirs => {
                let mut events = vec![Event::Data { id, bytes }];
                if fin {
                    events.extend(self.end(id));
                }
                events
            }
            Some(_) => {
                self.streams.remove(&id);
                let why = Reset::StreamAlreadyClosed;
                vec![Event::Lost { id }, Event::Refuse { id, why }]
            }
            // Sent before the peer heard that the stream is over.
            None if id <= self.last && id % 2 == 1 => Vec::new(),
            None => {
                let why = Reset::InvalidStream;
                vec![Event::Refuse { id, why }]
            }
        }
    }

    fn end(&mut self, id: u32) -> Vec<Event> {
        if let Some(halves) = self.streams.get_mut(&id) {
            halves.theirs = false;
            if !halves.ours {
                self.streams.remove(&id);
            }
        }
        vec![Event::End { id }]
    }

    /// True if we may send on a stream.
    pub(super) fn may_send(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|halves| halves.ours)
    }

    /// We sent the last of a stream; `false` if that was so already.
    pub(super) fn finish(&mut self, id: u32) -> bool {
        let Some(halves) = self.streams.get_mut(&id).filter(|halves| halves.ours) else {
            return false;
        };
        halves.ours = false;
        if !halves.theirs {
            self.streams.remove(&id);
        }
        true
    }

    /// We reset a stream.
    pub(super) fn reset(&mut self, id: u32) {
        self.streams.remove(&id);
    }

    /// The last stream that the peer opened, for GOAWAY.
    pub(super) fn last(&self) -> u32 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(id: u32) -> Frame {
        Frame::SynStream {
            id,
            fin: false,
            unidirectional: false,
            headers: Headers::default(),
        }
    }

    fn data(id: u32, fin: bool) -> Frame {
        Frame::Data {
            id,
            fin,
            bytes: Bytes::from_static(b"x"),
        }
    }

    /// Takes frames, and says what came of them: `open 1`, `data 1`, ...
    fn check(frames: &[Frame], expect: &[&str]) -> Machine {
        let mut machine = Machine::default();
        let mut got = Vec::new();
        for frame in frames {
            match machine.take(frame.clone()) {
                Ok(events) => got.extend(events.into_iter().map(|event| match event {
                    Event::Open { id, .. } => format!("open {id}"),
                    Event::Data { id, .. } => format!("data {id}"),
                    Event::End { id } => format!("end {id}"),
                    Event::Lost { id } => format!("lost {id}"),
                    Event::Refuse { id, why } => format!("refuse {id} {why:?}"),
                    Event::Window { id, delta } => format!("window {id} {delta}"),
                    Event::InitialWindow(size) => format!("initial {size}"),
                    Event::Pong(id) => format!("pong {id}"),
                })),
                Err(violation) => got.push(format!("!{violation}")),
            }
        }
        assert_eq!(got, expect, "{frames:?}");
        machine
    }

    #[test]
    fn streams_open_carry_data_and_end() {
        let mut machine = check(
            &[syn(1), data(1, false), syn(3), data(3, true), data(1, true)],
            &[
                "open 1", "data 1", "open 3", "data 3", "end 3", "data 1", "end 1",
            ],
        );
        assert!(machine.may_send(1) && machine.finish(1) && !machine.finish(1));
        assert!(!machine.may_send(1) && machine.may_send(3));
        machine.reset(3);
        assert!(!machine.may_send(3) && !machine.finish(3) && machine.last() == 3);
        assert!(machine.streams.is_empty());
    }

    #[test]
    fn data_without_an_open_stream_is_answered_or_ignored() {
        check(&[data(1, false)], &["refuse 1 InvalidStream"]);
        check(&[data(2, false)], &["refuse 2 InvalidStream"]);
        check(
            &[syn(1), data(1, true), data(1, false), data(1, false)],
            &[
                "open 1",
                "data 1",
                "end 1",
                "lost 1",
                "refuse 1 StreamAlreadyClosed",
            ],
        );
        check(
            &[
                syn(1),
                Frame::Rst { id: 1, status: 5 },
                data(1, true),
                Frame::Rst { id: 1, status: 5 },
            ],
            &["open 1", "lost 1"],
        );
    }

    #[test]
    fn peers_that_break_the_rules_are_cut_off() {
        let id = |id| format!("!{}", Violation::StreamId(id));
        check(&[syn(2)], &[&id(2)]);
        check(&[syn(3), syn(1)], &["open 3", &id(1)]);
        check(&[syn(3), syn(3)], &["open 3", &id(3)]);
        let reply = Frame::SynReply {
            id: 1,
            fin: false,
            headers: Headers::default(),
        };
        check(&[reply], &[&format!("!{}", Violation::Reply)]);
    }

    #[test]
    fn control_frames_have_their_effect() {
        let go_away = Frame::GoAway { last: 0, status: 0 };
        check(
            &[
                Frame::Ping(7),
                Frame::Ping(2),
                Frame::WindowUpdate { id: 5, delta: 6 },
                Frame::Settings {
                    values: vec![(4, 1), (7, 9)],
                },
                Frame::Headers { id: 9, fin: true },
                go_away,
                syn(1),
            ],
            &[
                "pong 7",
                "window 5 6",
                "initial 9",
                "refuse 1 RefusedStream",
            ],
        );
        check(
            &[syn(1), Frame::Headers { id: 1, fin: true }],
            &["open 1", "end 1"],
        );
    }

    #[test]
    fn streams_are_bounded() {
        let mut machine = Machine::default();
        for index in 0..STREAMS_MAX as u32 {
            let events = machine.take(syn(2 * index + 1)).unwrap();
            assert!(matches!(events[..], [Event::Open { .. }]));
        }
        let next = 2 * STREAMS_MAX as u32 + 1;
        let why = Reset::RefusedStream;
        assert_eq!(
            machine.take(syn(next)).unwrap(),
            [Event::Refuse { id: next, why }]
        );
        machine.reset(1);
        assert!(matches!(
            machine.take(syn(next + 2)).unwrap()[..],
            [Event::Open { .. }]
        ));
    }

    #[test]
    fn half_open_streams_end_in_both_orders() {
        let unidirectional = Frame::SynStream {
            id: 1,
            fin: true,
            unidirectional: true,
            headers: Headers::default(),
        };
        let machine = check(&[unidirectional], &["open 1", "end 1"]);
        assert!(!machine.may_send(1) && machine.streams.is_empty());
        let mut machine = check(&[syn(1)], &["open 1"]);
        assert!(machine.finish(1));
        assert_eq!(machine.streams.len(), 1);
        assert_eq!(machine.take(data(1, true)).unwrap().len(), 2);
        assert!(machine.streams.is_empty());
    }
}
