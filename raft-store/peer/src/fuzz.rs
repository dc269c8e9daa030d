//! Fuzz target: what other members send, up to the store's inbox. `raft-store/fuzz` has its binary; see docs/fuzzing.md.
//! Not part of the public interface.

use fuzz_support::{Choices, Target};
use prost::Message as _;

use crate::address::Address;
use crate::assembly::Assembly;
use crate::group::{of_wire, to_wire};
use crate::handshake::{self, Callee, Refusal};
use crate::proto::{FramesRequest, MembersResponse, SnapshotRequest, frames_request};

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("peer_stream", peer_stream)];

/// Small, so that frames reach it.
const FRAME_BYTES_MAX: usize = 1 << 10;

/// The messages of a stream of frames, and those of the other calls.
///
/// # Panics
/// Where frames come out that did not go in, or a refusal that cannot be read from its status.
pub fn peer_stream(data: &[u8]) {
    let _ = SnapshotRequest::decode(data);
    if let Ok(group) = MembersResponse::decode(data) {
        for member in group.members {
            assert_eq!(to_wire(of_wire(member.clone())), member);
        }
    }
    let mut choices = Choices::new(data);
    let mut assembly = Assembly::new(FRAME_BYTES_MAX);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    while !choices.is_empty() {
        let message = choices.bytes();
        bytes_in += message.len();
        let Ok(FramesRequest { what }) = FramesRequest::decode(message) else {
            continue;
        };
        if let Some(frames_request::What::Handshake(call)) = &what {
            hears(call);
        }
        let Ok(frames) = assembly.take(what) else {
            // It ends the stream.
            break;
        };
        bytes_out += frames.iter().map(|frame| frame.len()).sum::<usize>();
        assert!(bytes_out <= bytes_in);
    }
}

fn hears(call: &crate::proto::Handshake) {
    let callee = Callee {
        cluster_id: 0,
        member_id: 1,
        removed: false,
        welcome: true,
        identity: &|| Ok(()),
    };
    if let Err(refusal) = handshake::check(call, &callee) {
        let status = tonic::Status::from(refusal.clone());
        assert_eq!(Refusal::of_status(&status), Some(refusal));
    }
    for url in &call.peer_urls {
        for tls in [false, true] {
            if let Ok(address) = Address::parse(url, tls) {
                let again = Address::parse(&address.authority(), tls);
                assert_eq!(again, Ok(address), "{url}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fuzz_support::{Seed, replay};

    use super::*;
    use crate::proto::{Batch, Handshake, Member, Part, frames_request::What};

    fn seeds() -> Vec<Seed> {
        let written = |what| Choices::written(&FramesRequest { what: Some(what) }.encode_to_vec());
        let part = |data: &'static str| {
            let data = data.into();
            written(What::Part(Part {
                frame_bytes: 6,
                data,
            }))
        };
        let handshake = Handshake {
            version: 1,
            to: 1,
            from: 2,
            peer_urls: vec!["http://127.0.0.1:2380".to_owned(), "[::1]:1".to_owned()],
            ..Handshake::default()
        };
        let batch = Batch {
            frames: vec!["one".into(), "".into()],
        };
        let stream = [written(What::Batch(batch)), part("abc"), part("def")];
        let members = MembersResponse {
            cluster_id: 1,
            members: vec![Member::default()],
        };
        vec![
            ("peer_stream", stream.concat()),
            ("peer_stream", written(What::Handshake(handshake))),
            ("peer_stream", members.encode_to_vec()),
        ]
    }

    #[test]
    fn the_corpus_finds_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        replay(&corpus, TARGETS, &seeds());
    }
}
