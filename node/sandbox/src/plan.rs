//! How many sandboxes fit on this machine: arithmetic only, so that it can be tested and printed.

use std::fmt;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the plan is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Bytes of memory that this process may use: the machine's, or its cgroup's.
    pub(crate) memory_bytes: u64,
    /// `vm.max_map_count`: mappings one process may have.
    pub(crate) max_maps: u64,
    /// CPUs this process may use.
    pub(crate) cpus: usize,
}

/// How the pools of sandboxes were sized, and why. Print it: it is the answer to "how many pods
/// fit here".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlan {
    /// Sandboxes that can be alive at once.
    pub slots: u32,
    /// How many of them long-running commands may hold, so that HTTP requests always find some.
    pub command_slots: u32,
    /// Bytes of guest memory that all sandboxes together may hold.
    pub memory_budget_bytes: u64,
    /// Bytes that one guest memory can grow to, whatever its container's limit says.
    pub max_memory_bytes: u64,
    /// Bytes of a slot's memory that are cleared in place when a guest ends, instead of being
    /// given back to the system: the next guest then starts without page faults.
    pub kept_bytes: u64,
    /// Threads that run guests.
    pub workers: usize,
    /// False if the host refused the address space, and sandboxes are made one by one (slower).
    pub pooled: bool,
    /// Why these numbers.
    pub why: String,
}

/// Address space that one slot reserves: 4 GiB of memory, and guards around it.
const ADDRESS_SPACE_PER_SLOT: u64 = 4 * GIB + 64 * MIB;
/// Address space we are willing to reserve: half of the 128 TiB that a process has on x86-64.
const ADDRESS_SPACE: u64 = 64 << 40;
/// Memory a live sandbox touches at the least: a small guest's pages, its stack, wasmtime's state.
/// Slots beyond what memory could ever fill would only cost kernel bookkeeping.
const MEMORY_PER_SLOT: u64 = MIB;
/// Mappings one slot can cost: two for its stack and its guard (made when the engine starts), and
/// up to four for a memory in use (image, heap, unused rest, guard).
const MAPS_PER_SLOT: u64 = 6;
/// Mappings left to the rest of the process: compiled code (two to four per image), threads, heap.
const MAPS_RESERVED: u64 = 16_384;
/// Fewer slots than this are no node.
const SLOTS_MIN: u64 = 64;
/// Idle HTTP containers hold no slot, so this bounds commands and requests under way; more would
/// leave too little kept memory for each, and cost mappings when the engine starts.
const SLOTS_MAX: u64 = 4_096;
/// Guests of Rust and C put 1 MiB of stack first and their data behind it. Keeping all that they
/// touch about doubles the requests per second, as handing pages back interrupts every other
/// thread of the process.
const KEPT_MAX: u64 = 1_280 << 10;
/// The part of the memory budget that kept pages may come to, had every slot been used at once.
const KEPT_SHARE: u64 = 4;

impl PoolPlan {
    /// Sizes the pools; `budget` replaces the share of memory that guests get by default.
    pub(crate) fn new(machine: Machine, budget: Option<u64>) -> Self {
        // A fifth stays for the node itself, compiled code, and the system's page cache.
        let memory_budget_bytes = budget.unwrap_or(machine.memory_bytes / 5 * 4);
        let by_memory = memory_budget_bytes / MEMORY_PER_SLOT;
        let by_maps = machine.max_maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_SLOT;
        let by_address = ADDRESS_SPACE / ADDRESS_SPACE_PER_SLOT;
        let bounds = [
            (by_memory, "memory (1 MiB each)"),
            (by_maps, "vm.max_map_count"),
            (by_address, "address space (4 GiB each)"),
            (SLOTS_MAX, "the built-in maximum"),
        ];
        let (slots, bound) = bounds
            .into_iter()
            .min_by_key(|(slots, _)| *slots)
            .unwrap_or((SLOTS_MIN, "the built-in minimum"));
        let (slots, bound) = if slots < SLOTS_MIN {
            (SLOTS_MIN, "the built-in minimum")
        } else {
            (slots, bound)
        };
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        Self {
            slots,
            command_slots: command_share(slots),
            kept_bytes: kept(memory_budget_bytes, slots),
            memory_budget_bytes,
            max_memory_bytes: 4 * GIB,
            workers: machine.cpus.max(1),
            pooled: true,
            why: format!("bounded by {bound}"),
        }
    }

