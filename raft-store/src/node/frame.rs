//! What members say to one another, encoded.
//!
//! A frame is either a message of Raft's or one of ours beside it: a command on its way to the leader, the leader's
//! refusal of one, a question that only a leader can answer, its answer. The messages are derives, so that no build
//! needs a protobuf compiler; tags are never reused, and a frame of no known kind is refused.

use bytes::Bytes;
use prost::Message as _;
use protobuf::Message as _;
use raft::eraftpb::Message;

use crate::lessor::LeaseTtl;

/// Names a command from its proposal to its application: which start of which member proposed it, as its how manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProposalId {
    /// Random at every start of a member, so that a restarted member never takes an old command for its own.
    pub(super) incarnation: u64,
    pub(super) sequence: u64,
}

impl ProposalId {
    /// As it stands in the context of a log entry.
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out
    }

    /// `None` for entries that nobody waits for: those that Raft makes itself.
    pub(super) fn decode(context: &[u8]) -> Option<Self> {
        let (incarnation, rest) = context.split_first_chunk()?;
        Some(Self {
            incarnation: u64::from_le_bytes(*incarnation),
            sequence: u64::from_le_bytes(rest.try_into().ok()?),
        })
    }
}

/// What a proposal asks the log to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proposal {
    /// A command to the state machine, encoded.
    Command(Bytes),
    /// A change of the group, as an encoded `ConfChangeV2`.
    Change(Bytes),
}

impl Proposal {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Command(bytes) | Self::Change(bytes) => bytes,
        }
    }
}

/// Why a leader did not take a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not now, or not by this member: send it again, to the leader of a later term if there is one.
    Again,
    /// A change of the group is still under way.
    ChangeUnderWay,
    /// The learner to be promoted has not caught up.
    LearnerNotReady,
    /// The change would leave the group without a working majority.
    Unhealthy,
}

/// What only the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Renew a lease.
    KeepAlive(i64),
    /// How long a lease has to live.
    TimeToLive(i64),
    /// Hand leadership to a member.
    MoveLeader(u64),
}

/// What the leader says to a [`Question`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// How long the lease was granted for, and has to live.
    Remaining(LeaseTtl),
    /// There is no such lease, or no such member.
    NotFound,
    /// Under way.
    Done,
    /// It does not lead (any more): ask the one that does.
    NotLeader,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Raft(Box<Message>),
    Forward {
        id: ProposalId,
        /// The term in which the receiver is taken for the leader; in another one it refuses.
        term: u64,
        /// Sent before, and perhaps received.
        again: bool,
        proposal: Proposal,
    },
    Refused {
        id: ProposalId,
        term: u64,
        why: Refusal,
    },
    Question {
        id: u64,
        question: Question,
    },
    Answer {
        id: u64,
        answer: Answer,
    },
}

impl Frame {
    pub(super) fn encode(&self) -> Bytes {
        use proto::Kind;
        let id_of = |id: &ProposalId| {
            Some(proto::Id {
                incarnation: id.incarnation,
                sequence: id.sequence,
            })
        };
        let kind = match self {
            Self::Raft(message) => Kind::Raft(
                // Fails only for messages that lack a required field, and these have none.
                message.write_to_bytes().unwrap_or_default().into(),
            ),
            Self::Forward {
                id,
                term,
                again,
                proposal,
            } => Kind::Forward(proto::Forward {
                id: id_of(id),
                term: *term,
                again: *again,
                change: matches!(proposal, Proposal::Change(_)),
                proposal: proposal.bytes().clone(),
            }),
            Self::Refused { id, term, why } => Kind::Refused(proto::Refused {
                id: id_of(id),
                term: *term,
                why: match why {
                    Refusal::Again => 1,
                    Refusal::ChangeUnderWay => 2,
                    Refusal::LearnerNotReady => 3,
                    Refusal::Unhealthy => 4,
                },
            }),
            Self::Question { id, question } => Kind::Question(proto::Question {
                id: *id,
                what: Some(match question {
                    Question::KeepAlive(lease) => proto::What::KeepAlive(*lease),
                    Question::TimeToLive(lease) => proto::What::TimeToLive(*lease),
                    Question::MoveLeader(member) => proto::What::MoveLeader(*member),
                }),
            }),
            Self::Answer { id, answer } => Kind::Answer(proto::Answer {
                id: *id,
                lease: match answer {
                    Answer::Remaining(ttl) => Some(proto::Ttl {
                        granted_seconds: ttl.granted_seconds,
                        remaining_seconds: ttl.remaining_seconds,
                    }),
                    _ => None,
                },
                what: match answer {
                    Answer::Remaining(_) => 1,
                    Answer::NotFound => 2,
                    Answer::Done => 3,
                    Answer::NotLeader => 4,
                },
            }),
        };
        proto::Frame { kind: Some(kind) }.encode_to_vec().into()
    }

