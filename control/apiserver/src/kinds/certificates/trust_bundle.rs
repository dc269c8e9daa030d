//! ClusterTrustBundle: which certificates a signer's certificates are to be verified with.

use euston_access::csr;
use euston_api::field::{ErrorList, Path};
use euston_api::names::NameRule;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use serde_json::Value;

use crate::kinds::cells;
use crate::registry::strategy::{Column, Fields, NAME, Strategy};

/// The largest bundle, in bytes.
const BUNDLE_BYTES_MAX: usize = 1 << 20;

/// The rules of ClusterTrustBundles.
pub struct ClusterTrustBundleStrategy;

fn signer(bundle: &ClusterTrustBundle) -> &str {
    bundle.spec.signer_name.as_deref().unwrap_or_default()
}

impl Strategy for ClusterTrustBundleStrategy {
    type Object = ClusterTrustBundle;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn validate(&self, bundle: &ClusterTrustBundle) -> ErrorList {
        let mut errors = ErrorList::new();
        let signer = signer(bundle);
        let name = bundle.metadata.name.as_deref().unwrap_or_default();
        let path = Path::new("metadata").child("name");
        if signer.is_empty() {
            if name.contains(':') {
                let why = "ClusterTrustBundle without signer name must not have \":\" in its name";
                errors.invalid(path, name, why);
            }
        } else {
            let prefix = format!("{}:", signer.replace('/', ":"));
            if !name.starts_with(&prefix) {
                let why = format!(
                    "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
                );
                errors.invalid(path, name, why);
            }
            if !csr::is_signer_name(signer) {
                let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
                errors.invalid(Path::new("spec").child("signerName"), signer, why);
            }
        }
        let path = Path::new("spec").child("trustBundle");
        let pem = &bundle.spec.trust_bundle;
        if pem.len() > BUNDLE_BYTES_MAX {
            errors.too_long(path, BUNDLE_BYTES_MAX);
        } else if let Err(error) = euston_tls::read_bundle(pem) {
            errors.invalid(path, "<value omitted>", error.to_string());
        }
        errors
    }

    fn validate_update(&self, new: &ClusterTrustBundle, old: &ClusterTrustBundle) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(
            Path::new("spec").child("signerName"),
            signer(new),
            signer(old),
        );
        errors
    }

    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, bundle: &ClusterTrustBundle) -> Fields {
        vec![("spec.signerName", signer(bundle).to_owned())]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("SignerName", "Whose certificates it is for."),
        ];
        COLUMNS
    }

    fn row(&self, bundle: &ClusterTrustBundle, _now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&bundle.metadata),
            cells::or_none(Some(signer(bundle))),
        ]
    }
}
