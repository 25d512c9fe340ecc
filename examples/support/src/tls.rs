//! TLS by rustls with the `ring` provider: what a server shows, and whom a client trusts.

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{error::Error, fmt, fs, io, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
    },
    server::TlsStream,
};

/// What a server shows to its clients: a chain of certificates, and the key of the first one.
#[derive(Clone)]
pub struct Identity(Arc<ServerConfig>);

/// Whose signatures a client accepts.
#[derive(Clone)]
pub struct Trust(ClientConfig);

/// HTTP/1.1 with kept connections, over TLS where the URL says `https`.
pub type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Certificates or a key cannot be used.
#[derive(Debug)]
pub struct TlsError {
    what: String,
    source: Box<dyn Error + Send + Sync>,
}

// === impl Identity ===

impl Identity {
    /// Reads both files, which are PEM. HTTP/2 and HTTP/1.1 are offered.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, holds no PEM, or the key is not the certificate's.
    pub fn read(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = read_certificates(certificates)?;
        let wrong = |error: pem::Error| TlsError::new(key, error);
        let text = fs::read(key).map_err(|error| TlsError::new(key, error))?;
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(wrong)?;
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, private));
        let mut config = config.map_err(|error| TlsError::new(key, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// The server's side of the handshake.
    ///
    /// # Errors
    ///
    /// When the client breaks it off, or speaks no TLS.
    ///
    /// # Cancellation
    ///
    /// The connection is closed.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

// === impl Trust ===

impl Trust {
    /// The authorities that this system trusts.
    ///
    /// # Errors
    ///
    /// When the system has none.
    pub fn system() -> Result<Self, TlsError> {
        let wrong = |error: Box<dyn Error + Send + Sync>| TlsError {
            what: "the system's authorities".to_owned(),
            source: error,
        };
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| wrong(error.into()))?;
        let config = config.with_native_roots().map_err(|error| wrong(error.into()))?;
        Ok(Self(config.with_no_client_auth()))
    }

    /// The authorities in a PEM file, and no other.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or holds no certificate of an authority.
    pub fn only(file: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(file)? {
            roots.add(certificate).map_err(|error| TlsError::new(file, error))?;
        }
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = config.map_err(|error| TlsError::new(file, error))?;
        Ok(Self(config.with_root_certificates(roots).with_no_client_auth()))
    }

    /// No authority: each handshake fails. For a client that is to speak plain HTTP only.
    ///
    /// # Errors
    ///
    /// When the provider knows no version of TLS.
    pub fn none() -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let wrong = |error: rustls::Error| TlsError { what: "the provider".to_owned(), source: error.into() };
        Ok(Self(config.map_err(wrong)?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
    }

    /// The authorities in `file`, or the system's where none is named.
    ///
    /// # Errors
    ///
    /// As [`only`](Self::only) and [`system`](Self::system).
    pub fn of(file: Option<&Path>) -> Result<Self, TlsError> {
        file.map_or_else(Self::system, Self::only)
    }

    /// The same for a client of another protocol.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::new(self.0.clone())
    }

    /// Puts TLS around `connector` for URLs with `https`; it must let these pass.
    pub fn around<C>(&self, connector: C) -> HttpsConnector<C> {
        let connectors = HttpsConnectorBuilder::new().with_tls_config(self.0.clone()).https_or_http();
        connectors.enable_http1().wrap_connector(connector)
    }

    /// The same for HTTP/2 alone, which gRPC needs.
    pub fn around_http2<C>(&self, connector: C) -> HttpsConnector<C> {
        let connectors = HttpsConnectorBuilder::new().with_tls_config(self.0.clone()).https_or_http();
        connectors.enable_http2().wrap_connector(connector)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(..)")
    }
}

/// A client for the current runtime.
#[must_use]
pub fn https_client(trust: &Trust) -> HttpsClient {
    Client::builder(TokioExecutor::new()).build(trust.around(connector()))
}

/// The same for gRPC, which needs HTTP/2.
#[must_use]
pub fn https_grpc_client(trust: &Trust) -> HttpsClient {
    Client::builder(TokioExecutor::new()).http2_only(true).build(trust.around_http2(connector()))
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(false);
    connector
}

/// Named, so that nothing depends on which provider another crate has made the default of the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = fs::read(file).map_err(|error| TlsError::new(file, error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| TlsError::new(file, error))?;
    if certificates.is_empty() {
        return Err(TlsError::new(file, rustls::Error::NoCertificatesPresented));
    }
    Ok(certificates)
}

// === impl TlsError ===

impl TlsError {
    fn new(file: &Path, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what: file.display().to_string(), source: error.into() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used for TLS", self.what)
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tls");
        let (certificate, key) = (folder.join("server.pem"), folder.join("server-key.pem"));
        assert!(Identity::read(&certificate, &key).is_ok() && Trust::only(&folder.join("ca.pem")).is_ok());
        for (error, named) in [
            (Identity::read(&folder.join("none.pem"), &key).err(), "none.pem"),
            (Identity::read(&key, &key).err(), "server-key.pem"),
            (Identity::read(&folder.join("other-ca.pem"), &key).err(), "server-key.pem"),
            (Identity::read(&certificate, &certificate).err(), "server.pem"),
            (Trust::only(&folder.join("README.md")).err(), "README.md"),
        ] {
            assert!(error.unwrap().to_string().contains(named), "{named}");
        }
    }
}