    /// Says what is wrong with bytes that are no frame.
    pub(super) fn decode(bytes: &Bytes) -> Result<Self, String> {
        use proto::Kind;
        let frame = proto::Frame::decode(bytes.clone())
            .map_err(|error| format!("a frame is not protobuf: {error}"))?;
        let id_of = |id: Option<proto::Id>| {
            let id = id.ok_or("a frame lacks the id of its proposal")?;
            Ok::<_, String>(ProposalId {
                incarnation: id.incarnation,
                sequence: id.sequence,
            })
        };
        Ok(match frame.kind.ok_or("a frame is of no known kind")? {
            Kind::Raft(bytes) => {
                let message = Message::parse_from_bytes(&bytes)
                    .map_err(|error| format!("a message of Raft's cannot be read: {error}"))?;
                Self::Raft(Box::new(message))
            }
            Kind::Forward(forward) => Self::Forward {
                id: id_of(forward.id)?,
                term: forward.term,
                again: forward.again,
                proposal: if forward.change {
                    Proposal::Change(forward.proposal)
                } else {
                    Proposal::Command(forward.proposal)
                },
            },
            Kind::Refused(refused) => Self::Refused {
                id: id_of(refused.id)?,
                term: refused.term,
                why: match refused.why {
                    1 => Refusal::Again,
                    2 => Refusal::ChangeUnderWay,
                    3 => Refusal::LearnerNotReady,
                    4 => Refusal::Unhealthy,
                    other => return Err(format!("a refusal gives the unknown reason {other}")),
                },
            },
            Kind::Question(question) => Self::Question {
                id: question.id,
                question: match question.what.ok_or("a question of no known kind")? {
                    proto::What::KeepAlive(lease) => Question::KeepAlive(lease),
                    proto::What::TimeToLive(lease) => Question::TimeToLive(lease),
                    proto::What::MoveLeader(member) => Question::MoveLeader(member),
                },
            },
            Kind::Answer(answer) => Self::Answer {
                id: answer.id,
                answer: match answer.what {
                    1 => {
                        let ttl = answer.lease.unwrap_or_default();
                        Answer::Remaining(LeaseTtl {
                            granted_seconds: ttl.granted_seconds,
                            remaining_seconds: ttl.remaining_seconds,
                        })
                    }
                    2 => Answer::NotFound,
                    3 => Answer::Done,
                    4 => Answer::NotLeader,
                    other => return Err(format!("an answer is of the unknown kind {other}")),
                },
            },
        })
    }
}

