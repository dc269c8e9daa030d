//! The thread that makes running guests yield.
//!
//! Compiled guest code compares the engine's epoch with a deadline at every loop and call; the
//! ticker moves the epoch. One thread serves all guests, and it sleeps for good while none runs,
//! so that an idle node costs nothing.

use crate::SandboxError;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use wasmtime::Engine;

/// How long a guest runs before others get a turn. Short, since it is what a request waits behind
/// a spinning guest; a yield costs about a microsecond, a thousandth of it.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a running guest after which the thread goes to sleep; not at once, since waking
/// it is a system call and requests come in rows.
const IDLE_TICKS: u32 = 50;

/// Counts the guests that are on a CPU; shared with every guest.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Guests that are being polled right now.
    running: AtomicUsize,
    asleep: AtomicBool,
    stopped: Mutex<bool>,
    wake: Condvar,
}

/// Held while a guest is on a CPU.
pub(crate) struct Running<'a>(&'a Pulse);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pulse {
    /// A guest goes on a CPU: from here on the epoch moves.
    pub(crate) fn running(&self) -> Running<'_> {
        // Sequentially consistent with the ticker's store to `asleep` and its load of `running`:
        // either we see that it sleeps, or it sees that we run.
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            let _stopped = self.stopped.lock();
            self.wake.notify_one();
        }
        Running(self)
    }
}

/// The ticker's handle; its thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    pulse: Arc<Pulse>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> Result<Self, SandboxError> {
        let pulse = Arc::new(Pulse {
            running: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stopped: Mutex::new(false),
            wake: Condvar::new(),
        });
        let engine = engine.weak();
        let shared = Arc::clone(&pulse);
        std::thread::Builder::new()
            .name("wasm-ticker".to_owned())
            .spawn(move || {
                let mut idle = 0;
                loop {
                    {
                        let mut stopped = shared.stopped.lock();
                        if *stopped {
                            return;
                        }
                        if idle >= IDLE_TICKS {
                            shared.asleep.store(true, Ordering::SeqCst);
                            if shared.running.load(Ordering::SeqCst) == 0 {
                                shared.wake.wait(&mut stopped);
                            }
                            shared.asleep.store(false, Ordering::SeqCst);
                            idle = 0;
                        } else {
                            shared.wake.wait_for(&mut stopped, TICK);
                        }
                    }
                    if shared.running.load(Ordering::SeqCst) == 0 {
                        idle += 1;
                        continue;
                    }
                    idle = 0;
                    let Some(engine) = engine.upgrade() else {
                        return;
                    };
                    engine.increment_epoch();
                }
            })
            .map_err(|source| SandboxError::Threads { source })?;
        Ok(Self { pulse })
    }

    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.pulse.stopped.lock() = true;
        self.pulse.wake.notify_one();
    }
}
