//! LimitRange and ResourceQuota: how much one object, and all of a namespace, may take.

mod limit_range;
mod resource_quota;

use euston_api::field::{ErrorList, Path};
use euston_api::names;

use crate::registry::kind::{Kind, Subresource};

pub use limit_range::{CONTAINER, PERSISTENT_VOLUME_CLAIM, POD};

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(limit_range::LimitRangeStrategy, "limitrange", true).short(&["limits"]),
        Kind::new(resource_quota::ResourceQuotaStrategy, "resourcequota", true)
            .short(&["quota"])
            .with(&[Subresource::Status]),
    ]
}

/// The name of a resource; one without a domain must be among those that `is_standard` knows.
fn validate_resource_name(
    name: &str,
    is_standard: impl Fn(&str) -> bool,
    rule: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let problems = names::qualified_name(name);
    if !problems.is_empty() {
        errors.invalid_each(path, name, problems);
    } else if !name.contains('/') && !is_standard(name) {
        errors.invalid(path.clone(), name, rule);
    }
}
