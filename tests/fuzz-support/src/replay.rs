//! Seeds and corpus, through the targets, without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// A target: its name, which is that of its binary and of its folder in the corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Bytes to begin with: the target that they are for, and the bytes.
pub type Seed = (&'static str, Vec<u8>);

/// Set, [`replay`] also writes the seeds into the corpus, for a fuzzer to begin with.
const WRITE_SEEDS: &str = "EUSTON_FUZZ_SEEDS";

/// Runs every seed, and every file of a corpus (`corpus/TARGET/FILE`), through the target that it is for.
///
/// # Panics
/// With what the target says, after the name of the seed or file. If a target has nothing to run, or a folder no target:
/// either would be a check that is not made.
pub fn replay(corpus: &Path, targets: &[Target], seeds: &[Seed]) {
    let known: BTreeSet<&str> = targets.iter().map(|(name, _)| *name).collect();
    for (name, _) in seeds {
        assert!(
            known.contains(name),
            "a seed is for {name}, which is no target"
        );
    }
    for (name, target) in targets {
        let seeds = seeds.iter().filter(|(of, _)| of == name);
        let mut seen = 0;
        for (at, (_, bytes)) in seeds.enumerate() {
            run(target, bytes, &format!("seed {at} of {name}"));
            seen += 1;
            if std::env::var_os(WRITE_SEEDS).is_some() {
                write(&corpus.join(name), &format!("seed-{at:02}"), bytes);
            }
        }
        for file in files(&corpus.join(name)) {
            let bytes =
                fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            run(target, &bytes, &file.display().to_string());
            seen += 1;
        }
        assert!(seen > 0, "{name} has neither seeds nor a corpus");
    }
}

fn run(target: &fn(&[u8]), bytes: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(bytes))) {
        eprintln!("this panic is of {what}");
        resume_unwind(panic);
    }
}

/// In the order of their names; none where there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    files
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(name), bytes));
    written.unwrap_or_else(|error| panic!("writing {name} into {}: {error}", folder.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_seven(bytes: &[u8]) {
        assert!(!bytes.contains(&7), "a seven");
    }

    #[test]
    fn a_target_that_panics_or_has_nothing_to_run_fails_the_replay() {
        let nowhere = Path::new("/nowhere");
        let fails = |targets: &[Target], seeds: &[Seed]| {
            catch_unwind(|| replay(nowhere, targets, seeds)).is_err()
        };
        let target: Target = ("t", no_seven);
        assert!(!fails(&[target], &[("t", vec![1])]));
        assert!(fails(&[target], &[("t", vec![1]), ("t", vec![7])]));
        assert!(fails(&[target], &[]));
        assert!(fails(&[target], &[("t", vec![1]), ("u", vec![1])]));
    }
}
