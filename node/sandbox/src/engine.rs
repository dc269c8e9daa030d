//! The wasmtime engine: one per process, sized for the machine.

use crate::SandboxError;
use crate::error::wasmtime_chain;
use crate::limits::{MEMORIES_MAX, TABLE_ELEMENTS_MAX};
use crate::plan::PoolPlan;
use std::num::NonZeroUsize;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Frames of a trap's backtrace that are kept: enough to get from a language's panic machinery
/// down to the function that called it.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// Stack that guest code may use; wasmtime's default, written down because the limit is ours.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// Stack of a sandbox with the host functions it calls. Pages that are not touched cost nothing.
const STACK_BYTES: usize = 2 << 20;
/// Tables for each slot: guests from Rust and C have one, composed components several.
const TABLES_PER_SLOT: u32 = 2;
/// Core instances for each slot; only a counter, their memory comes from the heap.
const CORE_INSTANCES_PER_SLOT: u32 = 16;
/// Table bytes that are cleared in place, as `PoolPlan::kept_bytes` of memory are: enough for the
/// functions of most guests.
const TABLE_KEPT_BYTES: usize = 16 << 10;
/// Idle slots that stay bound to the module that used them last, so that the next request of that
/// module finds its pages mapped. More apps than this, called in turn, remap at every call.
const WARM_SLOTS: u32 = 128;

/// Makes the engine by `plan`; where the host refuses the address space, by a smaller plan, and at
/// last without pools. The plan that came true is returned with it.
pub(crate) fn build(mut plan: PoolPlan) -> Result<(Engine, PoolPlan), SandboxError> {
    loop {
        match Engine::new(&config(&plan)) {
            Ok(engine) => return Ok((engine, plan)),
            Err(error) if !plan.pooled => {
                return Err(SandboxError::Engine {
                    reason: wasmtime_chain(&error),
                });
            }
            Err(error) => {
                let reason = wasmtime_chain(&error);
                let smaller = plan.halved().unwrap_or_else(|| plan.on_demand(&reason));
                tracing::warn!(
                    slots = plan.slots,
                    next = smaller.slots,
                    pooled = smaller.pooled,
                    reason,
                    "this machine refuses the planned pool of sandboxes; trying a smaller one. \
                     Raise vm.max_map_count and the address space limit (ulimit -v) to avoid this"
                );
                plan = smaller;
            }
        }
    }
}

fn config(plan: &PoolPlan) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        // Shared memories escape the memory limit and the pools: refused when an image is made.
        .wasm_threads(false)
        .parallel_compilation(true)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(STACK_BYTES);
    let strategy = if plan.pooled {
        InstanceAllocationStrategy::Pooling(pools(plan))
    } else {
        InstanceAllocationStrategy::OnDemand
    };
    config.allocation_strategy(strategy);
    config
}

fn pools(plan: &PoolPlan) -> PoolingAllocationConfig {
    let slots = plan.slots;
    let memories = u32::try_from(MEMORIES_MAX).unwrap_or(u32::MAX);
    let mut pools = PoolingAllocationConfig::new();
    pools
        .total_memories(slots)
        .total_stacks(slots)
        .total_component_instances(slots)
        .total_gc_heaps(slots)
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_SLOT))
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(usize::try_from(plan.max_memory_bytes).unwrap_or(usize::MAX))
        .max_memories_per_module(memories)
        .max_memories_per_component(memories)
        .max_tables_per_module(memories)
        .max_unused_warm_slots(WARM_SLOTS)
        // Without `pagemap_scan`, which would be faster still: until wasmtime issue 14357 is
        // solved it can leave a guest's swapped-out pages to the slot's next guest.
        .linear_memory_keep_resident(usize::try_from(plan.kept_bytes).unwrap_or(0))
        .table_keep_resident(TABLE_KEPT_BYTES);
    pools
}
