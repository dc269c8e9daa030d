//! Certificate signing requests: approves what needs nobody, has the cluster's CA sign what is approved, and forgets
//! the old ones.

mod plan;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use euston_access::csr::Subject;
use euston_client::{Next, ObjectKey, WorkQueue};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use kube::Api;
use kube::api::PostParams;

use crate::Shared;
use crate::error::{Attempt, Error};
use crate::run::{Reconcile, run_controller};
use plan::{Step, plan};

const WORKERS: usize = 2;
const GROUP: &str = "certificates.k8s.io";

/// The cluster's CA, which only a server has.
pub trait CertificateSigner: fmt::Debug + Send + Sync {
    /// What a request (PEM) says of whom it is for.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn subject(&self, request: &str) -> Result<Subject, String>;

    /// Signs a request (PEM) as it is, for a server or for a client. Returns the certificate in PEM.
    ///
    /// # Errors
    /// Why it cannot.
    fn sign(&self, request: &str, serving: bool, lifetime: Duration) -> Result<String, String>;
}

struct Certificates {
    shared: Arc<Shared>,
    signer: Arc<dyn CertificateSigner>,
}

/// Does nothing where nobody can sign.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Some(signer) = shared.options.signer.clone() else {
        return shared.shutdown.cancelled().await;
    };
    let queue: WorkQueue<ObjectKey> = WorkQueue::default();
    shared.informers.certificate_requests.on_change({
        let queue = queue.clone();
        move |delta| {
            if let Some(request) = delta.new {
                queue.add(ObjectKey::of(&request.metadata));
            }
        }
    });
    let controller = Certificates {
        shared: shared.clone(),
        signer,
    };
    run_controller("certificates", queue, WORKERS, &shared, controller).await;
}

impl Reconcile for Certificates {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, Error> {
        let found = self
            .shared
            .informers
            .certificate_requests
            .get("", &key.name);
        let Some(request) = found else {
            return Ok(Next::Done);
        };
        let text = String::from_utf8_lossy(&request.spec.request.0).into_owned();
        let subject = self.signer.subject(&text);
        let now = Timestamp::now();
        let mut next = CertificateSigningRequest::clone(&request);
        match plan(&request, &subject, now) {
            Step::Wait(until) => Ok(until_then(until, now)),
            Step::Delete => {
                let params = kube::api::DeleteParams::default();
                self.api()
                    .delete(&key.name, &params)
                    .await
                    .map(drop)
                    .or_else(gone)
                    .attempting(|| {
                        format!("delete the old CertificateSigningRequest {}", key.name)
                    })?;
                Ok(Next::Done)
            }
            Step::Ask(subresource, until) => {
                if !self.may(&request, subresource).await? {
                    return Ok(until_then(until, now));
                }
                let message =
                    "Auto approving kubelet client certificate after SubjectAccessReview.";
                add(&mut next, "Approved", "AutoApproved", message);
                self.write(&next, "approval").await
            }
            Step::Sign { serving, lifetime } => {
                match self.signer.sign(&text, serving, lifetime) {
                    Ok(pem) => {
                        next.status.get_or_insert_default().certificate =
                            Some(ByteString(pem.into_bytes()));
                    }
                    Err(why) => add(&mut next, "Failed", "SignerValidationFailure", &why),
                }
                self.write(&next, "status").await
            }
            Step::Fail(why) => {
                add(&mut next, "Failed", "SignerValidationFailure", &why);
                self.write(&next, "status").await
            }
        }
    }
}

fn until_then(until: Timestamp, now: Timestamp) -> Next {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    Next::After(left)
}

fn gone(error: kube::Error) -> Result<(), kube::Error> {
    if euston_client::errors::is_not_found(&error) {
        Ok(())
    } else {
        Err(error)
    }
}

fn add(request: &mut CertificateSigningRequest, kind: &str, reason: &str, message: &str) {
    let status = request.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..CertificateSigningRequestCondition::default()
    });
}

impl Certificates {
    fn api(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.shared.client.clone())
    }

    async fn write(
        &self,
        request: &CertificateSigningRequest,
        subresource: &str,
    ) -> Result<Next, Error> {
        let name = request.metadata.name.as_deref().unwrap_or_default();
        self.api()
            .replace_subresource(subresource, name, &PostParams::default(), request)
            .await
            .attempting(|| {
                format!("write the {subresource} of CertificateSigningRequest {name}")
            })?;
        Ok(Next::Done)
    }

    /// True if whoever sent the request may create the subresource.
    async fn may(
        &self,
        request: &CertificateSigningRequest,
        subresource: &str,
    ) -> Result<bool, Error> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    verb: Some("create".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::<SubjectAccessReview>::all(self.shared.client.clone())
            .create(&PostParams::default(), &review)
            .await
            .attempting(|| "ask who may have a node's certificate".to_owned())?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
