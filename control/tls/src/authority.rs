//! The cluster's certificate authority: an ECDSA P-256 key that signs one-level chains.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{ServerName, UnixTime};

use crate::config::{ClientAuth, client_verifier, provider, server_verifier};
use crate::files::{self, Access};
use crate::identity::certificates;
use crate::{Fingerprint, Identity, PeerIdentity, TlsError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Long enough that nobody replaces a CA by surprise; its key never leaves the control plane.
const CA_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Clocks of two machines differ; a certificate must not be "not yet valid" on the other one.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// A stored certificate that ends sooner than this is issued anew.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// rcgen keeps one value per attribute type, and an organization can be spelled as two types.
const MAX_ORGANIZATIONS: usize = 2;

/// The cluster CA: its certificate, and the key that signs.
pub struct Authority {
    ca_pem: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Usage {
    Client,
    /// Also as a client: an agent is both with one certificate.
    Server,
    /// As a server and nothing else.
    ServerOnly,
}

impl Authority {
    /// Opens `ca.crt` and `ca.key` in `dir`, or creates both on first use.
    ///
    /// A key alone gets a new certificate (a crash between the two writes leaves that; what the
    /// key signed stays valid). A certificate alone, a pair that does not match, or an expired
    /// certificate is an error: a new CA would cut off every client that trusts the old one.
    ///
    /// # Errors
    /// As above, and when files cannot be read or written.
    pub fn load_or_create(dir: &Path) -> Result<Self, TlsError> {
        let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        match (files::read(&cert_path)?, files::read(&key_path)?) {
            (Some(cert), Some(key)) => Self::open(&cert_path, cert, &key_path, &key),
            (None, Some(key)) => Self::create(&cert_path, parse_key(&key_path, &key)?),
            (None, None) => {
                let key = KeyPair::generate().map_err(issue("euston-ca"))?;
                files::write(&key_path, &key.serialize_pem(), Access::Owner)?;
                Self::create(&cert_path, key)
            }
            (Some(_), None) => Err(TlsError::unusable(
                cert_path.display().to_string(),
                format!(
                    "its key {} is missing; restore the key, or remove the certificate to start \
                     a new CA (every kubeconfig and agent then needs new certificates)",
                    key_path.display()
                ),
            )),
        }
    }

    fn create(cert_path: &Path, key: KeyPair) -> Result<Self, TlsError> {
        let mut params = CertificateParams::default();
        // A name of its own per CA: a certificate of another cluster is then refused as "unknown
        // issuer" and not as a puzzling "bad signature".
        let fingerprint: String = params
            .key_identifier(&key)
            .iter()
            .take(4)
            .map(|b| format!("{b:02x}"))
            .collect();
        params.distinguished_name = name(&format!("euston-ca-{fingerprint}"), &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        set_validity(&mut params, CA_LIFETIME);
        let certificate = params.self_signed(&key).map_err(issue("euston-ca"))?;
        let ca_pem = certificate.pem();
        files::write(cert_path, &ca_pem, Access::Everyone)?;
        Ok(Self {
            ca_pem,
            issuer: Issuer::new(params, key),
        })
    }

    fn open(
        cert_path: &Path,
        ca_pem: String,
        key_path: &Path,
        key_pem: &str,
    ) -> Result<Self, TlsError> {
        let what = cert_path.display().to_string();
        let key = parse_key(key_path, key_pem)?;
        let chain = certificates(&ca_pem, &what)?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&chain[0])
            .map_err(|e| TlsError::unusable(&what, e))?;
        if !certificate.is_ca() {
            return Err(TlsError::unusable(what, "it is not a CA certificate"));
        }
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(TlsError::unusable(
                what,
                format!("it does not belong to the key {}", key_path.display()),
            ));
        }
        if !certificate.validity().is_valid() {
            return Err(TlsError::unusable(
                what,
                format!(
                    "it is valid from {} to {} and now is outside of that; check this machine's \
                     clock, or remove it to start a new CA certificate with the same key",
                    certificate.validity().not_before,
                    certificate.validity().not_after
                ),
            ));
        }
        let issuer = Issuer::from_ca_cert_der(&chain[0], key).map_err(issue("euston-ca"))?;
        Ok(Self { ca_pem, issuer })
    }

    /// Takes over the CA of a running cluster: checks that certificate and key belong together, and
    /// stores them as `ca.crt` and `ca.key` in `dir`.
    ///
    /// # Errors
    /// When they are not usable, when `dir` holds another CA, or files cannot be read or written.
    pub fn import(dir: &Path, ca_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        let authority = Self::open(&cert_path, ca_pem.to_owned(), &key_path, key_pem)?;
        if let Some(present) = files::read(&cert_path)?
            && Fingerprint::of_ca(&present)? != Fingerprint::of_ca(ca_pem)?
        {
            return Err(TlsError::unusable(
                cert_path.display().to_string(),
                "it is the CA of another cluster; use another data folder, or remove this one",
            ));
        }
        files::write(&key_path, key_pem, Access::Owner)?;
        files::write(&cert_path, ca_pem, Access::Everyone)?;
        Ok(authority)
    }

    /// The CA's key in PEM, for another server of the control plane and for nobody else.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The CA's certificate in PEM: what every other party needs to trust the cluster.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Issues a certificate for a client: `common_name` is the user, `organizations` the groups.
    /// Valid for a year.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
    ) -> Result<Identity, TlsError> {
        self.issue(common_name, organizations, &[], Usage::Client)
    }

    /// Issues a certificate for a server reachable under `sans` (DNS names or IP addresses). It
    /// serves as a client certificate too. Valid for a year.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_server(
        &self,
        common_name: &str,
        organizations: &[&str],
        sans: &[String],
    ) -> Result<Identity, TlsError> {
        self.issue(common_name, organizations, sans, Usage::Server)
    }

    /// The client identity stored as `name` in `dir` where it still fits, else a new one, stored.
    ///
    /// # Errors
    /// When files cannot be read or written, or issuing fails.
    pub fn ensure_client(
        &self,
        dir: &Path,
        name: &str,
        common_name: &str,
        organizations: &[&str],
    ) -> Result<Identity, TlsError> {
        self.ensure(dir, name, common_name, organizations, &[], Usage::Client)
    }

    /// The server identity stored as `name` in `dir` where it still fits (this CA, these names,
    /// a month of validity left, key and certificate a pair), else a new one, stored.
    ///
    /// # Errors
    /// When files cannot be read or written, or issuing fails.
    pub fn ensure_server(
        &self,
        dir: &Path,
        name: &str,
        common_name: &str,
        organizations: &[&str],
        sans: &[String],
    ) -> Result<Identity, TlsError> {
        self.ensure(dir, name, common_name, organizations, sans, Usage::Server)
    }

    fn ensure(
        &self,
        dir: &Path,
        name: &str,
        common_name: &str,
        organizations: &[&str],
        sans: &[String],
        usage: Usage,
    ) -> Result<Identity, TlsError> {
        if let Some(stored) = Identity::load(dir, name)? {
            match self.check(&stored, common_name, organizations, sans, usage) {
                Ok(()) => return Ok(stored),
                Err(e) => tracing::info!(%name, reason = %e, "issuing a stored certificate anew"),
            }
        }
        let issued = self.issue(common_name, organizations, sans, usage)?;
        issued.save(dir, name)?;
        Ok(issued)
    }

    /// Whether a stored identity can be used as it is.
    fn check(
        &self,
        identity: &Identity,
        common_name: &str,
        organizations: &[&str],
        sans: &[String],
        usage: Usage,
    ) -> Result<(), TlsError> {
        let unusable = |why: String| TlsError::unusable(format!("certificate {common_name}"), why);
        let chain = identity.chain()?;
        let subject = identity.subject()?;
        let wanted = PeerIdentity {
            common_name: common_name.to_owned(),
            organizations: organizations.iter().map(|o| (*o).to_owned()).collect(),
        };
        if subject != wanted {
            return Err(unusable(format!("it is for {subject:?}")));
        }
        rustls::sign::CertifiedKey::from_der(chain.clone(), identity.key()?, &provider())
            .map_err(|e| unusable(e.to_string()))?;
        let soon = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            + RENEW_BEFORE;
        for at in [UnixTime::now(), UnixTime::since_unix_epoch(soon)] {
            client_verifier(&self.ca_pem, ClientAuth::Required)?
                .verify_client_cert(&chain[0], &[], at)
                .map_err(|e| unusable(e.to_string()))?;
        }
        if usage == Usage::Server {
            let verifier = server_verifier(&self.ca_pem)?;
            for san in sans {
                let host = ServerName::try_from(san.as_str())
                    .map_err(|e| unusable(format!("{san:?} is not a server name: {e}")))?;
                verifier
                    .verify_server_cert(&chain[0], &[], &host, &[], UnixTime::now())
                    .map_err(|e| unusable(e.to_string()))?;
            }
        }
        Ok(())
    }

    fn issue(
        &self,
        common_name: &str,
        organizations: &[&str],
        sans: &[String],
        usage: Usage,
    ) -> Result<Identity, TlsError> {
        let key = KeyPair::generate().map_err(issue(common_name))?;
        let cert_pem =
            self.certify(&key, common_name, organizations, sans, usage, LEAF_LIFETIME)?;
        Ok(Identity {
            cert_pem,
            key_pem: key.serialize_pem(),
        })
    }

    /// A certificate for a public key, in PEM.
    pub(crate) fn certify(
        &self,
        key: &impl PublicKeyData,
        common_name: &str,
        organizations: &[&str],
        sans: &[String],
        usage: Usage,
        lifetime: Duration,
    ) -> Result<String, TlsError> {
        if organizations.len() > MAX_ORGANIZATIONS {
            return Err(TlsError::unusable(
                format!("certificate {common_name}"),
                format!(
                    "{} groups were asked for and at most {MAX_ORGANIZATIONS} fit",
                    organizations.len()
                ),
            ));
        }
        let mut params = CertificateParams::new(sans.to_vec()).map_err(issue(common_name))?;
        params.distinguished_name = name(common_name, organizations);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::ServerOnly => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Server => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, lifetime);
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(issue(common_name))?;
        Ok(certificate.pem())
    }
}

/// The names under which an API server on this machine's loopback addresses is reached:
/// 127.0.0.1 to 127.0.0.`addresses`, `localhost`, and the `kubernetes` Service's DNS names.
pub fn loopback_sans(addresses: u8) -> Vec<String> {
    (1..=addresses.max(1))
        .map(|n| format!("127.0.0.{n}"))
        .chain(
            [
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ]
            .map(str::to_owned),
        )
        .collect()
}

fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, TlsError> {
    KeyPair::from_pem(pem).map_err(|e| TlsError::unusable(path.display().to_string(), e))
}

pub(crate) fn issue(subject: &str) -> impl FnOnce(rcgen::Error) -> TlsError + use<> {
    let subject = subject.to_owned();
    move |source| TlsError::Issue { subject, source }
}

fn name(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // The second one is spelled as the bare object identifier, see MAX_ORGANIZATIONS.
    for (index, organization) in organizations.iter().enumerate() {
        let kind = if index == 0 {
            DnType::OrganizationName
        } else {
            DnType::CustomDnType(vec![2, 5, 4, 10])
        };
        name.push(kind, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(DAY);
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now + lifetime;
}
