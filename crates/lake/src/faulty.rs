//! A store that fails on purpose: it refuses writes for a while, or answers with an error although it has stored. A
//! wrapper, so everything it lets through is the real thing.

use std::fmt::{self, Display};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// What the store is told to do wrong. Shared; change it at any time.
#[derive(Debug, Default)]
pub struct Faults {
    /// Every write is refused and nothing is stored.
    pub refuse_writes: AtomicBool,
    /// This many of the next commit files are stored and then answered with an error.
    pub lie_about_commits: AtomicU64,
    /// Commit files stored so far.
    pub commits: AtomicU64,
}

/// The wrapper.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// Wraps `inner`; `faults` decides from outside.
    pub fn new(inner: Arc<dyn ObjectStore>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    fn check(&self) -> Result<()> {
        match self.faults.refuse_writes.load(Ordering::SeqCst) {
            true => Err(failure("no space left on device")),
            false => Ok(()),
        }
    }

    fn lies(&self) -> bool {
        let less_one = |n: u64| n.checked_sub(1);
        self.faults.lie_about_commits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less_one).is_ok()
    }
}

fn failure(reason: &str) -> Error {
    Error::Generic { store: "FaultyStore", source: reason.to_owned().into() }
}

impl Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.check()?;
        let done = self.inner.put_opts(location, payload, opts).await?;
        if location.as_ref().contains("_delta_log/") && location.as_ref().ends_with(".json") {
            self.faults.commits.fetch_add(1, Ordering::SeqCst);
            if self.lies() {
                return Err(failure("connection reset by peer"));
            }
        }
        Ok(done)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.check()?;
        self.inner.put_multipart_opts(location, opts).await
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
        self.check()?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.check()?;
        self.inner.rename_opts(from, to, options).await
    }
}
