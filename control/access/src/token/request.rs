//! What may be asked of a new token (`serviceaccounts/token`).
//! Follows `k8s.io/kubernetes/pkg/apis/authentication/validation` and `pkg/registry/core/serviceaccount/storage`.

use euston_api::field::{ErrorList, Path};
use k8s_openapi::api::authentication::v1::TokenRequestSpec;

use super::ISSUER;
use super::claims::{Claims, Kubernetes, Named};
use crate::user::service_account_name;

/// How long a token is good for if the request does not say so, in seconds.
pub const SECONDS_DEFAULT: i64 = 3_600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;

/// What admission asks for pods. Whoever asks for this does not know of expiry: old clients read their token once. So
/// the token is good for a year, and says after an hour that it should have been renewed.
pub const SECONDS_OF_PODS: i64 = 3_607;
const SECONDS_EXTENDED: i64 = 365 * 24 * 3_600;

/// Fills in the defaults.
pub fn default(spec: &mut TokenRequestSpec) {
    spec.expiration_seconds.get_or_insert(SECONDS_DEFAULT);
    if spec.audiences.as_ref().is_none_or(Vec::is_empty) {
        spec.audiences = Some(vec![ISSUER.to_owned()]);
    }
}

/// Everything wrong with a request.
pub fn validate(spec: &TokenRequestSpec) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
    if seconds < SECONDS_MIN {
        let why = "may not specify a duration less than 10 minutes";
        errors.invalid(path, seconds, why);
    } else if seconds > SECONDS_MAX {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(path, seconds, why);
    }
    errors
}

/// What a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// A pod.
    pub pod: Option<Named>,
    /// A secret.
    pub secret: Option<Named>,
    /// A node: the pod's, or by itself.
    pub node: Option<Named>,
}

/// The claims of a new token, and the second at which its holder should have another one. `spec` has its defaults;
/// `id` is random, `now` in seconds since 1970.
pub fn claims(
    spec: &TokenRequestSpec,
    namespace: &str,
    service_account: Named,
    bound: Bound,
    id: String,
    now: i64,
) -> (Claims, i64) {
    let seconds = spec.expiration_seconds.unwrap_or(SECONDS_DEFAULT);
    let audiences = spec.audiences.clone().unwrap_or_default();
    let extended = seconds == SECONDS_OF_PODS && bound.pod.is_some() && audiences == [ISSUER];
    let renew = now + seconds;
    let claims = Claims {
        audiences,
        expires: if extended {
            now + SECONDS_EXTENDED
        } else {
            renew
        },
        issued: now,
        issuer: ISSUER.to_owned(),
        id,
        not_before: now,
        subject: service_account_name(namespace, &service_account.name),
        kubernetes: Kubernetes {
            namespace: namespace.to_owned(),
            node: bound.node,
            pod: bound.pod,
            secret: bound.secret,
            service_account,
            warn_after: extended.then_some(renew),
        },
    };
    (claims, renew)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_bounds() {
        let check = |seconds: Option<i64>, expect: &[&str]| {
            let mut spec = TokenRequestSpec {
                expiration_seconds: seconds,
                ..TokenRequestSpec::default()
            };
            default(&mut spec);
            let errors = validate(&spec);
            let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(shown, expect, "{seconds:?}");
        };
        check(None, &[]);
        check(Some(600), &[]);
        check(Some(1 << 32), &[]);
        let short = "may not specify a duration less than 10 minutes";
        check(
            Some(599),
            &[&format!(
                "spec.expirationSeconds: Invalid value: 599: {short}"
            )],
        );
        check(
            Some(-1),
            &[&format!(
                "spec.expirationSeconds: Invalid value: -1: {short}"
            )],
        );
        check(
            Some((1 << 32) + 1),
            &[
                "spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            ],
        );
    }

    #[test]
    fn tokens_of_pods_outlive_their_warning_and_no_others_do() {
        let check = |seconds: i64, audience: &str, pod: bool, expect: (i64, i64, Option<i64>)| {
            let mut spec = TokenRequestSpec {
                expiration_seconds: Some(seconds),
                audiences: Some(vec![audience.to_owned()]),
                ..TokenRequestSpec::default()
            };
            default(&mut spec);
            let named = |name: &str| Named {
                name: name.to_owned(),
                uid: "u".to_owned(),
            };
            let bound = Bound {
                pod: pod.then(|| named("p")),
                ..Bound::default()
            };
            let (claims, renew) = claims(&spec, "ns", named("sa"), bound, "j".to_owned(), 1_000);
            assert_eq!(claims.subject, "system:serviceaccount:ns:sa");
            let got = (claims.expires, renew, claims.kubernetes.warn_after);
            assert_eq!(got, expect, "{seconds} {audience} {pod}");
        };
        let year = 365 * 24 * 3_600;
        check(3_607, ISSUER, true, (1_000 + year, 4_607, Some(4_607)));
        check(3_607, ISSUER, false, (4_607, 4_607, None));
        check(3_607, "vault", true, (4_607, 4_607, None));
        check(3_600, ISSUER, true, (4_600, 4_600, None));
        check(600, ISSUER, true, (1_600, 1_600, None));
    }
}
