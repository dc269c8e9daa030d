//! Replacing all that a data directory holds, as one step.
//!
//! What is to come is put together beside what is there, and counts from the moment in which its directory gets its
//! final name. From then on whoever opens the data directory first finishes the replacement, however often that is
//! interrupted:
//! ```text
//! next.tmp/   being put together: worth nothing
//! next/       complete: MEMBER and snapshots/; takes the place of what is outside, MEMBER last
//! ```

use std::fs;
use std::io;
use std::path::Path;

use super::dir::{DataDir, Identity, LOG_DIR, MEMBER_FILE, SNAPSHOTS_DIR, sync_dir};
use super::floor::FLOOR_FILE;
use super::snapshot::{self, Meta};
use crate::error::OpenError;
use crate::mvcc::State;

const STAGE: &str = "next";
pub(super) const UNFINISHED: &str = "next.tmp";

/// Asked before every step that changes the disk, with what the step is about to do. A test answers with an error to
/// see what is left behind by a crash at that point.
pub(super) type Steps<'a> = &'a dyn Fn(&'static str) -> io::Result<()>;

/// Steps that nothing interrupts.
pub(super) fn uninterrupted(_: &'static str) -> io::Result<()> {
    Ok(())
}

/// Makes the directory that of a member that begins with this state, whatever it was before.
pub(super) fn replace(
    dir: &DataDir,
    identity: &Identity,
    meta: &Meta,
    state: &State,
    steps: Steps<'_>,
) -> Result<(), OpenError> {
    let path = dir.path();
    let unfinished = path.join(UNFINISHED);
    let stage = || -> io::Result<()> {
        steps("clearing away what was left unfinished")?;
        remove(&unfinished)?;
        steps("creating the directory for what is to come")?;
        let snapshots = unfinished.join(SNAPSHOTS_DIR);
        fs::create_dir_all(&snapshots)?;
        sync_dir(path)?;
        steps("writing the snapshot")?;
        snapshot::write(&snapshots, meta, state, &false.into())?;
        steps("writing who the member is")?;
        identity.write(&unfinished.join(MEMBER_FILE))?;
        sync_dir(&unfinished)?;
        steps("deciding")?;
        fs::rename(&unfinished, path.join(STAGE))?;
        sync_dir(path)
    };
    stage().map_err(OpenError::io("preparing new content for", path))?;
    finish(path, steps)
}

/// Finishes a replacement that was decided upon, and clears away one that was not. Does nothing where there is none.
pub(super) fn finish(path: &Path, steps: Steps<'_>) -> Result<(), OpenError> {
    let stage = path.join(STAGE);
    let finish = || -> io::Result<()> {
        if stage.join(MEMBER_FILE).exists() {
            steps("removing the old log")?;
            remove(&path.join(LOG_DIR))?;
            remove_file(&path.join(FLOOR_FILE))?;
            sync_dir(path)?;
            let snapshots = stage.join(SNAPSHOTS_DIR);
            if snapshots.exists() {
                steps("removing the old snapshots")?;
                remove(&path.join(SNAPSHOTS_DIR))?;
                steps("moving the new snapshot")?;
                fs::rename(&snapshots, path.join(SNAPSHOTS_DIR))?;
                sync_dir(path)?;
            }
            steps("moving who the member is")?;
            fs::rename(stage.join(MEMBER_FILE), path.join(MEMBER_FILE))?;
            sync_dir(path)?;
        }
        steps("clearing up")?;
        remove(&stage)?;
        sync_dir(path)
    };
    if stage.exists() {
        finish().map_err(OpenError::io("replacing the content of", path))?;
    }
    Ok(())
}

/// Whether new content was being put together when something broke it off, so that nothing has changed.
pub(super) fn is_unfinished(path: &Path) -> bool {
    path.join(UNFINISHED).exists()
}

/// Removes what [`is_unfinished`] speaks of.
pub(super) fn abandon(path: &Path) -> io::Result<()> {
    remove(&path.join(UNFINISHED))?;
    sync_dir(path)
}

fn remove(dir: &Path) -> io::Result<()> {
    absent(fs::remove_dir_all(dir))
}

fn remove_file(file: &Path) -> io::Result<()> {
    absent(fs::remove_file(file))
}

/// Nothing to remove is as good as removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
