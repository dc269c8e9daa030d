//! rustls configurations for both ends: ring, TLS 1.2 and 1.3, HTTP/2 offered first.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::identity::certificates;
use crate::{Identity, TlsError};

/// Whether a server insists on a client certificate. A certificate that is shown and does not
/// verify ends the handshake in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client may stay anonymous (it may bring a bearer token instead).
    Optional,
    /// No certificate, no connection.
    Required,
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn roots(ca_pem: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(ca_pem, "the CA certificate")? {
        store
            .add(certificate)
            .map_err(|e| TlsError::unusable("the CA certificate", e))?;
    }
    Ok(Arc::new(store))
}

pub(crate) fn client_verifier(
    ca_pem: &str,
    auth: ClientAuth,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?, provider());
    match auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    }
    .build()
    .map_err(|e| TlsError::unusable("the CA certificate", e))
}

pub(crate) fn server_verifier(ca_pem: &str) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(roots(ca_pem)?, provider())
        .build()
        .map_err(|e| TlsError::unusable("the CA certificate", e))
}

/// The server's side: clients are checked against `ca_pem`; ALPN offers h2, then http/1.1.
///
/// # Errors
/// When a PEM text is not usable, or key and certificate do not belong together.
pub fn server_config(
    ca_pem: &str,
    identity: &Identity,
    auth: ClientAuth,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Config {
            what: "the server",
            source,
        })?
        .with_client_cert_verifier(client_verifier(ca_pem, auth)?)
        .with_single_cert(identity.chain()?, identity.key()?)
        .map_err(|source| TlsError::Config {
            what: "the server",
            source,
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The client's side: the server must chain to `ca_pem`; `identity` is shown where it asks.
/// ALPN is left empty, for the connector on top sets it.
///
/// # Errors
/// When a PEM text is not usable, or key and certificate do not belong together.
pub fn client_config(ca_pem: &str, identity: Option<&Identity>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Config {
            what: "the client",
            source,
        })?
        .with_root_certificates(roots(ca_pem)?);
    match identity {
        Some(id) => builder
            .with_client_auth_cert(id.chain()?, id.key()?)
            .map_err(|source| TlsError::Config {
                what: "the client",
                source,
            }),
        None => Ok(builder.with_no_client_auth()),
    }
}
