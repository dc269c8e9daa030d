//! The first contact with a cluster: learning its CA from a server that nothing vouches for yet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Fingerprint;
use crate::config::provider;
use crate::error::chain;

/// For the whole exchange: one small answer from a machine that is near.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// A certificate has about 1 KiB; a stranger must not fill this machine's memory.
const CA_BYTES_MAX: usize = 64 * 1024;

/// Why a server's CA is not known.
#[derive(Debug, thiserror::Error)]
pub enum FetchCaError {
    /// It did not tell; it may do so later.
    #[error("cannot get the CA certificate of {server}: {why}")]
    NoAnswer {
        /// The server that was asked.
        server: String,
        /// What went wrong.
        why: String,
    },
    /// It is not the cluster that was meant.
    #[error(
        "the CA certificate of {server} has the fingerprint {found} and the one to trust is {expected}: this is a \
         server of another cluster, or somebody in between; nothing was sent to it"
    )]
    WrongCa {
        /// The server that was asked.
        server: String,
        /// What it has.
        found: Fingerprint,
        /// What it should have.
        expected: Fingerprint,
    },
}

/// Asks `server` (`HOST:PORT`) for the CA certificate at `path`, and returns its PEM if it has the
/// fingerprint that is expected.
///
/// The connection itself is **not** verified, as there is nothing yet to verify it with. So nothing
/// secret is sent over it, and nothing that comes back counts but a certificate with that SHA-256,
/// which nobody else can make. Whatever follows goes over a new connection that this CA vouches for.
///
/// # Errors
/// When there is no answer within 5 s, or it is not the expected certificate.
pub async fn fetch_ca(
    server: &str,
    path: &str,
    expected: Fingerprint,
) -> Result<String, FetchCaError> {
    let server = server.to_owned();
    let failed = |why: String| FetchCaError::NoAnswer {
        server: server.clone(),
        why,
    };
    let pem = tokio::time::timeout(FETCH_TIMEOUT, fetch(&server, path))
        .await
        .map_err(|_| failed(format!("it did not come within {FETCH_TIMEOUT:?}")))?
        .map_err(|e| failed(chain(e.as_ref())))?;
    let found = Fingerprint::of_ca(&pem).map_err(|e| failed(e.to_string()))?;
    if found != expected {
        return Err(FetchCaError::WrongCa {
            server,
            found,
            expected,
        });
    }
    Ok(pem)
}

async fn fetch(
    server: &str,
    path: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(server).await?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider())))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Any name will do, for nobody looks at it.
    let name = ServerName::try_from("euston-ca")?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, server)
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), CA_BYTES_MAX)
            .collect()
            .await?
            .to_bytes();
        if !status.is_success() {
            return Err(format!("it answered {status} to GET {path}").into());
        }
        Ok(String::from_utf8(body.to_vec())?)
    };
    // The connection does its work in this task, so that it ends with the exchange.
    tokio::pin!(exchange, connection);
    tokio::select! {
        done = &mut exchange => done,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

/// Takes every certificate. Only for [`fetch`], see [`fetch_ca`].
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
