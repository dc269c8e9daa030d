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
/// - 100: a command sent twice was refused the second time, taken for not done, and done again by the next leader.
const FOUND: &[u64] = &[100];

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
    /// Planted: syncs are skipped.
    skip_sync: bool,
    /// Planted: reads are answered without asking the group.
    stale_reads: bool,
    /// Planted: members forget their votes.
    forget_votes: bool,
}

impl Faults {
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

/// A fault that the simulation must find, in one of some seeds.
fn finds(plant: impl Fn(&mut Faults), what: &str) {
    let found = (0..200).any(|seed| {
        let mut faults = Faults {
            disturbance_every: 300,
            delay_max: 10,
            loss: 0.01,
            ..Faults::default()
        };
        plant(&mut faults);
        run(seed, faults).is_err()
    });
    assert!(found, "200 seeds did not notice {what}");
}

#[test]
fn skipped_syncs_are_found() {
    finds(|faults| faults.skip_sync = true, "that nothing is synced");
}

#[test]
fn stale_reads_are_found() {
    finds(|faults| faults.stale_reads = true, "reads that ask nobody");
}

#[test]
fn forgotten_votes_are_found() {
    finds(
        |faults| faults.forget_votes = true,
        "members that forget their votes",
    );
}
