//! Where a running `euston dev` can be found: a small file per process, removed when it ends.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What a running `dev` says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) pid: u32,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) api: String,
}

/// The record of this process; dropping it removes the file.
pub(crate) struct Recorded {
    path: PathBuf,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // One that stays names a dead process, and is cleaned up by who reads it next.
        let _ = fs::remove_file(&self.path);
    }
}

/// `$XDG_RUNTIME_DIR/euston`, else `~/.euston/run`.
pub(crate) fn folder() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    match set("XDG_RUNTIME_DIR") {
        Some(dir) => Some(dir.join("euston")),
        None => Some(set("HOME")?.join(".euston").join("run")),
    }
}

/// Writes down that `session` runs, in `folder`.
///
/// # Errors
/// When the file cannot be written. The cluster works without.
pub(crate) fn record(folder: &Path, session: &Session) -> anyhow::Result<Recorded> {
    let path = folder.join(format!("dev-{}.json", session.pid));
    let write = || -> std::io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(&serde_json::to_vec(session)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Recorded { path })
}

/// Every `dev` that runs; forgets those that were killed.
pub(crate) fn running(folder: &Path) -> Vec<Session> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|e| e.path()) {
        let session = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Session>(&text).ok());
        match session {
            Some(session) if is_alive(session.pid) => found.push(session),
            Some(_) => {
                let _ = fs::remove_file(&path);
            }
            // Not ours, or just being written.
            None => {}
        }
    }
    found.sort_by_key(|s| s.pid);
    found
}

fn is_alive(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        // Of another user, it is alive and may not be signalled.
        .is_some_and(|pid| {
            !matches!(
                rustix::process::test_kill_process(pid),
                Err(rustix::io::Errno::SRCH)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: u32) -> Session {
        Session {
            pid,
            kubeconfig: "/k".into(),
            api: "https://127.0.0.1:6443".into(),
        }
    }

    #[test]
    fn a_session_is_found_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        assert_eq!(running(&folder), []);
        let mine = session(std::process::id());
        let recorded = record(&folder, &mine).unwrap();
        // No process has the largest id, and a file of somebody else's is left alone.
        let dead = record(&folder, &session(i32::MAX as u32)).unwrap();
        fs::write(folder.join("other"), "x").unwrap();
        assert_eq!(running(&folder), [mine]);
        assert!(!dead.path.exists());
        drop(recorded);
        assert_eq!(running(&folder), []);
        assert!(folder.join("other").exists());
    }
}
