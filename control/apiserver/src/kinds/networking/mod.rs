//! networking.k8s.io, and the older Endpoints: how requests find their way.

mod endpoints;
mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use k8s_openapi::api::core::v1::TypedLocalObjectReference;

use super::pod_spec::{required_name, text};
use crate::registry::kind::{Kind, Subresource};

pub use ingress::names_a_class;
pub use ingress_class::is_default as is_default_class;

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(endpoints::EndpointsStrategy, "endpoints", true).short(&["ep"]),
        Kind::new(ingress::IngressStrategy, "ingress", true)
            .short(&["ing"])
            .with(&[Subresource::Status]),
        Kind::new(ingress_class::IngressClassStrategy, "ingressclass", false),
        Kind::new(network_policy::NetworkPolicyStrategy, "networkpolicy", true).short(&["netpol"]),
        Kind::new(service_cidr::ServiceCidrStrategy, "servicecidr", false)
            .with(&[Subresource::Status]),
        Kind::new(ip_address::IpAddressStrategy, "ipaddress", false).short(&["ip"]),
    ]
}

/// A reference to an object of any group, whose three parts are a path's segments.
fn validate_reference(
    group: Option<&str>,
    kind: &str,
    name: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(group) = group.filter(|g| !g.is_empty()) {
        let path = path.child("apiGroup");
        errors.invalid_each(&path, group, names::dns1123_subdomain(group));
    }
    for (field, value) in [("kind", kind), ("name", name)] {
        let path = path.child(field);
        if value.is_empty() {
            errors.required(path, format!("{field} is required"));
        } else {
            errors.invalid_each(&path, value, names::path_segment(value, false));
        }
    }
}

fn validate_local_reference(
    reference: &TypedLocalObjectReference,
    path: &Path,
    errors: &mut ErrorList,
) {
    let group = text(&reference.api_group);
    validate_reference(group, &reference.kind, &reference.name, path, errors);
}

/// A name that is one segment of a path and must be there.
fn required_segment(value: &str, path: Path, errors: &mut ErrorList) {
    required_name(value, |v| names::path_segment(v, false), path, errors);
}
