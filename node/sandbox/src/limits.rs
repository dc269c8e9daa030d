//! The memory limit: of one sandbox, of a container, and of the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::ResourceLimiter;

/// Core instances in one sandbox. A component from Rust has 3, Go's 5, and Python's, which links
/// its shared libraries at run time, several dozen.
const INSTANCES_MAX: usize = 256;
/// Linear memories in one sandbox; composed components have one for each part.
pub(crate) const MEMORIES_MAX: usize = 32;
/// Tables in one sandbox.
const TABLES_MAX: usize = 256;
/// Elements of one table: the largest that real guests were seen with, twice over. More is refused
/// as WebAssembly has it: `table.grow` returns -1.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 50_000;

/// Bytes held against a bound, by a container or by the whole node.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    used: AtomicU64,
    peak: AtomicU64,
    limit: u64,
}

impl MemoryAccount {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            limit: limit.unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, or nothing if they would not fit.
    fn take(&self, bytes: u64) -> bool {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            });
        match taken {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The limiter of one sandbox. What it holds goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Limits {
    container: Arc<MemoryAccount>,
    node: Arc<MemoryAccount>,
    held: u64,
    /// A growth was refused by WebAssembly's own rules (its declared maximum, 4 GiB): most guests
    /// abort upon that, and the abort is then an out-of-memory.
    refused: bool,
    /// What was asked for beyond a limit. Kept, as wasmtime's collector swallows our error and
    /// reports one of its own.
    denied: Option<OutOfMemory>,
}

/// The guest asked for more memory than it may have. As with a cgroup, that ends it; handing the
/// refusal to the guest would end it too, in an `unreachable` that tells nobody why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OutOfMemory(String);

impl Limits {
    pub(crate) fn new(container: Arc<MemoryAccount>, node: Arc<MemoryAccount>) -> Self {
        Self {
            container,
            node,
            held: 0,
            refused: false,
            denied: None,
        }
    }

    /// Whether a growth was refused on the way to a trap.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    /// The limit that the guest ran into, if it did: whatever it died of then, it died of that.
    pub(crate) fn denied(&self) -> Option<&OutOfMemory> {
        self.denied.as_ref()
    }

    fn take(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        let taken = self.try_take(bytes);
        if let Err(error) = &taken {
            self.denied = Some(error.clone());
        }
        taken
    }

    fn try_take(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        if !self.container.take(bytes) {
            return Err(OutOfMemory(format!(
                "out of memory: the guest holds {} and asked for {} more, its limit is {}",
                mib(self.container.used()),
                mib(bytes),
                mib(self.container.limit),
            )));
        }
        if !self.node.take(bytes) {
            self.container.give_back(bytes);
            return Err(OutOfMemory(format!(
                "out of memory: all guests of this node hold {} of {}, and this one asked for {} \
                 more",
                mib(self.node.used()),
                mib(self.node.limit),
                mib(bytes),
            )));
        }
        self.held += bytes;
        Ok(())
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.container.give_back(self.held);
        self.node.give_back(self.held);
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = true;
            return Ok(false);
        }
        self.take(desired.saturating_sub(current) as u64)?;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // What `memory_growing` took stays taken: the guest is about to abort, and its end gives
        // everything back.
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > maximum.unwrap_or(usize::MAX).min(TABLE_ELEMENTS_MAX) {
            return Ok(false);
        }
        let elements = desired.saturating_sub(current) as u64;
        self.take(elements * size_of::<usize>() as u64)?;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// Bytes for people: whole mebibytes where they are, else kibibytes.
fn mib(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else if bytes >= 10 << 20 {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    } else {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65_536;

    #[test]
    fn growth_stops_at_the_container_then_at_the_node() {
        for (name, container, node, pages, fits) in [
            ("no limit", None, None, 100, true),
            ("just fits", Some(10), None, 10, true),
            ("one page over", Some(10), None, 11, false),
            ("node full", Some(10), Some(5), 6, false),
        ] {
            let bytes = |pages: u64| pages * PAGE as u64;
            let container = Arc::new(MemoryAccount::new(container.map(bytes)));
            let node = Arc::new(MemoryAccount::new(node.map(bytes)));
            let mut limits = Limits::new(Arc::clone(&container), Arc::clone(&node));
            let grown = limits.memory_growing(0, pages * PAGE, None);
            assert_eq!(grown.is_ok(), fits, "{name}: {grown:?}");
            let held = if fits { bytes(pages as u64) } else { 0 };
            assert_eq!((container.used(), node.used()), (held, held), "{name}");
            drop(limits);
            assert_eq!((container.used(), node.used()), (0, 0), "{name}");
            assert!(container.peak() >= held, "{name}");
        }
    }

    #[test]
    fn sandboxes_of_a_container_share_its_limit() {
        let container = Arc::new(MemoryAccount::new(Some(10 * PAGE as u64)));
        let node = Arc::new(MemoryAccount::new(None));
        let mut one = Limits::new(Arc::clone(&container), Arc::clone(&node));
        let mut two = Limits::new(Arc::clone(&container), Arc::clone(&node));
        assert!(one.memory_growing(0, 6 * PAGE, None).is_ok());
        assert!(two.memory_growing(0, 5 * PAGE, None).is_err());
        drop(one);
        assert!(two.memory_growing(0, 5 * PAGE, None).is_ok());
    }

    #[test]
    fn a_declared_maximum_is_refused_in_the_guest_only() {
        let account = || Arc::new(MemoryAccount::new(None));
        let mut limits = Limits::new(account(), account());
        let grown = limits.memory_growing(PAGE, 3 * PAGE, Some(2 * PAGE));
        assert!(matches!(grown, Ok(false)), "{grown:?}");
        assert!(limits.refused());
    }
}
