//! How a container ended, in the terms of a Unix process, which is what people know how to read.

use std::fmt;

/// Exit code of a container that was ended from outside at once (128 + SIGKILL).
pub(crate) const CODE_KILLED: i32 = 137;
/// Exit code of a command that was asked to stop (128 + SIGTERM).
pub(crate) const CODE_TERMINATED: i32 = 143;
/// Exit code of a guest that trapped (128 + SIGABRT, what an aborting native program reports).
pub(crate) const CODE_TRAPPED: i32 = 134;

/// Why a container is no longer running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// It ended by itself with code 0, or was drained after a request to stop.
    Completed,
    /// It ended by itself with a code other than 0.
    Error,
    /// It wanted more memory than it may have.
    OomKilled,
    /// The sandbox ended it: the trap in plain words.
    Trap(String),
    /// It was stopped or killed from outside.
    Stopped,
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code as a shell would show it: 0 to 255.
    pub code: i32,
    /// Why it ended.
    pub reason: ExitReason,
    /// A sentence for people; empty if there is nothing to add to the code.
    pub message: String,
}

impl Exit {
    /// The guest ended by itself with this code.
    pub(crate) fn code(code: i32) -> Self {
        // WASI 0.1 passes any u32; a process shows the low eight bits. A guest that meant to fail
        // must not turn into a success by that.
        let shown = match code & 0xff {
            0 if code != 0 => 255,
            low => low,
        };
        Self {
            code: shown,
            reason: if shown == 0 {
                ExitReason::Completed
            } else {
                ExitReason::Error
            },
            message: if shown == code {
                String::new()
            } else {
                format!("the guest exited with {code}, shown as {shown}")
            },
        }
    }

    pub(crate) fn trapped(what: String) -> Self {
        Self {
            code: CODE_TRAPPED,
            message: what.clone(),
            reason: ExitReason::Trap(what),
        }
    }

    pub(crate) fn out_of_memory(message: String) -> Self {
        Self {
            code: CODE_KILLED,
            reason: ExitReason::OomKilled,
            message,
        }
    }

    pub(crate) fn stopped(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: ExitReason::Stopped,
            message: message.into(),
        }
    }

    pub(crate) fn drained() -> Self {
        Self::code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)?;
        match &self.reason {
            ExitReason::Completed | ExitReason::Error => {}
            ExitReason::OomKilled => write!(f, " (out of memory)")?,
            ExitReason::Trap(_) => write!(f, " (trap)")?,
            ExitReason::Stopped => write!(f, " (stopped)")?,
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_a_shell_would_show() {
        for (given, shown, reason) in [
            (0, 0, ExitReason::Completed),
            (1, 1, ExitReason::Error),
            (255, 255, ExitReason::Error),
            (256, 255, ExitReason::Error),
            (259, 3, ExitReason::Error),
            (-1, 255, ExitReason::Error),
        ] {
            let exit = Exit::code(given);
            assert_eq!((exit.code, exit.reason), (shown, reason), "exit({given})");
        }
    }
}
