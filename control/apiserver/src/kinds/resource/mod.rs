//! resource.k8s.io: devices, and who may use them. Kept and checked as objects; CEL expressions
//! are kept as they are.

mod device_class;
mod device_taint_rule;
mod devices;
mod resource_claim;
mod resource_claim_template;
mod resource_slice;

use crate::registry::kind::{Kind, Subresource};

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    use Subresource::Status;
    vec![
        Kind::new(device_class::DeviceClassStrategy, "deviceclass", false),
        Kind::new(resource_claim::ResourceClaimStrategy, "resourceclaim", true).with(&[Status]),
        Kind::new(
            resource_claim_template::ResourceClaimTemplateStrategy,
            "resourceclaimtemplate",
            true,
        ),
        Kind::new(
            resource_slice::ResourceSliceStrategy,
            "resourceslice",
            false,
        ),
        Kind::new(
            device_taint_rule::DeviceTaintRuleStrategy,
            "devicetaintrule",
            false,
        )
        .with(&[Status]),
    ]
}
