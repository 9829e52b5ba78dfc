use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::DefaultAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::PushSource;
use super::auth::Sender;
use super::config::{ListenConfig, PushConfig, TlsFiles};
use super::handler::{Door, Doors, handle};
use super::limited::Limited;
use crate::{Health, SourceError};

/// How long requests under way may take after the end was asked for; then connections are cut.
const GRACE: Duration = Duration::from_millis(500);

/// Requests of one HTTP/2 connection at once; each may hold a body in memory.
const STREAMS: u32 = 32;

/// The door, bound and not yet open.
pub struct Listener {
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    config: ListenConfig,
    pub(super) doors: BTreeMap<String, Door>,
}

impl Listener {
    /// Takes the address, so that it is known and ours before any feed starts.
    ///
    /// # Errors
    /// [`SourceError::Config`] with every problem of the configuration, an address that cannot be had, or a certificate that
    /// does not fit its key; [`SourceError::Io`] when a file cannot be read.
    pub fn bind(config: ListenConfig) -> Result<Self, SourceError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(SourceError::Config(problems.join("; ")));
        }
        let tls = config.tls.as_ref().map(tls).transpose()?;
        let taken = |error: io::Error| SourceError::Config(format!("listen: {} cannot be had: {error}", config.listen));
        let listener = std::net::TcpListener::bind(config.listen).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok(Self { listener, address, tls, config, doors: BTreeMap::new() })
    }

    /// The address taken; with its port when port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The source of one feed: what is posted to its path.
    ///
    /// # Errors
    /// [`SourceError::Config`] with every problem of the configuration, or a path that another feed has.
    pub fn source(&mut self, feed: impl Into<Arc<str>>, config: PushConfig) -> Result<PushSource, SourceError> {
        let mut problems = config.problems();
        if self.doors.contains_key(&config.path) {
            problems.push(format!("path: {} belongs to another feed already", config.path));
        }
        if !problems.is_empty() {
            return Err(SourceError::Config(problems.join("; ")));
        }
        let (queue, posted) = mpsc::channel(config.queue_length);
        let health = Health::default();
        let senders = config.tokens.iter().filter_map(|token| Sender::new(token, config.requests_per_minute)).collect();
        let door = Door { senders, max_payload_bytes: config.max_payload_bytes, queue, health: health.clone() };
        self.doors.insert(config.path, door);
        Ok(PushSource::new(feed.into(), health, posted))
    }

    /// Opens the door until `cancel`. Requests under way have half a second to end; afterwards the sources end too.
    ///
    /// # Errors
    /// [`SourceError::Config`] when the system takes the listening socket back.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), SourceError> {
        let step = Duration::from_secs(self.config.request_timeout_s.into());
        self.doors.values().for_each(|door| door.health.up());
        let doors = Arc::new(Doors { by_path: self.doors, step });
        let app = Router::new().fallback(handle).with_state(doors).into_make_service();

        let server_handle = Handle::new();
        let address = self.address;
        let lost = |error: io::Error| SourceError::Config(format!("listen: {address} was lost: {error}"));
        let mut server =
            axum_server::from_tcp(self.listener).map_err(lost)?.handle(server_handle.clone()).first_request_timeout(step);
        server.http_builder().http1().header_read_timeout(step);
        server.http_builder().http2().max_concurrent_streams(STREAMS).keep_alive_interval(step).keep_alive_timeout(step);

        let most = self.config.max_connections;
        let ending = server_handle.clone();
        let closer = tokio::spawn(async move {
            cancel.cancelled().await;
            ending.graceful_shutdown(Some(GRACE));
        });
        let served = match self.tls {
            None => server.acceptor(Limited { inner: DefaultAcceptor, handle: server_handle, most }).serve(app).await,
            Some(config) => {
                let inner = RustlsAcceptor::new(config).handshake_timeout(step);
                server.acceptor(Limited { inner, handle: server_handle, most }).serve(app).await
            }
        };
        closer.abort();
        served.map_err(lost)
    }
}

/// Certificate and key with the protocols we speak. The provider is named, so that no global choice is needed.
fn tls(files: &TlsFiles) -> Result<RustlsConfig, SourceError> {
    let unfit = |error: rustls::Error| SourceError::Config(format!("tls: {} cannot be used: {error}", files.cert_file.display()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(certificates(&files.cert_file)?, key(&files.key_file)?)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let mut file = open(path)?;
    rustls_pemfile::certs(&mut file).collect::<Result<_, _>>().map_err(|source| failed(path, source))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, SourceError> {
    let key = rustls_pemfile::private_key(&mut open(path)?).map_err(|source| failed(path, source))?;
    key.ok_or_else(|| SourceError::Config(format!("tls: {} holds no private key", path.display())))
}

fn open(path: &Path) -> Result<BufReader<File>, SourceError> {
    File::open(path).map(BufReader::new).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> SourceError {
    SourceError::Io { path: path.display().to_string(), source }
}
