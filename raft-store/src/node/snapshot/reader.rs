//! A state from the blocks of a snapshot, believing nothing that they say.

use std::io::{self, Read};

use prost::Message as _;
use raft::eraftpb::ConfState;

use super::writer::block_checksum;
use super::{FORMAT, FORMAT_FIRST, FORMAT_HASHED, MAGIC, Meta, proto};
use crate::command::DecodeError;
use crate::mvcc::{Restore, State};
use crate::node::log::Position;

/// Why a snapshot cannot be read.
pub(super) enum Unreadable {
    Format(u32),
    Corrupt(String),
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Corrupt("it is cut off".to_owned())
        } else {
            Self::Io(error)
        }
    }
}

impl From<String> for Unreadable {
    fn from(what: String) -> Self {
        Self::Corrupt(what)
    }
}

/// Reads a state block by block.
pub(super) struct Reader<R> {
    input: R,
    left: u64,
    hasher: blake3::Hasher,
}

/// What a snapshot holds.
pub(super) struct Contents {
    pub(super) meta: Meta,
    pub(super) state: State,
    pub(super) format: u32,
    pub(super) hash: [u8; 32],
}

impl<R: Read> Reader<R> {
    /// Of `left` bytes.
    pub(super) fn new(input: R, left: u64) -> Self {
        Self {
            input,
            left,
            hasher: blake3::Hasher::new(),
        }
    }

    /// Up to `padding` zeros may follow the end.
    pub(super) fn read_state(&mut self, padding: u64) -> Result<Contents, Unreadable> {
        let corrupt = |what: &str| Err(Unreadable::Corrupt(what.to_owned()));
        if &self.array::<8>()? != MAGIC {
            return corrupt("it does not begin as a snapshot does");
        }
        let format = self.array::<4>()?;
        if crc32fast::hash(&format) != u32::from_le_bytes(self.array()?) {
            return corrupt("the checksum of its format does not match");
        }
        let format = u32::from_le_bytes(format);
        if !(FORMAT_FIRST..=FORMAT).contains(&format) {
            return Err(Unreadable::Format(format));
        }
        let proto::Kind::Head(head) = self.block()? else {
            return corrupt("its first block is not a head");
        };
        let mut restore = Restore::new(head.compacted)?;
        let mut seen = proto::End {
            blocks: 1,
            ..proto::End::default()
        };
        let mut hash;
        loop {
            hash = *self.hasher.finalize().as_bytes();
            match self.block()? {
                proto::Kind::Group(group) => {
                    for member in group.members {
                        restore.member(member.into());
                    }
                    for id in group.removed {
                        restore.removed(id);
                    }
                    for alarm in group.alarms {
                        let kind = alarm.alarm().try_into();
                        restore.alarm(alarm.member, kind.map_err(|e: DecodeError| e.to_string())?);
                    }
                }
                proto::Kind::Leases(leases) => {
                    for lease in leases.leases {
                        restore.lease(lease.id, lease.ttl_seconds)?;
                    }
                }
                proto::Kind::Keys(keys) => {
                    seen.keys += keys.kvs.len() as u64;
                    for kv in keys.kvs {
                        restore.base(kv.into())?;
                    }
                }
                proto::Kind::Revisions(revisions) => {
                    seen.revisions += revisions.revisions.len() as u64;
                    for revision in revisions.revisions {
                        let changes = revision.changes.into_iter().map(TryInto::try_into);
                        restore.revision(changes.collect::<Result<_, String>>()?)?;
                    }
                }
                proto::Kind::End(end) => {
                    if format >= FORMAT_HASHED {
                        seen.hash = hash.to_vec().into();
                    }
                    if end.hash != seen.hash {
                        return corrupt("its hash is not that of its content");
                    }
                    if end != seen || !self.ends(padding)? {
                        return corrupt("it does not end where it says");
                    }
                    break;
                }
                proto::Kind::Head(_) => return corrupt("it has a second head"),
            }
            seen.blocks += 1;
        }
        let state = restore.finish()?;
        if state.revision() != head.revision {
            return Err(Unreadable::Corrupt(format!(
                "its head says revision {}, its content comes to {}",
                head.revision,
                state.revision()
            )));
        }
        let conf_state = ConfState {
            voters: head.voters,
            learners: head.learners,
            voters_outgoing: head.voters_outgoing,
            learners_next: head.learners_next,
            auto_leave: head.auto_leave,
            ..ConfState::default()
        };
        let meta = Meta {
            cluster_id: head.cluster_id,
            position: Position {
                index: head.index,
                term: head.term,
            },
            conf_state,
        };
        Ok(Contents {
            meta,
            state,
            format,
            hash,
        })
    }

    /// Whether nothing is left but so many zeros.
    fn ends(&mut self, padding: u64) -> Result<bool, Unreadable> {
        if self.left > padding {
            return Ok(false);
        }
        let mut rest = Vec::new();
        self.input.by_ref().take(self.left).read_to_end(&mut rest)?;
        Ok(rest.iter().all(|byte| *byte == 0))
    }

    fn block(&mut self) -> Result<proto::Kind, Unreadable> {
        let len = self.array()?;
        let checksum = u32::from_le_bytes(self.array()?);
        let bytes = u32::from_le_bytes(len);
        // Checked before memory is reserved for it.
        if u64::from(bytes) > self.left {
            return Err(Unreadable::Corrupt("it is cut off".to_owned()));
        }
        let mut message = vec![0; bytes as usize];
        self.input.read_exact(&mut message)?;
        self.left -= u64::from(bytes);
        self.hasher.update(&message);
        if block_checksum(len, &message) != checksum {
            return Err(Unreadable::Corrupt(format!(
                "the checksum of the block that ends {} bytes before its end does not match",
                self.left
            )));
        }
        // Decoding from a slice gives every key and value an allocation of its own.
        proto::Block::decode(&message[..])
            .map_err(|error| error.to_string())?
            .kind
            .ok_or_else(|| Unreadable::Corrupt("a block is of no known kind".to_owned()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.left = self.left.saturating_sub(N as u64);
        self.hasher.update(&bytes);
        Ok(bytes)
    }
}