/// The wire form.
mod proto {
    use super::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Frame {
        #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
        pub(super) kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Kind {
        #[prost(bytes = "bytes", tag = "1")]
        Raft(Bytes),
        #[prost(message, tag = "2")]
        Forward(Forward),
        #[prost(message, tag = "3")]
        Refused(Refused),
        #[prost(message, tag = "4")]
        Question(Question),
        #[prost(message, tag = "5")]
        Answer(Answer),
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Id {
        #[prost(fixed64, tag = "1")]
        pub(super) incarnation: u64,
        #[prost(uint64, tag = "2")]
        pub(super) sequence: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Forward {
        #[prost(message, optional, tag = "1")]
        pub(super) id: Option<Id>,
        #[prost(uint64, tag = "2")]
        pub(super) term: u64,
        #[prost(bool, tag = "3")]
        pub(super) again: bool,
        #[prost(bool, tag = "4")]
        pub(super) change: bool,
        #[prost(bytes = "bytes", tag = "5")]
        pub(super) proposal: Bytes,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Refused {
        #[prost(message, optional, tag = "1")]
        pub(super) id: Option<Id>,
        #[prost(uint64, tag = "2")]
        pub(super) term: u64,
        #[prost(uint32, tag = "3")]
        pub(super) why: u32,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Question {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(oneof = "What", tags = "2, 3, 4")]
        pub(super) what: Option<What>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(super) enum What {
        #[prost(int64, tag = "2")]
        KeepAlive(i64),
        #[prost(int64, tag = "3")]
        TimeToLive(i64),
        #[prost(fixed64, tag = "4")]
        MoveLeader(u64),
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Answer {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(uint32, tag = "2")]
        pub(super) what: u32,
        #[prost(message, optional, tag = "3")]
        pub(super) lease: Option<Ttl>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Ttl {
        #[prost(int64, tag = "1")]
        pub(super) granted_seconds: i64,
        #[prost(int64, tag = "2")]
        pub(super) remaining_seconds: i64,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::node) fn frames() -> Vec<Frame> {
        let id = ProposalId {
            incarnation: u64::MAX,
            sequence: 7,
        };
        let mut frames = vec![
            Frame::Raft(Box::new(Message {
                to: 3,
                term: 9,
                ..Message::default()
            })),
            Frame::Forward {
                id,
                term: 4,
                again: true,
                proposal: Proposal::Command(Bytes::from_static(b"put")),
            },
            Frame::Forward {
                id,
                term: 4,
                again: false,
                proposal: Proposal::Change(Bytes::from_static(b"add")),
            },
        ];
        for why in [
            Refusal::Again,
            Refusal::ChangeUnderWay,
            Refusal::LearnerNotReady,
            Refusal::Unhealthy,
        ] {
            frames.push(Frame::Refused { id, term: 1, why });
        }
        for question in [
            Question::KeepAlive(-1),
            Question::TimeToLive(5),
            Question::MoveLeader(u64::MAX),
        ] {
            frames.push(Frame::Question { id: 8, question });
        }
        for answer in [
            Answer::Remaining(LeaseTtl {
                granted_seconds: 15,
                remaining_seconds: 9,
            }),
            Answer::NotFound,
            Answer::Done,
            Answer::NotLeader,
        ] {
            frames.push(Frame::Answer { id: 8, answer });
        }
        frames
    }

    #[test]
    fn every_frame_comes_back_as_it_was_sent() {
        for frame in frames() {
            assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn a_proposal_id_comes_back_from_an_entry() {
        let id = ProposalId {
            incarnation: 1 << 63,
            sequence: 2,
        };
        assert_eq!(ProposalId::decode(&id.encode()), Some(id));
        for not_one in [&b""[..], b"short", &[0; 15], &[0; 17]] {
            assert_eq!(ProposalId::decode(not_one), None, "{not_one:?}");
        }
    }

    proptest! {
        #[test]
        fn damaged_frames_are_refused_or_read_but_never_panic(
            which in 0..14_usize, at in 0..64_usize, bit in 0..8_u32, cut in 0..64_usize,
        ) {
            let mut bytes = frames()[which].encode().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            bytes.truncate(bytes.len() - cut % bytes.len());
            let _ = Frame::decode(&bytes.into());
        }
    }
}
