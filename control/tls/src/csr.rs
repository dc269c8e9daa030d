//! Certificates for keys that somebody else holds: the request, and the signing of it.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, PublicKeyData,
};

use crate::authority::{LEAF_LIFETIME, Usage, issue};
use crate::{Authority, Identity, TlsError};

/// A new key, and the request (PKCS #10, RFC 2986) that asks for a certificate for it. The key stays
/// where it was made.
pub struct SigningRequest {
    /// What is sent to the authority.
    pub csr_pem: String,
    key: KeyPair,
}

impl std::fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningRequest").finish_non_exhaustive()
    }
}

impl SigningRequest {
    /// Makes a key and a request for it. The request names no subject: who asks is for the
    /// authority to decide.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, TlsError> {
        let failed = || issue("a new key");
        let key = KeyPair::generate().map_err(failed())?;
        let csr_pem = CertificateParams::default()
            .serialize_request(&key)
            .and_then(|csr| csr.pem())
            .map_err(failed())?;
        Ok(Self { csr_pem, key })
    }

    /// Puts the key and the certificate that was issued for it together.
    ///
    /// # Errors
    /// When the certificate is not for this key.
    pub fn complete(self, cert_pem: String) -> Result<Identity, TlsError> {
        let identity = Identity {
            cert_pem,
            key_pem: self.key.serialize_pem(),
        };
        let chain = identity.chain()?;
        let unusable = |why: String| TlsError::unusable("the issued certificate", why);
        let (_, certificate) =
            x509_parser::parse_x509_certificate(&chain[0]).map_err(|e| unusable(e.to_string()))?;
        if certificate.public_key().subject_public_key.data != self.key.public_key_raw() {
            return Err(unusable("it is for another key than asked".to_owned()));
        }
        Ok(identity)
    }
}

impl Authority {
    /// Signs the public key of a request, with the subject and names that the caller vouches for: what
    /// the request says of itself is not looked at. The certificate serves as server and client, for a
    /// year. Returns it in PEM.
    ///
    /// # Errors
    /// When the text is no request, its signature does not show that the asker holds the key, the key is
    /// neither ECDSA P-256 nor Ed25519, or a name cannot stand in a certificate.
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        common_name: &str,
        organizations: &[&str],
        sans: &[String],
    ) -> Result<String, TlsError> {
        let what = "the certificate signing request";
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|e| TlsError::unusable(what, e))?;
        let key = request.public_key;
        // The algorithm is read from the signature; that the key is of the same kind shows in its length.
        let point = key.der_bytes();
        let known =
            (key.algorithm() == &PKCS_ECDSA_P256_SHA256 && point.len() == 65 && point[0] == 4)
                || (key.algorithm() == &PKCS_ED25519 && point.len() == 32);
        if !known {
            return Err(TlsError::unusable(
                what,
                "its key is neither ECDSA P-256 nor Ed25519",
            ));
        }
        self.certify(
            &key,
            common_name,
            organizations,
            sans,
            Usage::Server,
            LEAF_LIFETIME,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{DnType, PKCS_ECDSA_P384_SHA384};

    fn authority() -> (Authority, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Authority::load_or_create(dir.path()).unwrap(), dir)
    }

    #[test]
    fn what_a_request_says_of_itself_is_not_trusted() {
        let (authority, _dir) = authority();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["kubernetes.default.svc".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "root");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let sans = ["10.0.0.7".to_owned(), "w1".to_owned()];
        let cert_pem = authority
            .sign_csr(&csr, "system:node:w1", &["system:nodes"], &sans)
            .unwrap();
        let identity = Identity {
            cert_pem,
            key_pem: key.serialize_pem(),
        };
        let subject = identity.subject().unwrap();
        assert_eq!(subject.common_name, "system:node:w1");
        assert_eq!(subject.organizations, ["system:nodes"]);
        assert_eq!(identity.names().unwrap(), sans);
    }

    #[test]
    fn a_request_and_its_certificate_come_together() {
        let (authority, _dir) = authority();
        let (request, other) = (
            SigningRequest::new().unwrap(),
            SigningRequest::new().unwrap(),
        );
        let cert = authority.sign_csr(&request.csr_pem, "a", &[], &[]).unwrap();
        assert!(other.complete(cert.clone()).is_err());
        let identity = request.complete(cert).unwrap();
        crate::server_config(authority.ca_pem(), &identity, crate::ClientAuth::Required).unwrap();
    }

    #[test]
    fn garbage_and_unknown_keys_are_refused() {
        let (authority, _dir) = authority();
        let refused = |csr: &str| {
            authority
                .sign_csr(csr, "a", &[], &[])
                .expect_err(csr)
                .to_string()
        };
        for csr in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            authority.ca_pem(),
        ] {
            refused(csr);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let csr = CertificateParams::default().serialize_request(&key);
        let why = refused(&csr.unwrap().pem().unwrap());
        assert!(why.contains("neither ECDSA P-256 nor Ed25519"), "{why}");
    }

    /// Some bits of the encoding mean nothing and may change; the key is under the signature.
    #[test]
    fn a_changed_request_gets_no_other_key_signed_and_is_never_a_panic() {
        let (authority, _dir) = authority();
        let request = SigningRequest::new().unwrap();
        let csr = &request.csr_pem;
        for at in 0..csr.len() {
            let mut bytes = csr.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            let Ok(cert_pem) = authority.sign_csr(&changed, "a", &[], &[]) else {
                continue;
            };
            let chain = crate::identity::certificates(&cert_pem, "it").unwrap();
            let (_, signed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
            let key = &signed.public_key().subject_public_key.data;
            assert_eq!(&key[..], request.key.public_key_raw(), "byte {at}");
        }
    }
}
