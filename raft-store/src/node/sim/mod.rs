//! Whole groups under a seeded scheduler, with a network that delays, loses, repeats and parts, and disks that tear
//! and fail: the core of real members, without threads, time or I/O. The same seed is the same run.
//!
//! A run ends with everything healed. Then all members must hold the same, every answer that a client got must be right
//! ([`history`]), and every watcher must have seen every change once and in order.
//!
//! `EUSTON_SIM_SEEDS=FROM..TO` runs other seeds than the default ones.

mod disk;
mod history;
mod world;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use world::World;

/// Seeds run by default.
const SEEDS: std::ops::Range<u64> = 0..1000;
/// Seeds that once found a bug, kept.
/// - 97: a new leader did not know a lease whose grant it had yet to apply, and said that it had ended.
/// - 100: a command sent twice was refused the second time, taken for not done, and done again by the next leader.
const FOUND: &[u64] = &[97, 100];

/// What goes wrong, and how often.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Probability that a frame is lost.
    loss: f64,
    /// Probability that a frame arrives twice.
    repeat: f64,
    /// Virtual milliseconds that a frame takes at most.
    delay_max: u64,
    /// Probability that a write fails.
    disk: f64,
    /// Milliseconds between two disturbances (crash, partition, pause), about; 0 for none.
    disturbance_every: u64,
    planted: Option<Planted>,
}

/// A mistake made on purpose. The simulation is worth something if it finds every one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    /// Writes are not synced.
    SkippedSyncs,
    /// Reads are answered without asking the group.
    StaleReads,
    /// Members forget whom they voted for when they crash.
    ForgottenVotes,
    /// Members vote for whoever asks, however far behind.
    UncheckedVotes,
    /// What is sent to the leader again is done again.
    RepeatedWrites,
    /// A watch leaves out a change.
    LostEvents,
    /// The clocks of members jump.
    JumpingClocks,
    /// A member's state is changed by something that is not in the log.
    StrayWrites,
}

impl Faults {
    fn is(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    /// A mixture that depends on the seed, so that quiet and rough runs are both had.
    fn mixture(seed: u64) -> Self {
        let level = |of: &[f64]| of[(seed / 7 % of.len() as u64) as usize];
        Self {
            loss: [0.0, 0.01, 0.1][(seed % 3) as usize],
            repeat: [0.0, 0.05][(seed % 2) as usize],
            delay_max: [2, 10, 60][(seed / 3 % 3) as usize],
            disk: level(&[0.0, 0.001, 0.01]),
            disturbance_every: [0, 3000, 800, 300][(seed / 5 % 4) as usize],
            ..Self::default()
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(given) = env::var("EUSTON_SIM_SEEDS") else {
        return SEEDS;
    };
    let parse = || {
        let (from, to) = given.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    parse().unwrap_or_else(|| panic!("EUSTON_SIM_SEEDS is {given:?}, must be FROM..TO"))
}

fn run(seed: u64, faults: Faults) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, faults).run()))
        .unwrap_or_else(|_| Err("a member panicked; see above".to_owned()))
}

#[test]
fn groups_keep_their_word_whatever_happens() {
    for seed in FOUND.iter().copied().chain(seeds()) {
        if let Err(what) = run(seed, Faults::mixture(seed)) {
            panic!("seed {seed}: {what}");
        }
    }
}

/// Seeds within which a planted mistake has to be found.
const FOUND_WITHIN: u64 = 200;

#[test]
fn every_planted_mistake_is_found_by_the_check_that_is_there_for_it() {
    let lost = "an acknowledged write is lost";
    let differ = "long after all was healed";
    let shown = "the watch of client";
    check(Planted::SkippedSyncs, &[lost, "panicked"]);
    check(Planted::StaleReads, &["is stale"]);
    check(Planted::ForgottenVotes, &["both led", lost]);
    check(Planted::UncheckedVotes, &[lost, differ, shown]);
    check(Planted::RepeatedWrites, &["was written twice"]);
    check(Planted::LostEvents, &[shown]);
    check(Planted::JumpingClocks, &["before its time"]);
    check(Planted::StrayWrites, &[differ]);
}

/// Plants a mistake and runs seeds until it is found, by a check whose words are among those expected.
fn check(planted: Planted, expect: &[&str]) {
    let verbose = env::var_os("EUSTON_SIM_VERBOSE").is_some();
    let faults = Faults {
        disturbance_every: 300,
        delay_max: 10,
        loss: 0.01,
        planted: Some(planted),
        ..Faults::default()
    };
    let found = (0..FOUND_WITHIN).find_map(|seed| {
        let what = run(seed, faults.clone()).err()?;
        if verbose {
            eprintln!("{planted:?}, seed {seed}: {what}");
        }
        expect
            .iter()
            .any(|words| what.contains(words))
            .then_some(())
    });
    assert!(
        found.is_some(),
        "{FOUND_WITHIN} seeds did not notice {planted:?}"
    );
}
