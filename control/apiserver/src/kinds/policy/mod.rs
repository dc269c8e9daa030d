//! The group policy: how many pods may be missing on purpose.

mod budget;

use crate::registry::kind::Kind;
use crate::registry::kind::Subresource::Status;

/// The group's rows of the table of kinds.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(budget::BudgetStrategy, "poddisruptionbudget", true)
            .short(&["pdb"])
            .update_needs_version()
            .with(&[Status]),
    ]
}
