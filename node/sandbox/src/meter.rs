//! Drives a guest's future: counts its CPU time, keeps it within the container's CPU limit, and
//! tells the ticker that a guest is running.

use crate::budget::Budget;
use crate::ticker::Pulse;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// CPU time of all sandboxes of one container.
#[derive(Debug)]
pub(crate) struct CpuAccount {
    used_nanos: AtomicU64,
    budget: Option<Budget>,
}

impl CpuAccount {
    pub(crate) fn new(limit_millis: Option<u32>) -> Self {
        Self {
            used_nanos: AtomicU64::new(0),
            budget: limit_millis.map(|millis| Budget::new(millis, Instant::now())),
        }
    }

    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_nanos.load(Ordering::Relaxed))
    }
}

/// A guest's future with its meter.
pub(crate) struct Metered<F> {
    guest: Pin<Box<F>>,
    account: Arc<CpuAccount>,
    pulse: Arc<Pulse>,
    /// Armed while the container pays back CPU time.
    throttled: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(guest: F, account: Arc<CpuAccount>, pulse: Arc<Pulse>) -> Self {
        Self {
            guest: Box::pin(guest),
            account,
            pulse,
            throttled: None,
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        if let Some(budget) = &this.account.budget {
            loop {
                if let Some(sleep) = &mut this.throttled {
                    ready!(sleep.as_mut().poll(cx));
                    this.throttled = None;
                }
                match budget.wait(Instant::now()) {
                    Some(wait) => this.throttled = Some(Box::pin(tokio::time::sleep(wait))),
                    None => break,
                }
            }
        }
        let before = thread_cpu_time();
        let result = {
            let _running = this.pulse.running();
            this.guest.as_mut().poll(cx)
        };
        let used = thread_cpu_time().saturating_sub(before);
        let nanos = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        this.account.used_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(budget) = &this.account.budget {
            budget.charge(Instant::now(), used);
        }
        result
    }
}

/// CPU time of this thread: unlike a wall clock it leaves out the time in which the system ran
/// something else in our place, which is not the guest's fault.
fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
