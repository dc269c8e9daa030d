//! A certificate with its key, and what a peer's certificate says about it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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

    /// From when to when the certificate is valid.
    ///
    /// # Errors
    /// When the PEM holds no readable certificate.
    pub fn validity(&self) -> Result<(SystemTime, SystemTime), TlsError> {
        let chain = self.chain()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&chain[0])
            .map_err(|e| TlsError::unusable("the certificate", e))?;
        let validity = certificate.validity();
        let time = |at: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Ok((time(validity.not_before), time(validity.not_after)))
    }

    /// The names and addresses that the certificate is good for as a server.
    ///
    /// # Errors
    /// When the PEM holds no readable certificate.
    pub fn names(&self) -> Result<Vec<String>, TlsError> {
        alternative_names(&self.chain()?[0])
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

/// The subject alternative names of a certificate. Only DNS names and IP addresses are known, as only
/// those are ever issued.
fn alternative_names(der: &[u8]) -> Result<Vec<String>, TlsError> {
    use x509_parser::extensions::GeneralName;
    let unusable = |why: String| TlsError::unusable("the certificate", why);
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|e| unusable(e.to_string()))?;
    let Some(names) = certificate
        .subject_alternative_name()
        .map_err(|e| unusable(e.to_string()))?
    else {
        return Ok(Vec::new());
    };
    let read = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    };
    names
        .value
        .general_names
        .iter()
        .map(|name| read(name).ok_or_else(|| unusable(format!("it carries the name {name:?}"))))
        .collect()
}

/// The certificate that a peer showed and that verified, in the extensions of its requests.
#[derive(Clone, Debug)]
pub struct PeerCertificate(Arc<[u8]>);

impl PeerCertificate {
    pub(crate) fn new(der: &[u8]) -> Self {
        Self(der.into())
    }

    /// The names and addresses that the certificate is good for as a server.
    ///
    /// # Errors
    /// When it carries names of a sort that is never issued.
    pub fn names(&self) -> Result<Vec<String>, TlsError> {
        alternative_names(&self.0)
    }
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
