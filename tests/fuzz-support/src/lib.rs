//! What fuzz targets share: choices made of bytes, and the replay of what fuzzers found.
//!
//! A target is a function over bytes that panics where something is wrong, and lives beside the code that it is about. A
//! fuzzer calls it with bytes of its own (`cargo fuzz`, in the `fuzz` folders); ordinary tests call it with the seeds and
//! with the corpus that is committed ([`replay`]). docs/fuzzing.md has the commands.

mod choices;
mod replay;

pub use choices::Choices;
pub use replay::{Seed, Target, replay};
