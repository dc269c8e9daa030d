//! Who asks for a certificate is who sends the request; who approves and who signs must be allowed to, signer by
//! signer; and so whoever says what a signer is to be trusted with. Follows `k8s.io/kubernetes/plugin/pkg/admission/certificates`.

use euston_access::user::MASTERS;
use euston_access::{Action, Asked, User, csr};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, ClusterTrustBundle};

use super::Attempt;
use crate::access::Access;
use crate::error::{ApiError, Result};
use crate::registry::object::AnyObject;
use crate::registry::{Part, Resource};

/// Writes into a new request who sent it. What it says of that itself is not looked at.
pub fn complete(request: &mut CertificateSigningRequest, by: Option<&User>) {
    let spec = &mut request.spec;
    let by = by.cloned().unwrap_or_default();
    spec.username = Some(by.name);
    spec.uid = Some(by.uid).filter(|uid| !uid.is_empty());
    spec.groups = Some(by.groups);
    spec.extra = Some(by.extra).filter(|extra| !extra.is_empty());
}

/// Refuses approval, signature, and requests for more than anybody may have.
///
/// # Errors
/// 403 with the reason.
pub fn check(
    access: &Access,
    by: &User,
    resource: Resource<'_>,
    attempt: Attempt<'_>,
) -> Result<()> {
    let (verb, name, signer) = match attempt {
        Attempt::Create(new) => {
            if let Some(request) = new.as_any().downcast_ref::<CertificateSigningRequest>() {
                return subject(resource, request);
            }
            match attested(new) {
                Some((name, signer)) => ("attest", name, signer),
                None => return Ok(()),
            }
        }
        Attempt::Update(part, new, old) => {
            let request = old.as_any().downcast_ref::<CertificateSigningRequest>();
            match (request, part) {
                (Some(request), Part::Approval) => {
                    ("approve", name_of(old), &*request.spec.signer_name)
                }
                (Some(request), Part::Status) => ("sign", name_of(old), &*request.spec.signer_name),
                _ => match attested(new) {
                    Some((name, signer)) => ("attest", name, signer),
                    None => return Ok(()),
                },
            }
        }
        Attempt::Delete(_) => return Ok(()),
    };
    let all = signer
        .split_once('/')
        .map(|(domain, _)| format!("{domain}/*"));
    let may = |name: &str| {
        let action = Action {
            verb,
            group: "certificates.k8s.io",
            resource: "signers",
            name,
            ..Action::default()
        };
        access.may(by, &Asked::Resource(action))
    };
    if may(signer) || all.is_some_and(|all| may(&all)) {
        return Ok(());
    }
    let why = if verb == "attest" {
        format!("user not permitted to attest for signerName {signer:?}")
    } else {
        format!("user not permitted to {verb} requests with signerName {signer:?}")
    };
    Err(refused(resource, name, &why))
}

fn name_of(object: &dyn AnyObject) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// Name and signer of a trust bundle that has one.
fn attested(object: &dyn AnyObject) -> Option<(&str, &str)> {
    let bundle = object.as_any().downcast_ref::<ClusterTrustBundle>()?;
    let signer = bundle
        .spec
        .signer_name
        .as_deref()
        .filter(|s| !s.is_empty())?;
    Some((name_of(object), signer))
}

fn subject(resource: Resource<'_>, request: &CertificateSigningRequest) -> Result<()> {
    if request.spec.signer_name != csr::CLIENT {
        return Ok(());
    }
    // What cannot be read is said by validation.
    let text = std::str::from_utf8(&request.spec.request.0).unwrap_or_default();
    let subject = euston_tls::read_request(text).unwrap_or_default();
    if subject.organizations.iter().any(|o| o == MASTERS) {
        let why = format!(
            "use of {} signer with {MASTERS} group is not allowed",
            csr::CLIENT
        );
        return Err(refused(
            resource,
            request.metadata.name.as_deref().unwrap_or_default(),
            &why,
        ));
    }
    Ok(())
}

fn refused(resource: Resource<'_>, name: &str, why: &str) -> ApiError {
    let names = &resource.kind.names;
    ApiError::forbidden(&names.group, &names.plural, name, why)
}
