//! Whose certificates are believed where a server is called under TLS.
//!
//! Only the authorities of a file that the caller names: none come with the program, none are taken from the system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the handshake asks for: one request after the other is all that is needed here.
const PROTOCOL: &[u8] = b"http/1.1";

/// Authorities of servers' certificates. Clones share everything.
#[derive(Clone)]
pub struct Trust(TlsConnector);

/// Why a file gives no trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read the certificates of {path}: {cause}")]
    Pem { path: PathBuf, cause: pem::Error },
    #[error("{path} holds no certificate")]
    Empty { path: PathBuf },
    #[error("{path} holds a certificate that cannot be an authority's")]
    Unfit {
        path: PathBuf,
        #[source]
        cause: rustls::Error,
    },
}

impl Trust {
    /// In the authorities of a PEM file.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn in_file(path: &Path) -> Result<Self, TrustError> {
        let unreadable = |cause| TrustError::Pem { path: path.to_owned(), cause };
        let unfit = |cause| TrustError::Unfit { path: path.to_owned(), cause };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            roots.add(certificate.map_err(unreadable)?).map_err(unfit)?;
        }
        if roots.is_empty() {
            return Err(TrustError::Empty { path: path.to_owned() });
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
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

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}
