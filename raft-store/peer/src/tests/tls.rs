//! Members that know each other by certificates.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;
use crate::PeerTls;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key).expect("signing"))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        Arc::new(roots)
    }

    /// A certificate for 127.0.0.1 and for a name, for both directions.
    fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), name.to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let cert = params.signed_by(&key, &self.0).expect("signing");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (vec![cert.der().clone()], key.into())
    }

    fn server(&self, name: &str, requires_client: bool) -> ServerConfig {
        let (chain, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let verifier = if requires_client {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(chain, key)
            .expect("a certificate")
    }

    fn client(&self, name: Option<&str>) -> ClientConfig {
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(self.roots());
        match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (chain, key) = self.issue(name);
                builder
                    .with_client_auth_cert(chain, key)
                    .expect("a certificate")
            }
        }
    }

    fn tls(&self, name: &str) -> PeerTls {
        PeerTls {
            server: Arc::new(self.server(name, true)),
            client: Arc::new(self.client(Some(name))),
            check: None,
        }
    }
}

async fn node(id: u64, tls: PeerTls) -> Node {
    Node::with(id, |config| config.tls = Some(tls)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_certificates_reach_each_other() {
    let authority = Authority::new();
    let a = node(0xa, authority.tls("a")).await;
    let b = node(0xb, authority.tls("b")).await;
    introduce(&[&a, &b]);
    a.send_until_received(&b.core, 0).await;
    b.send_until_received(&a.core, 0).await;
    a.transport
        .send(b.id(), vec![Bytes::from(vec![9; 5 << 20])]);
    b.core
        .until("a large frame", |log| {
            log.frames.iter().any(|(_, f)| f.len() == 5 << 20)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_without_the_right_certificate_are_refused() {
    let authority = Authority::new();
    let other = Authority::new();
    let plain = "127.0.0.1:1";
    // Who calls, whether the server itself insists on certificates.
    let anonymous = |requires: bool| {
        let mut tls = authority.tls("a");
        tls.client = Arc::new(authority.client(None));
        (tls, requires)
    };
    let mut foreign = authority.tls("a");
    let (chain, key) = other.issue("a");
    foreign.client = Arc::new(
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(authority.roots())
            .with_client_auth_cert(chain, key)
            .expect("a certificate"),
    );
    for (tls, requires) in [anonymous(true), anonymous(false), (foreign, true)] {
        let mut server = authority.tls("b");
        server.server = Arc::new(authority.server("b", requires));
        let a = node(0xa, tls).await;
        let b = node(0xb, server).await;
        a.transport.set_members(vec![a.member(), b.member()]);
        b.transport
            .set_members(vec![member(a.id(), &[plain]), b.member()]);
        a.send(b.id(), 0..3);
        a.core.until("reports", |log| log.unreachable > 1).await;
        assert!(b.core.log.borrow().frames.is_empty());
        assert!(b.network.counters().refused > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_authority_is_not_called() {
    let a = node(0xa, Authority::new().tls("a")).await;
    let b = node(0xb, Authority::new().tls("b")).await;
    introduce(&[&a, &b]);
    a.send(b.id(), 0..3);
    a.core.until("reports", |log| log.unreachable > 1).await;
    assert!(b.core.log.borrow().frames.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_speaks_only_for_whom_it_may() {
    let authority = Authority::new();
    let a = node(0xa, authority.tls("a")).await;
    let d = node(0xd, authority.tls("d")).await;
    let mut tls = authority.tls("b");
    tls.check = Some(Arc::new(|caller| {
        assert!(!caller.certificates.is_empty());
        match caller.member {
            0xa => Ok(()),
            _ => Err("its name is another's".to_owned()),
        }
    }));
    let b = node(0xb, tls).await;
    introduce(&[&a, &b, &d]);
    d.send(b.id(), 0..3);
    d.core.until("reports", |log| log.unreachable > 1).await;
    a.send_until_received(&b.core, 0).await;
    assert!(numbers(&b.core.log.borrow(), 0xd).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_caller_gets_nowhere_with_tls() {
    let authority = Authority::new();
    let a = Node::new(0xa).await;
    let b = node(0xb, authority.tls("b")).await;
    introduce(&[&a, &b]);
    a.send(b.id(), 0..3);
    a.core.until("reports", |log| log.unreachable > 1).await;
    b.core.until("reports", |log| log.unreachable > 1).await;
    assert!(b.core.log.borrow().frames.is_empty());
}
