use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::MqttConfig;
use crate::SourceError;

/// TLS as the configuration asks for it, `None` for plain `mqtt`. The crypto provider is named here, so that it does not
/// depend on what another part of the process installs.
pub(super) fn client_config(config: &MqttConfig) -> Result<Option<Arc<ClientConfig>>, SourceError> {
    let Some(ca_file) = config.ca_file.as_deref().filter(|_| config.is_tls()) else {
        return Ok(None);
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SourceError::Config(format!("url: mqtts is not available: {error}")))?
        .with_root_certificates(roots(ca_file)?);
    let (Some(cert_file), Some(key_file)) = (&config.client_cert_file, &config.client_key_file) else {
        return Ok(Some(Arc::new(builder.with_no_client_auth())));
    };
    let chain = certificates("client_cert_file", cert_file)?;
    let client = builder
        .with_client_auth_cert(chain, private_key(key_file)?)
        .map_err(|error| problem("client_cert_file", cert_file, error))?;
    Ok(Some(Arc::new(client)))
}

fn roots(ca_file: &Path) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_file", ca_file)? {
        roots.add(certificate).map_err(|error| problem("ca_file", ca_file, error))?;
    }
    Ok(roots)
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let pem = read(path)?;
    let mut text = pem.as_slice();
    let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut text).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(problem(key, path, "there is no certificate in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(problem(key, path, error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, SourceError> {
    let pem = read(path)?;
    let mut text = pem.as_slice();
    match rustls_pemfile::private_key(&mut text) {
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(problem("client_key_file", path, "there is no private key in it")),
        Err(error) => Err(problem("client_key_file", path, error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    std::fs::read(path).map_err(|source| SourceError::Io { path: path.display().to_string(), source })
}

fn problem(key: &str, path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError::Config(format!("{key}: {}: {what}", path.display()))
}
