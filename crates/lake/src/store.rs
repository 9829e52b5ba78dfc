//! Where the tables rest: a local directory whose every write is synced before it counts, or an object store.
//!
//! `object_store` never syncs local files, so a power cut could leave a commit of zero bytes that opens without an
//! error. Here a file is written aside, synced, given its name, and then its directory is synced, from the top down.

use std::fmt::{self, Debug, Display};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use url::Url;

use crate::LakeError;

static STAGED: AtomicU64 = AtomicU64::new(0);

/// The root of the lake: a store that starts at `/` of its scheme, and the URL under which the tables lie.
#[derive(Clone, Debug)]
pub struct Root {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The URL of the lake, ending in `/`.
    pub url: Url,
}

impl Root {
    /// A local directory, made if it is not there.
    pub fn local(directory: &std::path::Path) -> std::result::Result<Self, LakeError> {
        let make = || -> std::io::Result<PathBuf> {
            create_dirs_durably(directory)?;
            directory.canonicalize()
        };
        Self::at(make().map_err(|source| LakeError::Directory { path: directory.to_owned(), source })?)
    }

    fn at(absolute: PathBuf) -> std::result::Result<Self, LakeError> {
        let url = Url::from_directory_path(&absolute).map_err(|()| LakeError::Url { url: absolute.display().to_string() })?;
        Ok(Self { store: Arc::new(DurableFiles { inner: LocalFileSystem::new() }), url })
    }

    /// As [`Root::from_url`], to be read only: a local directory that is not there is an empty lake and is not made.
    pub fn to_read(url: &str) -> std::result::Result<Self, LakeError> {
        let local = Url::parse(url).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        let Some(directory) = local else { return Self::from_url(url) };
        let absolute = match directory.canonicalize() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::path::absolute(&directory),
            found => found,
        };
        Self::at(absolute.map_err(|source| LakeError::Directory { path: directory, source })?)
    }

    /// A URL: `file:///...`, `s3://bucket/prefix`, `az://container/prefix`. Credentials of object stores come from the
    /// environment variables their own tools use (`AWS_*`, `AZURE_*`).
    pub fn from_url(url: &str) -> std::result::Result<Self, LakeError> {
        let bad = || LakeError::Url { url: url.to_owned() };
        let mut parsed = Url::parse(url).map_err(|_| bad())?;
        if parsed.scheme() == "file" {
            return Self::local(&parsed.to_file_path().map_err(|()| bad())?);
        }
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        let options = std::env::vars().map(|(key, value)| (key.to_ascii_lowercase(), value));
        let (store, _) = object_store::parse_url_opts(&parsed, options).map_err(|source| LakeError::Store { source })?;
        Ok(Self { store: Arc::from(store), url: parsed })
    }

    /// The same place seen through another store (a wrapper that fails on purpose).
    #[must_use]
    pub fn through(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { store: wrap(self.store.clone()), url: self.url.clone() }
    }

    /// The directory of a table.
    pub fn table_url(&self, table: &str) -> std::result::Result<Url, LakeError> {
        self.url.join(&format!("{table}/")).map_err(|_| LakeError::Url { url: format!("{}{table}/", self.url) })
    }

    /// The local directory of a table; `None` on an object store.
    pub fn table_directory(&self, table: &str) -> Option<PathBuf> {
        (self.url.scheme() == "file").then(|| self.url.to_file_path().ok()).flatten().map(|p| p.join(table))
    }
}

/// Local files, synced before they count.
#[derive(Debug, Clone)]
struct DurableFiles {
    inner: LocalFileSystem,
}

impl Display for DurableFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableFiles({})", self.inner)
    }
}

fn io(source: std::io::Error) -> Error {
    Error::Generic { store: "DurableFiles", source: Box::new(source) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(io),
        Err(source) => Err(Error::JoinError { source }),
    }
}

#[async_trait]
impl ObjectStore for DurableFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let target = self.inner.path_to_filesystem(location)?;
        let written = tokio::task::spawn_blocking(move || put_durably(&target, &payload, create)).await;
        match written {
            Ok(Ok(())) => Ok(PutResult { e_tag: None, version: None }),
            Ok(Err(source)) if create && source.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: location.to_string(), source: Box::new(source) })
            }
            Ok(Err(source)) => Err(io(source)),
            Err(source) => Err(Error::JoinError { source }),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        if let Some(directory) = target.parent().map(PathBuf::from) {
            blocking(move || create_dirs_durably(&directory)).await?;
        }
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { inner, target }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let payload = self.inner.get_opts(from, GetOptions::default()).await?.bytes().await?;
        let mode = if options.mode == CopyMode::Create { PutMode::Create } else { PutMode::Overwrite };
        self.put_opts(to, payload.into(), PutOptions::from(mode)).await.map(|_| ())
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        let target = self.inner.path_to_filesystem(to)?;
        blocking(move || sync_with_directory(&target)).await
    }
}

#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    target: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.inner.complete().await?;
        let target = self.target.clone();
        blocking(move || sync_with_directory(&target)).await?;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// Writes beside the target under a name that listings hide (`#` and digits), syncs, then names and syncs the directory.
fn put_durably(target: &std::path::Path, payload: &PutPayload, create: bool) -> std::io::Result<()> {
    let directory = target.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    create_dirs_durably(directory)?;
    let mut staged = target.as_os_str().to_owned();
    // Hidden names are `#` and digits; no two writers, of this process or another, may share one.
    staged.push(format!("#{}{:06}", std::process::id(), STAGED.fetch_add(1, Ordering::Relaxed) % 1_000_000));
    let staged = PathBuf::from(staged);
    let mut file = File::create(&staged)?;
    for chunk in payload {
        file.write_all(chunk)?;
    }
    file.sync_all()?;
    if create {
        let linked = std::fs::hard_link(&staged, target);
        std::fs::remove_file(&staged)?;
        linked?;
    } else {
        std::fs::rename(&staged, target)?;
    }
    File::open(directory)?.sync_all()
}

fn sync_with_directory(target: &std::path::Path) -> std::io::Result<()> {
    File::open(target)?.sync_all()?;
    match target.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn create_dirs_durably(directory: &std::path::Path) -> std::io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or(std::path::Path::new("."));
    create_dirs_durably(parent)?;
    match std::fs::create_dir(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let parent = if parent.as_os_str().is_empty() { std::path::Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
}
