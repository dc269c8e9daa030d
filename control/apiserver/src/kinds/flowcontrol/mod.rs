//! flowcontrol.apiserver.k8s.io: whose requests wait for whose. Kept and checked as objects.

mod flow_schema;
mod priority_level;

use crate::registry::kind::{Kind, Subresource};

/// What is never held up.
const EXEMPT: &str = "exempt";

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(flow_schema::FlowSchemaStrategy, "flowschema", false)
            .with(&[Subresource::Status]),
        Kind::new(
            priority_level::PriorityLevelStrategy,
            "prioritylevelconfiguration",
            false,
        )
        .with(&[Subresource::Status]),
    ]
}
