//! Whom a host has to convince that it is the one that the URL names: the authorities of the operator's file, or those
//! of the platform.
//!
//! One provider, named here: aws_lc_rs. HTTP/1.1 alone is offered. There is no switch that turns the check off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Where platforms keep the authorities that they trust, in one PEM file.
const PLATFORM_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why no host can be called.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    #[error("cannot read the authorities in {path}: {cause}")]
    Pem { path: PathBuf, cause: pem::Error },
    #[error("{path} holds no authority")]
    Empty { path: PathBuf },
    #[error(
        "this platform keeps no authorities where they are looked for: set push.ca_file to a PEM file of them"
    )]
    NoPlatform,
    #[error("the authorities do not make a TLS client: {0}")]
    Unfit(rustls::Error),
}

/// A TLS client that trusts these authorities; those of the platform where no file is given.
///
/// # Errors
/// [`AuthoritiesError`].
pub(crate) fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, AuthoritiesError> {
    let platform = || PLATFORM_FILES.iter().map(Path::new).find(|path| path.is_file());
    let path = authorities.or_else(platform).ok_or(AuthoritiesError::NoPlatform)?;
    let mut roots = RootCertStore::empty();
    let unreadable = |cause| AuthoritiesError::Pem { path: path.to_owned(), cause };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        // A platform's list may hold what this library does not read: the others stand.
        let _ = roots.add(certificate.map_err(unreadable)?);
    }
    if roots.is_empty() {
        return Err(AuthoritiesError::Empty { path: path.to_owned() });
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(AuthoritiesError::Unfit)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
