use std::path::Path;

use fuzz_support::{Seed, replay};

use super::TARGETS;

fn seeds() -> Vec<Seed> {
    [crate::command::seeds(), crate::node::fuzz::seeds()].concat()
}

#[test]
fn the_corpus_finds_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    replay(&corpus, TARGETS, &seeds());
}
