//! Certificates for requests whose subject somebody has looked at: what a request says of itself, and signing it so.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, PKCS_RSA_SHA384, PKCS_RSA_SHA512, PublicKeyData,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::authority::Usage;
use crate::{Authority, TlsError};

const WHAT: &str = "the certificate signing request";

/// The shortest RSA key that is signed, in bytes of its encoding: 2,048 bits.
const RSA_BYTES_MIN: usize = 256;

/// What a request says of whom it is for. Nobody vouches for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestedSubject {
    /// The subject's common name, or empty.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// True if it carries names of other sorts.
    pub other_names: bool,
}

/// Reads a request in PEM.
///
/// # Errors
/// When the text is none, or its signature does not show that the asker holds the key.
pub fn read_request(csr_pem: &str) -> Result<RequestedSubject, TlsError> {
    let unusable = |why: String| TlsError::unusable(WHAT, why);
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes())
        .map_err(|_| unusable("PEM block type must be CERTIFICATE REQUEST".to_owned()))?;
    let (_, request) =
        X509CertificationRequest::from_der(&der).map_err(|e| unusable(e.to_string()))?;
    // Checks the signature, and that the key is of a sort that can be signed.
    parse(csr_pem)?;
    let subject = &request.certification_request_info.subject;
    let text = |value: Result<&str, _>| {
        value
            .map(str::to_owned)
            .map_err(|_: x509_parser::error::X509Error| {
                unusable("a name in it is no text".to_owned())
            })
    };
    let mut found = RequestedSubject::default();
    if let Some(name) = subject.iter_common_name().next() {
        found.common_name = text(name.as_str())?;
    }
    for organization in subject.iter_organization() {
        found.organizations.push(text(organization.as_str())?);
    }
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => found.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => found.addresses.push(
                    <[u8; 4]>::try_from(*bytes)
                        .map(IpAddr::from)
                        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                        .map_err(|_| unusable("an IP address in it is none".to_owned()))?,
                ),
                _ => found.other_names = true,
            }
        }
    }
    Ok(found)
}

/// Checks that a text is a bundle of certificates in PEM, at least one and nothing else.
///
/// # Errors
/// Says what it is not.
pub fn read_bundle(pem: &str) -> Result<(), TlsError> {
    const WHAT: &str = "the trust bundle";
    for certificate in crate::identity::certificates(pem, WHAT)? {
        x509_parser::parse_x509_certificate(&certificate)
            .map_err(|e| TlsError::unusable(WHAT, e))?;
    }
    Ok(())
}

fn parse(csr_pem: &str) -> Result<CertificateSigningRequestParams, TlsError> {
    let request = CertificateSigningRequestParams::from_pem(csr_pem)
        .map_err(|e| TlsError::unusable(WHAT, e))?;
    let key = &request.public_key;
    // The algorithm is read from the signature; that the key is of the same kind shows in its length.
    let (length, algorithm) = (key.der_bytes().len(), PublicKeyData::algorithm(key));
    let known = (algorithm == &PKCS_ECDSA_P256_SHA256 && length == 65)
        || (algorithm == &PKCS_ECDSA_P384_SHA384 && length == 97)
        || (algorithm == &PKCS_ED25519 && length == 32)
        || ([&PKCS_RSA_SHA256, &PKCS_RSA_SHA384, &PKCS_RSA_SHA512].contains(&algorithm)
            && length > RSA_BYTES_MIN);
    if !known {
        return Err(TlsError::unusable(
            WHAT,
            "its key is none of ECDSA P-256, ECDSA P-384, Ed25519, and RSA of 2,048 bits or more",
        ));
    }
    Ok(request)
}

impl Authority {
    /// Signs a request as it is, after somebody has approved of what it [says](read_request): as a client, or with
    /// its names as a server as well, for `lifetime`. Returns the certificate in PEM.
    ///
    /// # Errors
    /// As [`read_request`]; and when the subject has more groups than fit into a certificate.
    pub fn sign_request(
        &self,
        csr_pem: &str,
        serving: bool,
        lifetime: Duration,
    ) -> Result<String, TlsError> {
        let subject = read_request(csr_pem)?;
        let request = parse(csr_pem)?;
        let organizations: Vec<&str> = subject.organizations.iter().map(String::as_str).collect();
        let addresses = subject.addresses.iter().map(ToString::to_string);
        let sans: Vec<String> = subject.dns_names.iter().cloned().chain(addresses).collect();
        let usage = if serving {
            Usage::ServerOnly
        } else {
            Usage::Client
        };
        self.certify(
            &request.public_key,
            &subject.common_name,
            &organizations,
            &sans,
            usage,
            lifetime,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, PeerIdentity};
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn authority() -> (Authority, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Authority::load_or_create(dir.path()).unwrap(), dir)
    }

    fn request(common_name: &str, organization: &str, sans: &[&str]) -> (KeyPair, String) {
        let key = KeyPair::generate().unwrap();
        let sans: Vec<String> = sans.iter().map(|&s| s.to_owned()).collect();
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        (key, csr)
    }

    #[test]
    fn a_request_says_who_it_is_for() {
        let (_, csr) = request("ann", "devs", &["n1", "10.0.0.7", "::1"]);
        let subject = read_request(&csr).unwrap();
        let expect = RequestedSubject {
            common_name: "ann".to_owned(),
            organizations: vec!["devs".to_owned()],
            dns_names: vec!["n1".to_owned()],
            addresses: vec!["10.0.0.7".parse().unwrap(), "::1".parse().unwrap()],
            other_names: false,
        };
        assert_eq!(subject, expect);
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert!(read_request(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_certificate_says_what_its_request_said_and_no_more() {
        let (authority, _dir) = authority();
        let (key, csr) = request("ann", "devs", &[]);
        let day = Duration::from_secs(24 * 3600);
        let cert_pem = authority.sign_request(&csr, false, day).unwrap();
        let identity = Identity {
            cert_pem,
            key_pem: key.serialize_pem(),
        };
        let expect = PeerIdentity {
            common_name: "ann".to_owned(),
            organizations: vec!["devs".to_owned()],
        };
        assert_eq!(identity.subject().unwrap(), expect);
        assert!(identity.names().unwrap().is_empty());
        let (from, until) = identity.validity().unwrap();
        let life = until.duration_since(from).unwrap();
        assert!(life >= day && life < 2 * day, "{life:?}");

        let (key, csr) = request("system:node:n", "system:nodes", &["n", "10.0.0.7"]);
        let cert_pem = authority.sign_request(&csr, true, day).unwrap();
        let identity = Identity {
            cert_pem,
            key_pem: key.serialize_pem(),
        };
        assert_eq!(identity.names().unwrap(), ["n", "10.0.0.7"]);
    }
}
