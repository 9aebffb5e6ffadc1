//! TLS of a listener: certificate and key from files, read again when the process is told to.
//!
//! One provider, named here and nowhere chosen by a feature: aws_lc_rs. A reload that fails leaves what was there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config;

/// What the handshake offers: HTTP/2 first.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// The name of HTTP/2 in a handshake.
pub(super) const HTTP2: &[u8] = b"h2";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("tls.certificate and tls.key belong together, and one of them is not set")]
    Half,
    #[error("cannot read {path}: {cause}")]
    Pem { path: PathBuf, cause: pem::Error },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("the certificate and the key do not make a server: {0}")]
    Unfit(rustls::Error),
    #[error("{path} holds no authority that clients can be checked by: {cause}")]
    Authority { path: PathBuf, cause: VerifierBuilderError },
}

/// Which files make a listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// Whose certificates clients must show, if they must.
    client_authority: Option<PathBuf>,
}

impl TlsFiles {
    /// What is configured; none where nothing is.
    ///
    /// # Errors
    /// [`TlsError::Half`].
    pub(super) fn configured(config: &config::Tls) -> Result<Option<Self>, TlsError> {
        match (&config.certificate, &config.key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(Self { certificate: certificate.clone(), key: key.clone(), client_authority: None }))
            }
            (Some(_), None) | (None, Some(_)) => Err(TlsError::Half),
        }
    }

    /// The same for clients that show a certificate of this authority, if there is one.
    pub(super) fn demanding(self, client_authority: Option<&Path>) -> Self {
        Self { client_authority: client_authority.map(Path::to_path_buf), ..self }
    }

    fn read(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificates = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|cause| unreadable(&self.key, cause))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unfit)?;
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in self::certificates(path)? {
                    roots.add(certificate).map_err(TlsError::Unfit)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let verifier = verifier.map_err(|cause| TlsError::Authority { path: path.clone(), cause })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(TlsError::Unfit)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found.map_err(|cause| unreadable(path, cause))? {
        none if none.is_empty() => Err(TlsError::NoCertificate { path: path.to_path_buf() }),
        some => Ok(some),
    }
}

fn unreadable(path: &Path, cause: pem::Error) -> TlsError {
    TlsError::Pem { path: path.to_path_buf(), cause }
}

/// A listener's TLS as it is now.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// # Errors
    /// [`TlsError`].
    pub(super) fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let config = RwLock::new(Arc::new(files.read()?));
        Ok(Arc::new(Self { files, config }))
    }

    /// Reads the files again; connections that are open go on with what they began with.
    ///
    /// # Errors
    /// [`TlsError`]: nothing was changed.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(self.files.read()?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}
