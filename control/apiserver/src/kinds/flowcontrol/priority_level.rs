//! PriorityLevelConfiguration: how many requests of a level run at a time, and how others wait.

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::flowcontrol::v1::{
    LimitedPriorityLevelConfiguration, PriorityLevelConfiguration,
    PriorityLevelConfigurationStatus, QueuingConfiguration,
};
use serde_json::Value;

use crate::kinds::cells;
use crate::kinds::pod_spec::one_of;
use crate::registry::strategy::{
    AGE, Column, NAME, Strategy, counts_spec_changes, keeps_status_apart,
};

const EXEMPT: &str = "Exempt";
const LIMITED: &str = "Limited";
const QUEUE: &str = "Queue";
const REJECT: &str = "Reject";
const SHARES: i32 = 30;
const QUEUES: i32 = 64;
const HAND_SIZE: i32 = 8;
const QUEUE_LENGTH: i32 = 50;
const QUEUES_MAX: i32 = 10_000_000;

/// The rules of PriorityLevelConfigurations.
pub struct PriorityLevelStrategy;

impl Strategy for PriorityLevelStrategy {
    type Object = PriorityLevelConfiguration;

    fn default(&self, level: &mut PriorityLevelConfiguration) {
        if let Some(exempt) = &mut level.spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        if let Some(limited) = &mut level.spec.limited {
            limited.nominal_concurrency_shares.get_or_insert(SHARES);
            limited.lendable_percent.get_or_insert(0);
            if let Some(queuing) = &mut limited.limit_response.queuing {
                for (field, default) in [
                    (&mut queuing.queues, QUEUES),
                    (&mut queuing.hand_size, HAND_SIZE),
                    (&mut queuing.queue_length_limit, QUEUE_LENGTH),
                ] {
                    if field.unwrap_or_default() == 0 {
                        *field = Some(default);
                    }
                }
            }
        }
    }

    fn prepare_for_create(&self, level: &mut PriorityLevelConfiguration) {
        level.status = Some(PriorityLevelConfigurationStatus::default());
    }

    fn validate(&self, level: &PriorityLevelConfiguration) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&level.spec, Path::new("spec"));
        let kind = spec.type_.as_str();
        one_of(
            Some(kind),
            &[EXEMPT, LIMITED],
            path.child("type"),
            &mut errors,
        );
        let here = path.child("limited");
        match (&spec.limited, kind) {
            (None, LIMITED) => {
                errors.required(here, "must not be empty when type is Limited");
            }
            (Some(_), EXEMPT) => {
                errors.forbidden(here, "must be nil if the type is not Limited");
            }
            (Some(limited), LIMITED) => validate_limited(limited, &here, &mut errors),
            _ => {}
        }
        if let Some(exempt) = &spec.exempt {
            let here = path.child("exempt");
            if kind == LIMITED {
                errors.forbidden(here, "must be nil if the type is Limited");
            } else {
                let (shares, lent) = (exempt.nominal_concurrency_shares, exempt.lendable_percent);
                validate_shares(shares, lent, &here, &mut errors);
            }
        }
        errors
    }

    keeps_status_apart!();

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Type", "Whether requests are held up."),
            Column::string("NominalConcurrencyShares", "Its share of the server."),
            Column::string("Queues", "How many queues there are."),
            Column::string("HandSize", "How many queues a flow may use."),
            Column::string("QueueLengthLimit", "How many requests wait in a queue."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, level: &PriorityLevelConfiguration, now: Timestamp) -> Vec<Value> {
        let limited = level.spec.limited.as_ref();
        let exempt = level.spec.exempt.as_ref();
        let shares = limited
            .and_then(|l| l.nominal_concurrency_shares)
            .or(exempt.and_then(|e| e.nominal_concurrency_shares));
        let queuing = limited.and_then(|l| l.limit_response.queuing.as_ref());
        let number = |n: Option<i32>| n.map_or_else(|| cells::NONE.into(), Value::from);
        vec![
            cells::name(&level.metadata),
            level.spec.type_.as_str().into(),
            number(shares),
            number(queuing.and_then(|q| q.queues)),
            number(queuing.and_then(|q| q.hand_size)),
            number(queuing.and_then(|q| q.queue_length_limit)),
            cells::age(&level.metadata, now),
        ]
    }
}

