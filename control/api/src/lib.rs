//! Vocabulary shared by the control plane and the nodes: field errors, names,
//! quantities, selectors, well-known labels. No I/O of any kind.

pub mod cron;
pub mod field;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod int_or_percent;
pub mod labels;
pub mod metadata;
pub mod names;
pub mod owners;
pub mod quantity;
pub mod selector;
pub mod time;
