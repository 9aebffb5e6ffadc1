//! Whose certificates are believed where a server is called under TLS, and which one is shown to it.
//!
//! Only the authorities of a file that the caller names: none come with the program, none are taken from the system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the handshake asks for: one request after the other is all that is needed here.
const PROTOCOL: &[u8] = b"http/1.1";

/// Authorities of servers' certificates. Clones share everything.
#[derive(Clone)]
pub struct Trust(TlsConnector);

/// Files of a client's own certificate, with those that lead to its authority, and of its key: for a server that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM, the client's own first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// Why files give no trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read {path}: {cause}")]
    Pem { path: PathBuf, cause: pem::Error },
    #[error("{path} holds no certificate")]
    Empty { path: PathBuf },
    #[error("the certificate of {path} cannot be used")]
    Unfit {
        path: PathBuf,
        #[source]
        cause: rustls::Error,
    },
}

impl Trust {
    /// In the authorities of a PEM file. `identity` is shown to servers that ask for one.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn in_file(path: &Path, identity: Option<&Identity>) -> Result<Self, TrustError> {
        let unfit = |path: &Path| {
            let path = path.to_owned();
            move |cause| TrustError::Unfit { path, cause }
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(unfit(path))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit(path))?;
        let config = config.with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let unreadable = |cause| TrustError::Pem { path: key.clone(), cause };
                let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                config.with_client_auth_cert(certificates(certificate)?, key).map_err(unfit(certificate))?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// # Errors
    /// A host that no certificate can name, a certificate that is not believed, a connection that breaks.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

/// All certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|cause| TrustError::Pem { path: path.to_owned(), cause })?;
    if found.is_empty() { Err(TrustError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}
