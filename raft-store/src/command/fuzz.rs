//! Commands as they come from the log.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is what is looked for")]

use super::{Command, FORMAT, FORMAT_FIRST, HEADER_BYTES};
use crate::mvcc::{State, rebuilt};
use crate::txn::Txn;

/// A command of these bytes with a header that fits, which no fuzzer would come upon.
pub(crate) fn sealed(format: u8, body: &[u8]) -> Vec<u8> {
    let checksum = crc32fast::hash(body).to_le_bytes();
    [&[format], &checksum[..], body].concat()
}

/// Decodes the bytes as they are, and as what follows a header. What is read must be written and read as the same, and
/// leave a state that can be taken apart and put together.
///
/// # Panics
/// Where it is not so.
pub(crate) fn command(data: &[u8]) {
    let _ = Command::decode(data);
    let Some((which, body)) = data.split_first() else {
        return;
    };
    let format = FORMAT_FIRST + which % FORMAT;
    let Ok(command) = Command::decode(&sealed(format, body)) else {
        return;
    };
    let again = command.encode();
    assert_eq!(Command::decode(&again).as_ref(), Ok(&command));
    // A field that is not known is dropped, and what is empty takes room in the bytes alone; nothing may grow much.
    assert!(
        again.len() <= HEADER_BYTES + 16 * (body.len() + 1),
        "{command:?}"
    );

    let mut state = State::new();
    state.apply_command(&Command::LeaseGrant {
        id: 1,
        ttl_seconds: 60,
    });
    for key in ["a", "b"] {
        state.apply(&Txn::put(key, "1")).unwrap();
    }
    state.apply_command(&command);
    assert_eq!(rebuilt(&state).hash(0).unwrap(), state.hash(0).unwrap());
}
