//! CertificateSigningRequest: somebody asks for a certificate, somebody approves, the cluster's CA signs.
//! Follows `k8s.io/kubernetes/pkg/apis/certificates` (validation) and `pkg/registry/certificates` (strategies).

mod trust_bundle;

use euston_access::csr;
use euston_api::field::{ErrorList, Path};
use euston_api::time;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use serde_json::Value;

use super::cells;
use crate::registry::kind::{Kind, Subresource};
use crate::registry::strategy::{AGE, Column, Fields, NAME, Strategy};

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

const SECONDS_MIN: i32 = 600;
/// Kubernetes' own signer of before there were names of signers.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    let strategy = CertificateSigningRequestStrategy;
    vec![
        Kind::new(strategy, "certificatesigningrequest", false)
            .short(&["csr"])
            .with(&[Subresource::Status, Subresource::Approval]),
        Kind::new(
            trust_bundle::ClusterTrustBundleStrategy,
            "clustertrustbundle",
            false,
        ),
    ]
}

/// The rules of CertificateSigningRequests.
pub struct CertificateSigningRequestStrategy;

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    let status = request.status.as_ref();
    status
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default()
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).iter().any(|c| c.type_ == kind)
}

fn certificate(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(certificate.0.as_slice()).filter(|c| !c.is_empty())
}

/// Times that whoever wrote a condition left out.
fn stamp(request: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
    let now = time::whole_seconds(Timestamp::now());
    let list = request
        .status
        .iter_mut()
        .flat_map(|s| s.conditions.iter_mut().flatten());
    for condition in list {
        let before = conditions(old).iter().find(|c| c.type_ == condition.type_);
        if condition.last_transition_time.is_none() {
            let kept = before.filter(|b| b.status == condition.status);
            let kept = kept.and_then(|b| b.last_transition_time.clone());
            condition.last_transition_time = Some(kept.unwrap_or_else(|| now.clone()));
        }
        if condition.last_update_time.is_none() {
            condition.last_update_time = Some(now.clone());
        }
    }
}

fn validate_conditions(request: &CertificateSigningRequest, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in conditions(request).iter().enumerate() {
        let path = path.index(index);
        let kind = condition.type_.as_str();
        match kind {
            "" => errors.required(path.child("type"), ""),
            kind if seen.contains(&kind) => errors.duplicate(path.child("type"), kind),
            _ => {}
        }
        seen.push(kind);
        let status = condition.status.as_str();
        match status {
            "" => errors.required(path.child("status"), ""),
            "True" => {}
            "False" | "Unknown" if matches!(kind, APPROVED | DENIED | FAILED) => {
                errors.not_supported(path.child("status"), status, &["True"]);
            }
            "False" | "Unknown" => {}
            other => {
                errors.not_supported(path.child("status"), other, &["True", "False", "Unknown"])
            }
        }
    }
    if has(request, APPROVED) && has(request, DENIED) {
        errors.invalid(
            path,
            DENIED,
            "Approved and Denied conditions are mutually exclusive",
        );
    }
}

fn validate_lasting(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    errors: &mut ErrorList,
) {
    let path = Path::new("status").child("conditions");
    for kind in [APPROVED, DENIED, FAILED] {
        if has(old, kind) && !has(new, kind) {
            errors.forbidden(
                path.clone(),
                format!("updates may not remove a condition of type {kind:?}"),
            );
        }
    }
}

impl Strategy for CertificateSigningRequestStrategy {
    type Object = CertificateSigningRequest;

    fn prepare_for_create(&self, request: &mut CertificateSigningRequest) {
        request.status = Some(CertificateSigningRequestStatus::default());
    }

