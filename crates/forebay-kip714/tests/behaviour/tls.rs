//! A client over TLS, against a broker behind one that ends it.
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_kip714::{GetTelemetrySubscriptionsRequest, TelemetryRequest, tcp::TcpTransport};
use forebay_testkit::kafka::Broker;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tower::ServiceExt;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/support/tls").join(name)
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(&std::fs::read(file(name)).unwrap()).map(Result::unwrap).collect()
}

/// Listens in place of `broker`, and speaks TLS; its port.
async fn secured(broker: &Broker) -> u16 {
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), broker.address());
    let port = listener.local_addr().unwrap().port();
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(file("server-key.pem")).unwrap()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates("server.pem"), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(to).await.unwrap();
                // Either side may end it.
                drop(copy_bidirectional(&mut stream, &mut plain).await);
            });
        }
    });
    port
}

fn trusting(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    certificates(authority).into_iter().for_each(|certificate| roots.add(certificate).unwrap());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn a_broker_that_is_trusted_is_asked_over_tls_and_no_other_one() {
    let broker = Broker::start().await;
    let port = secured(&broker).await;
    broker.advertise([format!("localhost:{port}")]);
    for (authority, trusted) in [("ca.pem", true), ("other-ca.pem", false)] {
        let transport = TcpTransport::builder()
            .bootstrap(&format!("localhost:{port}"))
            .tls(trusting(authority))
            .connect_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let before = broker.seen().gets.len();
        let request = TelemetryRequest::GetSubscriptions(GetTelemetrySubscriptionsRequest::default());
        let response = transport.oneshot(request).await;
        assert_eq!(
            (response.is_ok(), broker.seen().gets.len() - before),
            (trusted, usize::from(trusted)),
            "{response:?}"
        );
    }
    // A broker that speaks TLS is not spoken to without it.
    let plain = TcpTransport::builder().bootstrap(&format!("localhost:{port}")).build().unwrap();
    let request = TelemetryRequest::GetSubscriptions(GetTelemetrySubscriptionsRequest::default());
    assert!(plain.oneshot(request).await.is_err());
    assert_eq!(broker.seen().gets.len(), 1);
}
