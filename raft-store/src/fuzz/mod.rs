//! Fuzz targets: every decoder of the store, and its state machine. `raft-store/fuzz` has a binary for each; see
//! docs/fuzzing.md. Not part of the public interface.

#[cfg(test)]
mod tests;

use fuzz_support::Target;

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    ("command", crate::command::fuzz::command),
    ("entries", crate::node::fuzz::entries),
    ("frame", crate::node::fuzz::frame),
    ("history", crate::mvcc::fuzz::history),
    ("identity", crate::node::fuzz::identity),
    ("log_dir", crate::node::fuzz::log_dir),
    ("log_file", crate::node::fuzz::log_file),
    ("snapshot", crate::node::fuzz::snapshot),
];

/// Runs a target of this crate by its name.
///
/// # Panics
/// Where the target finds something, and if there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("there is no fuzz target {name:?}"));
    target(data);
}
