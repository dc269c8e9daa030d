//! A state as the blocks of a snapshot.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use prost::Message;

use super::{BLOCK_BYTES, BLOCK_LEASES, FORMAT, MAGIC, Meta, proto};
use crate::mvcc::{Change, State};

/// Writes a state block by block.
pub(super) struct Writer<'a, W> {
    out: W,
    end: proto::End,
    bytes: u64,
    hasher: blake3::Hasher,
    cancelled: &'a AtomicBool,
}

impl<'a, W: Write> Writer<'a, W> {
    /// One that gives up at the next block once it is cancelled.
    pub(super) fn new(out: W, cancelled: &'a AtomicBool) -> Self {
        Self {
            out,
            end: proto::End::default(),
            bytes: 0,
            hasher: blake3::Hasher::new(),
            cancelled,
        }
    }

    /// Bytes written until now.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn into_inner(self) -> W {
        self.out
    }

    pub(super) fn write_state(&mut self, meta: &Meta, state: &State) -> io::Result<()> {
        self.raw(MAGIC)?;
        self.raw(&FORMAT.to_le_bytes())?;
        self.raw(&crc32fast::hash(&FORMAT.to_le_bytes()).to_le_bytes())?;
        self.block(proto::Kind::Head(proto::Head {
            cluster_id: meta.cluster_id,
            index: meta.position.index,
            term: meta.position.term,
            voters: meta.conf_state.voters.clone(),
            learners: meta.conf_state.learners.clone(),
            voters_outgoing: meta.conf_state.voters_outgoing.clone(),
            learners_next: meta.conf_state.learners_next.clone(),
            auto_leave: meta.conf_state.auto_leave,
            compacted: state.compacted(),
            revision: state.revision(),
        }))?;

        self.block(proto::Kind::Group(proto::Group {
            members: state.members().iter().map(Into::into).collect(),
            removed: state.removed_members().collect(),
            alarms: state.alarms().into_iter().map(proto::alarm_on).collect(),
        }))?;
        let leases: Vec<proto::Lease> = state
            .leases()
            .map(|(id, ttl_seconds)| proto::Lease { id, ttl_seconds })
            .collect();
        for some in leases.chunks(BLOCK_LEASES) {
            self.block(proto::Kind::Leases(proto::Leases {
                leases: some.to_vec(),
            }))?;
        }

        let mut keys = proto::Keys::default();
        let mut pending = 0;
        let mut result = Ok(());
        state.visit_base(|kv| {
            if result.is_err() {
                return;
            }
            pending += kv.key.len() + kv.value.len();
            keys.kvs.push((&**kv).into());
            if pending >= BLOCK_BYTES {
                pending = 0;
                result = self.block(proto::Kind::Keys(std::mem::take(&mut keys)));
            }
        });
        result?;
        if !keys.kvs.is_empty() {
            self.block(proto::Kind::Keys(keys))?;
        }

        let mut revisions = proto::Revisions::default();
        let mut pending = 0;
        for events in state.log() {
            let changes: Vec<proto::Change> = events
                .iter()
                .map(|event| Change::from(event).into())
                .collect();
            pending += changes.iter().map(Message::encoded_len).sum::<usize>();
            revisions.revisions.push(proto::Revision { changes });
            if pending >= BLOCK_BYTES {
                pending = 0;
                self.block(proto::Kind::Revisions(std::mem::take(&mut revisions)))?;
            }
        }
        if !revisions.revisions.is_empty() {
            self.block(proto::Kind::Revisions(revisions))?;
        }
        let end = proto::End {
            hash: self.hasher.finalize().as_bytes().to_vec().into(),
            ..self.end.clone()
        };
        self.block(proto::Kind::End(end))
    }

    fn block(&mut self, kind: proto::Kind) -> io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the store is shutting down",
            ));
        }
        match &kind {
            proto::Kind::Keys(keys) => self.end.keys += keys.kvs.len() as u64,
            proto::Kind::Revisions(revisions) => {
                self.end.revisions += revisions.revisions.len() as u64;
            }
            // The number of blocks vouches for them.
            proto::Kind::Head(_)
            | proto::Kind::Group(_)
            | proto::Kind::Leases(_)
            | proto::Kind::End(_) => {}
        }
        self.end.blocks += 1;
        let message = proto::Block { kind: Some(kind) }.encode_to_vec();
        let len = u32::try_from(message.len())
            .map_err(|_| io::Error::other("a block of a snapshot is larger than 4 GiB"))?
            .to_le_bytes();
        self.raw(&len)?;
        self.raw(&block_checksum(len, &message).to_le_bytes())?;
        self.raw(&message)
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

/// The checksum in front of a block.
pub(super) fn block_checksum(len: [u8; 4], message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(message);
    hasher.finalize()
}
