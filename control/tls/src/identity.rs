//! A certificate with its key, and what a peer's certificate says about it.

use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::TlsError;
use crate::files::{self, Access};

/// A certificate chain with its private key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The PKCS #8 private key, PEM. Secret.
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads `NAME.crt` and `NAME.key` from `dir`; `None` where either is missing.
    ///
    /// # Errors
    /// When a file exists and cannot be read.
    pub fn load(dir: &Path, name: &str) -> Result<Option<Self>, TlsError> {
        let cert = files::read(&dir.join(format!("{name}.crt")))?;
        let key = files::read(&dir.join(format!("{name}.key")))?;
        Ok(cert
            .zip(key)
            .map(|(cert_pem, key_pem)| Self { cert_pem, key_pem }))
    }

    /// Writes `NAME.crt` and `NAME.key` (mode 0600) into `dir`, each atomically.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn save(&self, dir: &Path, name: &str) -> Result<(), TlsError> {
        files::write(
            &dir.join(format!("{name}.key")),
            &self.key_pem,
            Access::Owner,
        )?;
        files::write(
            &dir.join(format!("{name}.crt")),
            &self.cert_pem,
            Access::Everyone,
        )
    }

    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.cert_pem, "the certificate")
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|e| TlsError::unusable("the private key", e))
    }

    /// What the other side of a connection will learn from this certificate.
    ///
    /// # Errors
    /// When the PEM holds no readable certificate.
    pub fn subject(&self) -> Result<PeerIdentity, TlsError> {
        let chain = self.chain()?;
        PeerIdentity::from_certificate(&chain[0])
            .ok_or_else(|| TlsError::unusable("the certificate", "its subject has no common name"))
    }
}

/// Every certificate in a PEM text; at least one.
pub(crate) fn certificates(
    pem: &str,
    what: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::unusable(what, e))?;
    if found.is_empty() {
        return Err(TlsError::unusable(
            what,
            "it holds no PEM block CERTIFICATE",
        ));
    }
    Ok(found)
}

/// Who the peer of a connection is, taken from its verified client certificate.
///
/// [`serve`](crate::serve) adds it to the extensions of every request on the connection; it is
/// absent where the peer showed no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The subject's common name: the Kubernetes user.
    pub common_name: String,
    /// The subject's organizations: the Kubernetes groups.
    pub organizations: Vec<String>,
}

impl PeerIdentity {
    /// Reads the subject of a certificate; `None` where it cannot be parsed or has no common name.
    pub fn from_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let organizations = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok().map(str::to_owned))
            .collect();
        Some(Self {
            common_name,
            organizations,
        })
    }
}
