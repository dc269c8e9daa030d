//! admissionregistration.k8s.io: what else a request has to pass. Kept and checked as objects.

mod mutating_policy;
mod policy;
mod rules;
mod validating_policy;
mod webhook;
mod webhooks;

use crate::registry::kind::{Kind, Subresource};

const FAIL: &str = "Fail";
const FAILURE_POLICIES: [&str; 2] = [FAIL, "Ignore"];
const EQUIVALENT: &str = "Equivalent";
const MATCH_POLICIES: [&str; 2] = [EQUIVALENT, "Exact"];
const NEVER: &str = "Never";
const REINVOCATION: [&str; 2] = ["IfNeeded", NEVER];

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(
            webhooks::MutatingWebhooksStrategy,
            "mutatingwebhookconfiguration",
            false,
        ),
        Kind::new(
            webhooks::ValidatingWebhooksStrategy,
            "validatingwebhookconfiguration",
            false,
        ),
        Kind::new(
            validating_policy::ValidatingPolicyStrategy,
            "validatingadmissionpolicy",
            false,
        )
        .with(&[Subresource::Status]),
        Kind::new(
            validating_policy::ValidatingBindingStrategy,
            "validatingadmissionpolicybinding",
            false,
        ),
        Kind::new(
            mutating_policy::MutatingPolicyStrategy,
            "mutatingadmissionpolicy",
            false,
        ),
        Kind::new(
            mutating_policy::MutatingBindingStrategy,
            "mutatingadmissionpolicybinding",
            false,
        ),
    ]
}
