//! Container logs on disk: lines in the format of the container runtime interface, a file per start
//! of a container, rotated by size.
//!
//! `DATA/pods/NAMESPACE_NAME_UID/CONTAINER/RESTART.log`, older parts with `.1`, `.2` and so on.

pub(crate) mod format;
pub(crate) mod reader;
pub(crate) mod writer;

use std::path::{Path, PathBuf};

/// A file is rotated when it has this many bytes, and so many older parts are kept: the kubelet's
/// `containerLogMaxSize`, and its `containerLogMaxFiles` of 5 in all.
pub(crate) const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
pub(crate) const OLDER_PARTS: u32 = 4;

/// The directory of a pod's files.
pub(crate) fn pod_dir(data_dir: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    data_dir
        .join("pods")
        .join(format!("{namespace}_{name}_{uid}"))
}

/// The parts of a log, oldest first; `0` is the file that is written.
pub(crate) fn part(dir: &Path, restart: i32, age: u32) -> PathBuf {
    match age {
        0 => dir.join(format!("{restart}.log")),
        age => dir.join(format!("{restart}.log.{age}")),
    }
}

/// Removes the logs of all starts before the previous one.
pub(crate) fn forget_before(dir: &Path, restart: i32) {
    for old in (0..restart).rev().take(2) {
        for age in 0..=OLDER_PARTS {
            // Most of them do not exist, and a leftover costs disk only.
            let _ = std::fs::remove_file(part(dir, old, age));
        }
    }
}