    /// The next smaller plan to try when the host refuses this one; `None` when it is small enough
    /// that a refusal must have another cause.
    pub(crate) fn halved(&self) -> Option<Self> {
        let slots = self.slots / 2;
        (u64::from(slots) >= SLOTS_MIN).then(|| Self {
            slots,
            command_slots: command_share(slots),
            kept_bytes: kept(self.memory_budget_bytes, slots),
            why: format!("the host refused to reserve {} slots", self.slots),
            ..self.clone()
        })
    }

    /// The plan without pools.
    pub(crate) fn on_demand(&self, refusal: &str) -> Self {
        Self {
            pooled: false,
            why: format!("the host refused even {} slots: {refusal}", self.slots),
            ..self.clone()
        }
    }
}

/// Commands hold their sandbox for as long as they run; a quarter stays for requests.
fn command_share(slots: u32) -> u32 {
    slots - slots / 4
}

/// Whole pages, as the kernel counts.
fn kept(budget: u64, slots: u32) -> u64 {
    let bytes = (budget / KEPT_SHARE / u64::from(slots.max(1))).min(KEPT_MAX);
    bytes / 4096 * 4096
}

impl fmt::Display for PoolPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sandboxes at once ({}{}), {} of them for commands; guest memory {} MiB in all, at \
             most {} MiB each, {} KiB kept warm per sandbox; {} guest threads",
            self.slots,
            if self.pooled { "" } else { "not pooled: " },
            self.why,
            self.command_slots,
            self.memory_budget_bytes / MIB,
            self.max_memory_bytes / MIB,
            self.kept_bytes >> 10,
            self.workers,
        )
    }
}

impl Machine {
    /// Looks at the machine this process runs on.
    pub(crate) fn detect() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let total = read("/proc/meminfo").and_then(|text| meminfo_total(&text));
        let cgroup = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
        let memory_bytes = match (total, cgroup) {
            (Some(total), Some(limit)) => u64::min(total, limit),
            (Some(bytes), None) | (None, Some(bytes)) => bytes,
            // Not Linux, or /proc is hidden: a size every machine of today has.
            (None, None) => 2 * GIB,
        };
        Self {
            memory_bytes,
            max_maps: read("/proc/sys/vm/max_map_count")
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(65_530),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The machine's memory in bytes, from the text of `/proc/meminfo`.
fn meminfo_total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_scarcest_resource() {
        let machine = |gib, max_maps| Machine {
            memory_bytes: gib * GIB,
            max_maps,
            cpus: 2,
        };
        for (name, machine, budget, slots, bound) in [
            (
                "a laptop",
                machine(24, 65_530),
                None,
                4_096,
                "built-in maximum",
            ),
            (
                "fewer maps",
                machine(24, 32_768),
                None,
                2_730,
                "max_map_count",
            ),
            ("a small VM", machine(2, 65_530), None, 1_638, "memory"),
            (
                "a large server",
                machine(512, 1 << 20),
                None,
                4_096,
                "built-in maximum",
            ),
            (
                "a tight budget",
                machine(24, 65_530),
                Some(100 * MIB),
                100,
                "memory",
            ),
            (
                "next to nothing",
                machine(24, 65_530),
                Some(MIB),
                64,
                "minimum",
            ),
            ("few maps", machine(24, 1_000), None, 64, "minimum"),
        ] {
            let plan = PoolPlan::new(machine, budget);
            assert_eq!(u64::from(plan.slots), slots, "{name}: {plan}");
            assert!(plan.why.contains(bound), "{name}: {plan}");
            assert!(plan.command_slots < plan.slots, "{name}: {plan}");
            let kept = plan.kept_bytes * u64::from(plan.slots);
            assert!(
                kept <= plan.memory_budget_bytes / KEPT_SHARE,
                "{name}: {plan}"
            );
        }
    }

    #[test]
    fn halving_ends() {
        let machine = Machine {
            memory_bytes: 24 * GIB,
            max_maps: 65_530,
            cpus: 2,
        };
        let mut plan = PoolPlan::new(machine, None);
        let mut steps = 0;
        while let Some(smaller) = plan.halved() {
            plan = smaller;
            steps += 1;
        }
        assert_eq!(steps, 6, "4096 to 64");
        assert!(u64::from(plan.slots) >= SLOTS_MIN);
    }

    #[test]
    fn meminfo_is_read() {
        for (text, expect) in [
            ("MemTotal:       24576 kB\nMemFree: 1 kB\n", Some(24 * MIB)),
            ("MemFree: 1 kB\n", None),
            ("MemTotal: x kB\n", None),
            ("", None),
        ] {
            assert_eq!(meminfo_total(text), expect, "{text:?}");
        }
    }
}
