//! What becomes of a certificate signing request: approval without anybody, signature, refusal, removal.

use std::time::Duration;

use euston_access::csr::{self, Purpose, Subject};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

/// How long requests are kept that were answered, and those that nobody answers. As in Kubernetes.
const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// The longest that a certificate is good for, and how long it is if nobody asks for less.
const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until this time.
    Wait(Timestamp),
    /// It is old: delete it.
    Delete,
    /// If whoever sent it may create this subresource, approve; else wait until this time.
    Ask(&'static str, Timestamp),
    /// Sign it, as a server's or not, for so long.
    Sign { serving: bool, lifetime: Duration },
    /// Say that it never will be, and why.
    Fail(String),
}

/// Decides about `request`, which says that it is for `subject` (or why it cannot be read).
pub(crate) fn plan(
    request: &CertificateSigningRequest,
    subject: &Result<Subject, String>,
    now: Timestamp,
) -> Step {
    let status = request.status.as_ref();
    let conditions = status
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let has = |kind: &str| {
        conditions
            .iter()
            .any(|c| c.type_ == kind && c.status == "True")
    };
    let signed = status
        .and_then(|s| s.certificate.as_ref())
        .is_some_and(|certificate| !certificate.0.is_empty());
    let created = request
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(now, |t| t.0);
    let over = |kept: SignedDuration| {
        let end = created.saturating_add(kept).unwrap_or(Timestamp::MAX);
        if end <= now {
            Step::Delete
        } else {
            Step::Wait(end)
        }
    };
    if signed || has("Denied") || has("Failed") {
        return over(ANSWERED);
    }
    let signer = request.spec.signer_name.as_str();
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    let subject = match subject {
        Ok(subject) => subject,
        Err(why) if has("Approved") => return Step::Fail(why.clone()),
        Err(_) => return over(PENDING),
    };
    if has("Approved") {
        return match csr::purpose(signer, subject, usages) {
            Some(Ok(purpose)) => Step::Sign {
                serving: purpose == Purpose::Server,
                lifetime: lifetime(request.spec.expiration_seconds),
            },
            Some(Err(why)) => Step::Fail(why),
            // Somebody else's to sign.
            None => over(ANSWERED),
        };
    }
    let sent_by = request.spec.username.as_deref().unwrap_or_default();
    match (
        csr::approved_by_right(signer, subject, usages, sent_by),
        over(PENDING),
    ) {
        (Some(subresource), Step::Wait(until)) => Step::Ask(subresource, until),
        (_, step) => step,
    }
}

fn lifetime(seconds: Option<i32>) -> Duration {
    let asked = seconds
        .and_then(|s| u64::try_from(s).ok())
        .map(Duration::from_secs);
    asked.unwrap_or(LIFETIME_MAX).min(LIFETIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(signer: &str, conditions: &[&str], signed: bool, age_hours: i64, expect: Step) {
        let created = Timestamp::from_second(1_000_000).unwrap();
        let conditions: Vec<_> = conditions
            .iter()
            .map(|c| json!({ "type": c, "status": "True" }))
            .collect();
        let request = serde_json::from_value(json!({
            "metadata": { "name": "r", "creationTimestamp": created },
            "spec": {
                "request": "", "signerName": signer, "username": "system:node:n",
                "usages": ["client auth"], "expirationSeconds": 7200,
            },
            "status": { "conditions": conditions, "certificate": if signed { "AAAA" } else { "" } },
        }))
        .unwrap();
        let subject = Ok(Subject {
            common_name: "system:node:n".to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            ..Subject::default()
        });
        let now = created + SignedDuration::from_hours(age_hours);
        assert_eq!(
            plan(&request, &subject, now),
            expect,
            "{signer} {conditions:?}"
        );
    }

    #[test]
    fn requests_are_approved_signed_and_forgotten() {
        let at = |hours: i64| {
            Timestamp::from_second(1_000_000).unwrap() + SignedDuration::from_hours(hours)
        };
        let sign = || Step::Sign {
            serving: false,
            lifetime: Duration::from_secs(7200),
        };
        check(
            csr::NODE_CLIENT,
            &[],
            false,
            0,
            Step::Ask("selfnodeclient", at(24)),
        );
        check(csr::NODE_CLIENT, &[], false, 24, Step::Delete);
        check(csr::CLIENT, &[], false, 0, Step::Wait(at(24)));
        check(csr::CLIENT, &[], false, 25, Step::Delete);
        check(csr::CLIENT, &["Approved"], false, 0, sign());
        check(csr::NODE_CLIENT, &["Approved"], false, 0, sign());
        check(csr::CLIENT, &["Approved"], true, 0, Step::Wait(at(1)));
        check(csr::CLIENT, &["Approved"], true, 1, Step::Delete);
        check(csr::CLIENT, &["Denied"], false, 0, Step::Wait(at(1)));
        check(
            csr::CLIENT,
            &["Approved", "Failed"],
            false,
            0,
            Step::Wait(at(1)),
        );
        check(csr::CLIENT, &["Denied"], false, 2, Step::Delete);
        check("example.com/x", &["Approved"], false, 0, Step::Wait(at(1)));
        check("example.com/x", &[], false, 0, Step::Wait(at(24)));
        let why = "usages did not include \"server auth\"".to_owned();
        check(csr::NODE_SERVING, &["Approved"], false, 0, Step::Fail(why));
    }

    #[test]
    fn nobody_gets_a_certificate_for_longer_than_a_year() {
        for (seconds, expect) in [
            (None, LIFETIME_MAX),
            (Some(600), Duration::from_secs(600)),
            (Some(i32::MAX), LIFETIME_MAX),
            (Some(-1), LIFETIME_MAX),
        ] {
            assert_eq!(lifetime(seconds), expect, "{seconds:?}");
        }
    }
}