fn validate_shares(shares: Option<i32>, lent: Option<i32>, path: &Path, errors: &mut ErrorList) {
    let shares = shares.unwrap_or_default();
    if shares < 0 {
        let path = path.child("nominalConcurrencyShares");
        errors.invalid(path, shares, "must be a non-negative integer");
    }
    let lent = lent.unwrap_or_default();
    if !(0..=100).contains(&lent) {
        let path = path.child("lendablePercent");
        errors.invalid(path, lent, "must be between 0 and 100, inclusive");
    }
}

fn validate_limited(
    limited: &LimitedPriorityLevelConfiguration,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (shares, lent) = (limited.nominal_concurrency_shares, limited.lendable_percent);
    validate_shares(shares, lent, path, errors);
    if let Some(borrowed) = limited.borrowing_limit_percent
        && borrowed < 0
    {
        let rule = "if specified, must be a non-negative integer";
        errors.invalid(path.child("borrowingLimitPercent"), borrowed, rule);
    }
    let response = &limited.limit_response;
    let path = path.child("limitResponse");
    one_of(
        Some(&response.type_),
        &[QUEUE, REJECT],
        path.child("type"),
        errors,
    );
    let here = path.child("queuing");
    match (response.type_.as_str(), &response.queuing) {
        (REJECT, Some(_)) => {
            errors.forbidden(
                here,
                "must be nil if limited.limitResponse.type is not Limited",
            );
        }
        (QUEUE, None) => {
            errors.required(
                here,
                "must not be empty if limited.limitResponse.type is Limited",
            );
        }
        (QUEUE, Some(queuing)) => validate_queuing(queuing, &here, errors),
        _ => {}
    }
}

fn validate_queuing(queuing: &QueuingConfiguration, path: &Path, errors: &mut ErrorList) {
    let value = |n: Option<i32>| n.unwrap_or_default();
    let (queues, hand) = (value(queuing.queues), value(queuing.hand_size));
    if value(queuing.queue_length_limit) <= 0 {
        let here = path.child("queueLengthLimit");
        errors.invalid(here, value(queuing.queue_length_limit), "must be positive");
    }
    let here = path.child("queues");
    if queues <= 0 {
        errors.invalid(here, queues, "must be positive");
    } else if queues > QUEUES_MAX {
        errors.invalid(
            here,
            queues,
            format!("must not be greater than {QUEUES_MAX}"),
        );
    }
    let here = path.child("handSize");
    if hand <= 0 {
        errors.invalid(here, hand, "must be positive");
    } else if hand > queues {
        let rule = format!("should not be greater than queues ({queues})");
        errors.invalid(here, hand, rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, created};
    use serde_json::json;

    #[test]
    fn a_level_is_held_up_or_not() {
        let check = |spec: Value, expected: &[&str]| {
            let value = json!({"metadata": {"name": "l"}, "spec": spec});
            check_create(&PriorityLevelStrategy, &value, expected);
        };
        let queue = |queuing: Value| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}});
        check(json!({"type": "Exempt"}), &[]);
        check(queue(json!({})), &[]);
        check(json!({}), &["spec.type: Required value"]);
        check(
            json!({"type": "Limited"}),
            &["spec.limited: Required value: must not be empty when type is Limited"],
        );
        check(
            json!({"type": "Limited", "exempt": {}, "limited": {"limitResponse": {"type": "Reject"}}}),
            &["spec.exempt: Forbidden: must be nil if the type is Limited"],
        );
        check(
            json!({"type": "Exempt", "limited": {}, "exempt": {"lendablePercent": 101, "nominalConcurrencyShares": -1}}),
            &[
                "spec.limited: Forbidden: must be nil if the type is not Limited",
                "spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            ],
        );
        check(
            json!({"type": "Limited", "limited": {"borrowingLimitPercent": -1, "limitResponse": {"type": "Reject", "queuing": {}}}}),
            &[
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
                "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
            ],
        );
        check(
            queue(json!({"queues": 4, "handSize": 5, "queueLengthLimit": -1})),
            &[
                "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)",
            ],
        );
        let made = created(&PriorityLevelStrategy, &json!({"spec": queue(json!({}))}));
        let made = serde_json::to_value(made).unwrap();
        let row = [
            ("Type", "Limited"),
            ("NominalConcurrencyShares", "30"),
            ("Queues", "64"),
            ("HandSize", "8"),
            ("QueueLengthLimit", "50"),
        ];
        check_row(&PriorityLevelStrategy, &made, 0, &row);
        check_row(
            &PriorityLevelStrategy,
            &json!({"spec": {"type": "Exempt"}}),
            0,
            &[("Queues", "<none>")],
        );
    }
}
