//! A child process that does not outlive its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// After SIGINT; a cluster drains its connections and pods before it ends.
const STOP_MAX: Duration = Duration::from_secs(30);
/// After SIGKILL, to be collected.
const COLLECT_MAX: Duration = Duration::from_secs(10);
/// The end of a child's log that an error shows.
const SHOWN_BYTES: usize = 2000;

/// A running child; dropping it kills it, by its id.
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with stderr in the file `log` and no stdout: a pipe that nobody reads would
    /// fill up and stop it.
    pub(crate) fn start(mut command: Command, name: &str, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log)
            .with_context(|| format!("cannot create the log {} of {name}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
            log: log.to_owned(),
        })
    }

    /// An error, with the end of its log, if it ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!(
                "{} ended by itself ({status}): {}",
                self.name,
                log_end(&self.log)
            ),
            Err(e) => Err(e).with_context(|| format!("cannot ask for the state of {}", self.name)),
        }
    }

    /// The process id, while it runs.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child
            .id()
            .with_context(|| format!("{} ended already", self.name))
    }

    /// Asks it to end, and kills it when it does not.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.still_runs()?;
        let pid = i32::try_from(self.id()?).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::INT)
                .with_context(|| format!("cannot interrupt {}", self.name))?;
        }
        if timeout(STOP_MAX, self.child.wait()).await.is_err() {
            eprintln!(
                "bench: {} did not stop within {STOP_MAX:?}; killed",
                self.name
            );
            timeout(COLLECT_MAX, self.child.kill())
                .await
                .with_context(|| format!("{} is still there after SIGKILL", self.name))?
                .with_context(|| format!("cannot kill {}", self.name))?;
        }
        Ok(())
    }
}

fn log_end(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(SHOWN_BYTES);
    let end = String::from_utf8_lossy(&text[from..]).trim().to_owned();
    if end.is_empty() {
        "it wrote no error".to_owned()
    } else {
        end
    }
}
