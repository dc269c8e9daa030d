//! The cluster's CA, as the controllers know it.

use std::sync::Arc;
use std::time::Duration;

use euston_access::csr::Subject;
use euston_controllers::CertificateSigner;
use euston_tls::Authority;

/// Signs what the controllers found approved.
#[derive(Debug)]
pub(super) struct Signer(pub(super) Arc<Authority>);

impl CertificateSigner for Signer {
    fn subject(&self, request: &str) -> Result<Subject, String> {
        let read = euston_tls::read_request(request).map_err(|e| e.to_string())?;
        Ok(Subject {
            common_name: read.common_name,
            organizations: read.organizations,
            dns_names: read.dns_names,
            addresses: read.addresses.iter().map(ToString::to_string).collect(),
            other_names: read.other_names,
        })
    }

    fn sign(&self, request: &str, serving: bool, lifetime: Duration) -> Result<String, String> {
        let signed = self.0.sign_request(request, serving, lifetime);
        signed.map_err(|e| e.to_string())
    }
}
