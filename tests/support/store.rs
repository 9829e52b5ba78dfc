//! A store that does to every single request what the test says: do it, refuse it, or do it and answer with an error. It
//! stands between the lake and real files, so everything it lets through is the real thing.

use std::fmt::{self, Display};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::{RwLock, watch};

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Bytes, sizes and lists of names.
    Read,
    /// A file is written or removed.
    Write,
}

/// What the store does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was asked.
    Do,
    /// Nothing, and answers with an error.
    Refuse,
    /// What was asked, and answers with an error all the same.
    DoAndFail,
}

type Rule = Box<dyn FnMut(Act, &str) -> Answer + Send>;

/// What is decided about each request, and what was counted. Shared; change it at any time.
pub struct Rules {
    rule: Mutex<Rule>,
    /// Requests hold it while they are under way, so that [`Rules::cut`] knows when none is.
    under_way: RwLock<()>,
    refused: watch::Sender<u64>,
    overwritten: AtomicU64,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules")
    }
}

impl Rules {
    /// Everything is done.
    pub fn well() -> Arc<Self> {
        Self::new(|_, _| Answer::Do)
    }

    /// `rule` decides about each request, by what is asked and the path.
    pub fn new(rule: impl FnMut(Act, &str) -> Answer + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            rule: Mutex::new(Box::new(rule)),
            under_way: RwLock::new(()),
            refused: watch::Sender::new(0),
            overwritten: AtomicU64::new(0),
        })
    }

    /// From now on `rule` decides.
    pub fn set(&self, rule: impl FnMut(Act, &str) -> Answer + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// Ends it as a power cut would: what is under way is finished, nothing is done any more when this returns.
    pub async fn cut(&self) {
        let _nothing_under_way = self.under_way.write().await;
        self.set(|_, _| Answer::Refuse);
    }

    /// How many requests were answered with an error; follow it to wait for failures.
    pub fn refused(&self) -> watch::Receiver<u64> {
        self.refused.subscribe()
    }

    /// Data files that were written over an existing one.
    pub fn overwritten(&self) -> u64 {
        self.overwritten.load(Ordering::SeqCst)
    }

    fn ask(&self, act: Act, path: &Path) -> Answer {
        let mut rule = self.rule.lock().unwrap();
        let answer = (*rule)(act, path.as_ref());
        drop(rule);
        if answer != Answer::Do {
            self.refused.send_modify(|n| *n += 1);
        }
        answer
    }

    /// `Ok` if the request is to be done; whether its answer is to be an error all the same.
    fn decide(&self, act: Act, path: &Path) -> Result<bool> {
        match self.ask(act, path) {
            Answer::Do => Ok(false),
            Answer::DoAndFail => Ok(true),
            Answer::Refuse => Err(failure()),
        }
    }
}

fn failure() -> Error {
    Error::Generic { store: "UnrulyStore", source: "it does so on purpose".into() }
}

fn answer<T>(done: T, fails: bool) -> Result<T> {
    if fails { Err(failure()) } else { Ok(done) }
}

/// The wrapper.
#[derive(Debug)]
pub struct UnrulyStore {
    inner: Arc<dyn ObjectStore>,
    rules: Arc<Rules>,
}

impl UnrulyStore {
    /// Wraps `inner`; `rules` decides from outside.
    pub fn new(inner: Arc<dyn ObjectStore>, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }

    /// The name of a data file is never given twice.
    async fn count_overwriting(&self, location: &Path) {
        let name = location.as_ref();
        let is_data = name.ends_with(".parquet") && !name.contains("/_delta_log/");
        let look = GetOptions { head: true, ..GetOptions::default() };
        if is_data && self.inner.get_opts(location, look).await.is_ok() {
            self.rules.overwritten.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Display for UnrulyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnrulyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for UnrulyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let _under_way = self.rules.under_way.read().await;
        let fails = self.rules.decide(Act::Write, location)?;
        self.count_overwriting(location).await;
        answer(self.inner.put_opts(location, payload, opts).await?, fails)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let _under_way = self.rules.under_way.read().await;
        let fails = self.rules.decide(Act::Write, location)?;
        answer(self.inner.put_multipart_opts(location, opts).await?, fails)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fails = self.rules.decide(Act::Read, location)?;
        answer(self.inner.get_opts(location, options).await?, fails)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fails = self.rules.decide(Act::Read, location)?;
        answer(self.inner.get_ranges(location, ranges).await?, fails)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let rules = self.rules.clone();
        let allowed = locations.map(move |location| {
            let location = location?;
            rules.decide(Act::Write, &location)?;
            Ok(location)
        });
        self.inner.delete_stream(allowed.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.rules.decide(Act::Read, prefix.unwrap_or(&Path::default())) {
            Ok(_) => self.inner.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.rules.decide(Act::Read, prefix.unwrap_or(&Path::default())) {
            Ok(_) => self.inner.list_with_offset(prefix, offset),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fails = self.rules.decide(Act::Read, prefix.unwrap_or(&Path::default()))?;
        answer(self.inner.list_with_delimiter(prefix).await?, fails)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let _under_way = self.rules.under_way.read().await;
        let fails = self.rules.decide(Act::Write, to)?;
        answer(self.inner.copy_opts(from, to, options).await?, fails)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let _under_way = self.rules.under_way.read().await;
        let fails = self.rules.decide(Act::Write, to)?;
        answer(self.inner.rename_opts(from, to, options).await?, fails)
    }
}
