//! How much of a node a container asks for and may have.

use std::collections::BTreeMap;

use euston_api::field::{ErrorList, NOT_NEGATIVE, Path};
use euston_api::names;
use euston_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

/// Resources without a domain that a container may name.
const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE_PAGES: &str = "hugepages-";

/// Writes an amount in its canonical form, as the API always answers it; one that does
/// not parse stays for validation to refuse.
pub(super) fn canonical_quantity(quantity: &mut ApiQuantity) {
    if let Ok(parsed) = Quantity::from_api(quantity) {
        *quantity = parsed.to_api();
    }
}

/// [`canonical_quantity`] for all amounts, rounded up to thousandths.
pub(in super::super) fn canonical_amounts(amounts: Option<&mut BTreeMap<String, ApiQuantity>>) {
    for quantity in amounts.into_iter().flat_map(BTreeMap::values_mut) {
        if let Ok(parsed) = Quantity::from_api(quantity) {
            *quantity = parsed.rounded_to_milli().to_api();
        }
    }
}

/// Adds an error for an amount that does not parse, is negative, or is no whole number
/// where only that makes sense. Returns the amount if it parses.
pub(in super::super) fn validate_amount(
    name: &str,
    amount: &ApiQuantity,
    path: &Path,
    errors: &mut ErrorList,
) -> Option<Quantity> {
    match Quantity::from_api(amount) {
        Err(error) => {
            errors.invalid(path.clone(), amount, error.to_string());
            None
        }
        Ok(quantity) => {
            if quantity.is_negative() {
                errors.invalid(path.clone(), amount, NOT_NEGATIVE);
            }
            if is_counted(name) && !quantity.is_whole() {
                errors.invalid(path.clone(), amount, "must be an integer");
            }
            Some(quantity)
        }
    }
}

/// True for what comes in pieces: devices, huge pages, pods.
fn is_counted(name: &str) -> bool {
    is_extended(name) || name.starts_with(HUGE_PAGES) || name == "pods"
}

/// True for resources that nodes advertise under a domain of their own.
fn is_extended(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

pub(super) fn validate(
    resources: &ResourceRequirements,
    spec: &PodSpec,
    path: &Path,
    errors: &mut ErrorList,
) {
    let empty = BTreeMap::new();
    let limits = resources.limits.as_ref().unwrap_or(&empty);
    let requests = resources.requests.as_ref().unwrap_or(&empty);
    let mut parsed_limits = BTreeMap::new();
    for (name, limit) in limits {
        let here = path.child("limits");
        validate_name(name, &here, errors);
        if let Some(limit) = validate_amount(name, limit, &here.key(name), errors) {
            parsed_limits.insert(name, limit);
        }
    }
    for (name, request) in requests {
        let here = path.child("requests");
        validate_name(name, &here, errors);
        let Some(amount) = validate_amount(name, request, &here.key(name), errors) else {
            continue;
        };
        let fixed = is_extended(name) || name.starts_with(HUGE_PAGES);
        match parsed_limits.get(name) {
            Some(limit) if fixed && amount != *limit => {
                errors.invalid(
                    here,
                    request,
                    format!("must be equal to {name} limit of {limit}"),
                );
            }
            Some(limit) if amount > *limit => {
                let rule = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(here, request, rule);
            }
            None if fixed && !limits.contains_key(name) => {
                let here = path.child("limits");
                errors.required(here, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let claims = spec.resource_claims.as_deref().unwrap_or_default();
    for (index, claim) in resources.claims.iter().flatten().enumerate() {
        let here = path.child("claims").index(index).child("name");
        if claim.name.is_empty() {
            errors.required(here, "");
        } else if !claims.iter().any(|known| known.name == claim.name) {
            errors.not_found(here, &claim.name);
        }
    }
}

fn validate_name(name: &str, path: &Path, errors: &mut ErrorList) {
    errors.invalid_each(path, name, names::qualified_name(name));
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with(HUGE_PAGES) {
        errors.invalid(
            path.clone(),
            name,
            "must be a standard resource for containers",
        );
    }
}
