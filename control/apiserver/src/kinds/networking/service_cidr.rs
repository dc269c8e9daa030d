//! ServiceCIDR: the networks that Services get their addresses from.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRStatus};
use serde_json::Value;

use crate::kinds::{cells, conditions};
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

/// One network for each family.
const CIDRS_MAX: usize = 2;

/// The rules of ServiceCIDRs.
pub struct ServiceCidrStrategy;

impl Strategy for ServiceCidrStrategy {
    type Object = ServiceCIDR;

    fn prepare_for_create(&self, network: &mut ServiceCIDR) {
        network.status = Some(ServiceCIDRStatus::default());
    }

    fn validate(&self, network: &ServiceCIDR) -> ErrorList {
        let mut errors = ErrorList::new();
        let cidrs = cidrs(network);
        let path = Path::new("spec").child("cidrs");
        if cidrs.is_empty() {
            errors.required(path, "at least one CIDR required");
            return errors;
        }
        if cidrs.len() > CIDRS_MAX {
            errors.invalid(path, cidrs, "may only hold up to 2 values");
            return errors;
        }
        for (index, cidr) in cidrs.iter().enumerate() {
            let path = path.index(index);
            errors.invalid_each(&path, cidr, names::canonical_cidr(cidr));
        }
        let family = |cidr: &String| names::parse_cidr(cidr).map(|c| c.address().is_ipv4());
        if let [first, second] = cidrs
            && let (Some(first), Some(second)) = (family(first), family(second))
            && first == second
        {
            errors.invalid(
                path,
                cidrs,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            );
        }
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
        let mut errors = ErrorList::new();
        let (new, old) = (cidrs(new), cidrs(old));
        let path = Path::new("spec").child("cidrs");
        // A second family may be added, and nothing else.
        if new.len() < old.len() {
            errors.immutable(path, new, old);
        } else {
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                errors.immutable(path.index(index), new, old);
            }
        }
        errors
    }

    fn validate_status_update(&self, new: &ServiceCIDR, _old: &ServiceCIDR) -> ErrorList {
        let mut errors = ErrorList::new();
        let conditions = new.status.as_ref().and_then(|s| s.conditions.as_deref());
        conditions::validate(conditions, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("CIDRs", "The networks, one for each family."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, network: &ServiceCIDR, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&network.metadata),
            cidrs(network).join(",").into(),
            cells::age(&network.metadata, now),
        ]
    }
}

fn cidrs(network: &ServiceCIDR) -> &[String] {
    let spec = network.spec.as_ref();
    spec.and_then(|s| s.cidrs.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    fn network(cidrs: &[&str]) -> Value {
        json!({"metadata": {"name": "n"}, "spec": {"cidrs": cidrs}})
    }

    #[test]
    fn one_network_for_each_family() {
        let check = |cidrs: &[&str], expected: &[&str]| {
            check_create(&ServiceCidrStrategy, &network(cidrs), expected);
        };
        check(&["10.96.0.0/16"], &[]);
        check(&["10.96.0.0/16", "fd00::/112"], &[]);
        check(
            &[],
            &["spec.cidrs: Required value: at least one CIDR required"],
        );
        check(
            &["10.0.0.0/8", "fd00::/8", "11.0.0.0/8"],
            &[
                "spec.cidrs: Invalid value: [\"10.0.0.0/8\",\"fd00::/8\",\"11.0.0.0/8\"]: may only hold up to 2 values",
            ],
        );
        check(
            &["10.0.0.0/8", "11.0.0.0/8"],
            &[
                "spec.cidrs: Invalid value: [\"10.0.0.0/8\",\"11.0.0.0/8\"]: may specify no more than one IP for each IP family",
            ],
        );
        check(
            &["x"],
            &["spec.cidrs[0]: Invalid value: \"x\": must be a valid CIDR value"],
        );
        check(
            &["10.0.0.1/8"],
            &[
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/8\": must be in canonical form (\"10.0.0.0/8\")",
            ],
        );
        check(
            &["FD00::/8"],
            &[
                "spec.cidrs[0]: Invalid value: \"FD00::/8\": must be in canonical form (\"fd00::/8\")",
            ],
        );
    }

    #[test]
    fn a_family_may_be_added() {
        let check = |old: &[&str], new: &[&str], expected: &[&str]| {
            check_update(&ServiceCidrStrategy, &network(old), &network(new), expected);
        };
        check(&["10.0.0.0/8"], &["10.0.0.0/8", "fd00::/8"], &[]);
        check(
            &["10.0.0.0/8"],
            &["11.0.0.0/8"],
            &["spec.cidrs[0]: Invalid value: \"11.0.0.0/8\": field is immutable"],
        );
        check(
            &["10.0.0.0/8", "fd00::/8"],
            &["10.0.0.0/8"],
            &["spec.cidrs: Invalid value: [\"10.0.0.0/8\"]: field is immutable"],
        );
        let row = [("Name", "n"), ("CIDRs", "10.0.0.0/8,fd00::/8")];
        check_row(
            &ServiceCidrStrategy,
            &network(&["10.0.0.0/8", "fd00::/8"]),
            0,
            &row,
        );
    }
}
