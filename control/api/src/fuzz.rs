//! Fuzz target: selectors, as they stand in a request. `control/fuzz` has its binary; see docs/fuzzing.md. Not part of the
//! public interface.

use fuzz_support::Target;

use crate::selector::{FieldSelector, LabelSelector};

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("selectors", selectors)];

/// A text as both kinds of selector: what is read shows itself as what is read as the same.
///
/// # Panics
/// Where it is not so.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(selector) = LabelSelector::parse(text) {
        assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fuzz_support::{Seed, replay};

    use super::*;

    fn seeds() -> Vec<Seed> {
        let texts = [
            "a=b,c!=d,e in (x,y),!f,g",
            "x.y/z notin (a,,b),n>3,m<4,p==q",
            "metadata.name=a,spec.nodeName!=b\\,c\\=d\\\\",
            "",
        ];
        let seed = |text: &&str| ("selectors", text.as_bytes().to_vec());
        texts.iter().map(seed).collect()
    }

    #[test]
    fn the_corpus_finds_nothing() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        replay(&corpus, TARGETS, &seeds());
    }
}