    fn validate(&self, request: &CertificateSigningRequest) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, path) = (&request.spec, Path::new("spec"));
        let read = std::str::from_utf8(&spec.request.0)
            .map_err(|_| "it is no text".to_owned())
            .and_then(|pem| euston_tls::read_request(pem).map_err(|e| e.to_string()));
        if let Err(why) = read {
            errors.invalid(path.child("request"), &spec.request, why);
        }
        let usages = spec.usages.as_deref().unwrap_or_default();
        if usages.is_empty() {
            let why = "usages must contain at least one value";
            errors.required(path.child("usages"), why);
        }
        for (index, usage) in usages.iter().enumerate() {
            let path = path.child("usages").index(index);
            if !csr::USAGES.contains(&usage.as_str()) {
                errors.not_supported(path, usage, csr::USAGES);
            } else if usages[..index].contains(usage) {
                errors.duplicate(path, usage);
            }
        }
        let name = path.child("signerName");
        match spec.signer_name.as_str() {
            "" => errors.required(name, ""),
            LEGACY => {
                errors.invalid(
                    name,
                    LEGACY,
                    "the legacy signerName is not allowed via this API version",
                );
            }
            other if !csr::is_signer_name(other) => {
                let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
                errors.invalid(name, other, why);
            }
            _ => {}
        }
        if let Some(seconds) = spec.expiration_seconds
            && seconds < SECONDS_MIN
        {
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.invalid(path.child("expirationSeconds"), seconds, why);
        }
        errors
    }

    fn prepare_for_update(
        &self,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.spec = old.spec.clone();
        new.status = old.status.clone();
    }

    fn prepare_for_status_update(
        &self,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.spec = old.spec.clone();
        // Approval has its own door.
        let decided =
            |c: &CertificateSigningRequestCondition| matches!(c.type_.as_str(), APPROVED | DENIED);
        let kept: Vec<_> = conditions(old)
            .iter()
            .filter(|c| decided(c))
            .cloned()
            .collect();
        let status = new.status.get_or_insert_default();
        let list = status.conditions.get_or_insert_default();
        list.retain(|c| !decided(c));
        list.splice(0..0, kept);
        stamp(new, old);
    }

    fn prepare_for_part_update(
        &self,
        _approval: Subresource,
        new: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        new.spec = old.spec.clone();
        let list = conditions(new).to_vec();
        new.status = old.status.clone();
        new.status.get_or_insert_default().conditions = Some(list);
        stamp(new, old);
    }

    fn validate_status_update(
        &self,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_conditions(new, &mut errors);
        validate_lasting(new, old, &mut errors);
        let path = Path::new("status").child("certificate");
        let signed = certificate(new);
        if certificate(old).is_some() && signed != certificate(old) {
            errors.forbidden(path.clone(), "updates may not change an issued certificate");
        }
        if let Some(pem) = signed
            && !pem.starts_with(b"-----BEGIN CERTIFICATE-----")
        {
            let why = "must contain at least one CERTIFICATE PEM block";
            errors.invalid(path, "<certificate data>", why);
        }
        errors
    }

    fn validate_part_update(
        &self,
        _approval: Subresource,
        new: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> ErrorList {
        self.validate_status_update(new, old)
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, request: &CertificateSigningRequest) -> Fields {
        vec![("spec.signerName", request.spec.signer_name.clone())]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            AGE,
            Column::string("SignerName", "Who is asked to sign."),
            Column::string("Requestor", "Who asks."),
            Column::string(
                "RequestedDuration",
                "For how long the certificate should be good.",
            ),
            Column::string("Condition", "What became of it."),
        ];
        COLUMNS
    }

    fn row(&self, request: &CertificateSigningRequest, now: Timestamp) -> Vec<Value> {
        let duration = request.spec.expiration_seconds;
        let duration = duration.map(|s| time::human_duration(s.into()));
        let mut condition = match () {
            () if has(request, DENIED) => "Denied".to_owned(),
            () if has(request, APPROVED) => "Approved".to_owned(),
            () if has(request, FAILED) => String::new(),
            () => "Pending".to_owned(),
        };
        for (holds, word) in [
            (has(request, FAILED), "Failed"),
            (certificate(request).is_some(), "Issued"),
        ] {
            if holds {
                let comma = if condition.is_empty() { "" } else { "," };
                condition.push_str(comma);
                condition.push_str(word);
            }
        }
        vec![
            cells::name(&request.metadata),
            cells::age(&request.metadata, now),
            request.spec.signer_name.clone().into(),
            request.spec.username.clone().unwrap_or_default().into(),
            cells::or_none(duration.as_deref()),
            condition.into(),
        ]
    }
}

#[cfg(test)]
mod tests;
