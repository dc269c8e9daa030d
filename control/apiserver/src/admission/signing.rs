//! Who asks for a certificate is who sends the request; who approves and who signs must be allowed to, signer by
//! signer; and so whoever says what a signer is to be trusted with. Follows `k8s.io/kubernetes/plugin/pkg/admission/certificates`.

use std::sync::Arc;

use euston_access::user::MASTERS;
use euston_access::{Action, Asked, User, csr};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, ClusterTrustBundle};

use super::plugin::{Plugin, Request};
use crate::access::Access;
use crate::error::Result;
use crate::registry::Part;
use crate::registry::kind::Subresource;
use crate::registry::object::AnyObject;

/// Says who asks, and who may approve, sign and attest.
pub struct Signing {
    /// Who may do what.
    pub access: Arc<Access>,
}

impl Plugin for Signing {
    fn mutate(&self, request: &Request<'_>, object: &mut dyn AnyObject) -> Result<()> {
        let asked = object
            .as_any_mut()
            .downcast_mut::<CertificateSigningRequest>();
        if let Some(asked) = asked
            && request.creates()
        {
            // What it says of that itself is not looked at.
            let by = request.resource.by.cloned().unwrap_or_default();
            let spec = &mut asked.spec;
            spec.username = Some(by.name);
            spec.uid = Some(by.uid).filter(|uid| !uid.is_empty());
            spec.groups = Some(by.groups);
            spec.extra = Some(by.extra).filter(|extra| !extra.is_empty());
        }
        Ok(())
    }

    fn permit(&self, request: &Request<'_>, by: &User, object: &dyn AnyObject) -> Result<()> {
        check(&self.access, by, request, object)
    }
}

fn check(access: &Access, by: &User, request: &Request<'_>, new: &dyn AnyObject) -> Result<()> {
    let asked = new.as_any().downcast_ref::<CertificateSigningRequest>();
    let (verb, signer) = match (asked, request.part) {
        (Some(asked), _) if request.creates() => return subject(request, new, asked),
        (Some(asked), Part::Of(Subresource::Approval)) => {
            ("approve", asked.spec.signer_name.as_str())
        }
        (Some(asked), Part::Status) => ("sign", asked.spec.signer_name.as_str()),
        _ => match attested(new) {
            Some(signer) => ("attest", signer),
            None => return Ok(()),
        },
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
    Err(request.forbidden(new, &why))
}

/// The signer of a trust bundle that has one.
fn attested(object: &dyn AnyObject) -> Option<&str> {
    let bundle = object.as_any().downcast_ref::<ClusterTrustBundle>()?;
    bundle.spec.signer_name.as_deref().filter(|s| !s.is_empty())
}

fn subject(
    request: &Request<'_>,
    object: &dyn AnyObject,
    asked: &CertificateSigningRequest,
) -> Result<()> {
    if asked.spec.signer_name != csr::CLIENT {
        return Ok(());
    }
    // What cannot be read is said by validation.
    let text = std::str::from_utf8(&asked.spec.request.0).unwrap_or_default();
    let subject = euston_tls::read_request(text).unwrap_or_default();
    if subject.organizations.iter().any(|o| o == MASTERS) {
        let why = format!(
            "use of {} signer with {MASTERS} group is not allowed",
            csr::CLIENT
        );
        return Err(request.forbidden(object, &why));
    }
    Ok(())
}
