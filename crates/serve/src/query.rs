//! The one query path: read-only, bounded in time and rows, and closed to everything but queries. Queries are planned and run
//! on threads of their own, so that none of them can hold up what takes readings in.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datasjo_lake::{Lake, SqlError};
use futures::StreamExt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Bounds of one query and of all together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time from planning to the last row.
    pub time: Duration,
    /// Most rows in an answer.
    pub rows: usize,
    /// Queries that run at the same time; more wait their turn.
    pub at_once: usize,
}

impl Default for Limits {
    /// 60 s, 10 million rows, 4 at once.
    fn default() -> Self {
        Self { time: Duration::from_secs(60), rows: 10_000_000, at_once: 4 }
    }
}

/// Most words, quotes and signs of a query: each may be one level of nesting, and whoever plans, runs or drops a nested query
/// recurses into it.
const MAX_TOKENS: usize = 8_000;
/// Stack of a thread that plans: 16 KiB for each level there can be. Only what is used is ever backed by memory.
const STACK_BYTES: usize = 128 << 20;
/// Planning cannot be interrupted, so the threads are few and not those that take readings in.
const THREADS: usize = 2;
/// Words alike enough to be the same word mistyped: two letters in five may differ.
const ALIKE: f64 = 0.6;

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong, or needs more memory than queries have.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// It failed while running.
    #[error("{0}")]
    Run(#[from] DataFusionError),
    /// It names a table that is not there.
    #[error("{said}; {hint}")]
    NoTable {
        /// The engine's words.
        said: String,
        /// The nearest right name, or where to find all.
        hint: String,
    },
    /// It has too many words and signs.
    #[error("the query has more than {MAX_TOKENS} words and signs; put long lists into a reference table and join it")]
    Long,
    /// A defect: its task died.
    #[error("the query ended unexpectedly")]
    Task(#[from] tokio::task::JoinError),
    /// It took too long.
    #[error("the query ran longer than {} s and was stopped; narrow it by day or series", .0.as_secs())]
    Time(Duration),
    /// It has too many rows.
    #[error("the answer has more than {0} rows; add a LIMIT, aggregate, or read the tables directly")]
    Rows(usize),
    /// The client stopped reading.
    #[error("the client stopped reading its answer")]
    Client,
    /// The answer could not be written in the wanted form.
    #[error("the answer cannot be written: {0}")]
    Encode(#[from] arrow::error::ArrowError),
}

/// The path.
#[derive(Clone)]
pub struct Queries {
    lake: Arc<Lake>,
    limits: Limits,
    turns: Arc<Semaphore>,
    engine: Arc<Engine>,
}

/// The threads queries run on.
struct Engine {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Engine {
    fn start() -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("query").thread_stack_size(STACK_BYTES).enable_all();
        let runtime = builder.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Engine {
    /// Without waiting: it may be dropped where waiting is not allowed.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct Waited<T>(JoinHandle<T>);

impl<T> Drop for Waited<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that is being computed. Read it on the threads of [`Queries::spawn`].
pub struct Answer {
    /// The first rows are computed before the answer begins, so that what fails at once is told as a failure.
    first: Option<RecordBatch>,
    stream: SendableRecordBatchStream,
    deadline: Instant,
    limits: Limits,
    rows: usize,
    _turn: OwnedSemaphorePermit,
    /// The threads go on while anything is computed on them.
    _engine: Arc<Engine>,
}

impl Queries {
    /// Queries over `lake` within `limits`.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(lake: Arc<Lake>, limits: Limits) -> std::io::Result<Self> {
        let turns = Arc::new(Semaphore::new(limits.at_once));
        Ok(Self { lake, limits, turns, engine: Arc::new(Engine::start()?) })
    }

    /// Runs `work` on the threads of the queries: reading an answer there costs nobody else a stack or a worker.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.engine.handle.spawn(work)
    }

    /// Plans `sql` and starts it.
    pub async fn start(&self, sql: &str) -> Result<Answer, QueryError> {
        if tokens(sql) > MAX_TOKENS {
            return Err(QueryError::Long);
        }
        let deadline = Instant::now() + self.limits.time;
        let late = |_| QueryError::Time(self.limits.time);
        let turn = timeout_at(deadline, self.turns.clone().acquire_owned()).await.map_err(late)?;
        let turn = turn.map_err(|_| QueryError::Time(self.limits.time))?;
        // The turn goes along: who is answered in time does not end the planning.
        let started = self.clone().plan(sql.to_owned(), deadline, turn);
        let mut task = Waited(self.spawn(started));
        timeout_at(deadline, &mut task.0).await.map_err(late)??
    }

    async fn plan(self, sql: String, deadline: Instant, turn: OwnedSemaphorePermit) -> Result<Answer, QueryError> {
        let frame = self.lake.sql(&sql).await.map_err(|error| self.with_hint(error))?;
        let stream = frame.execute_stream().await?;
        let (limits, engine) = (self.limits, self.engine);
        let mut answer = Answer { first: None, stream, deadline, limits, rows: 0, _turn: turn, _engine: engine };
        answer.first = answer.pull().await?;
        Ok(answer)
    }

    /// The engine names the nearest column by itself, but not the nearest table.
    fn with_hint(&self, error: SqlError) -> QueryError {
        let said = error.to_string();
        let Some(name) = missing_table(&said) else {
            return QueryError::Sql(error);
        };
        let hint = match nearest(name, &self.table_names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "SHOW TABLES tells what there is".to_owned(),
        };
        QueryError::NoTable { said, hint }
    }

    fn table_names(&self) -> Vec<String> {
        let Ok(session) = self.lake.session() else {
            return Vec::new();
        };
        let catalogs = session.catalog_names().into_iter().filter_map(|name| session.catalog(&name));
        let schemas = catalogs.flat_map(|c| c.schema_names().into_iter().filter_map(|name| c.schema(&name)).collect::<Vec<_>>());
        schemas.flat_map(|schema| schema.table_names()).collect()
    }

    /// Plans and runs `sql`, everything in memory: for small answers.
    pub async fn all(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let mut answer = self.start(sql).await?;
        let mut batches = Vec::new();
        while let Some(batch) = answer.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

/// Words, quotes and signs, counted on the safe side: those inside quoted text count too.
fn tokens(sql: &str) -> usize {
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let mut before = b' ';
    let mut tokens = 0;
    for byte in sql.bytes() {
        let goes_on = in_word(byte) && in_word(before);
        tokens += usize::from(!byte.is_ascii_whitespace() && !goes_on);
        before = byte;
    }
    tokens
}

/// The last part of the name in the engine's `table 'a.b.c' not found`.
fn missing_table(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("table '")?;
    let (name, _) = rest.split_once("' not found")?;
    name.rsplit('.').next()
}

fn nearest<'n>(word: &str, names: &'n [String]) -> Option<&'n str> {
    let alike = names.iter().map(|name| (normalized_levenshtein(&word.to_lowercase(), name), name.as_str()));
    let near = alike.filter(|(alike, _)| *alike >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
    near.map(|(_, name)| name)
}

impl Answer {
    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        match self.first.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.pull().await,
        }
    }

    async fn pull(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        let next = timeout_at(self.deadline, self.stream.next()).await.map_err(|_| QueryError::Time(self.limits.time))?;
        let Some(batch) = next.transpose()? else {
            return Ok(None);
        };
        self.rows += batch.num_rows();
        if self.rows > self.limits.rows {
            return Err(QueryError::Rows(self.limits.rows));
        }
        Ok(Some(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_signs_are_counted_with_blanks_and_without() {
        assert_eq!(tokens("SELECT  a FROM t"), 4);
        assert_eq!(tokens("\"ice\"OR\"ice\""), 7);
        assert_eq!(tokens("1+1"), 3);
        assert_eq!(tokens("((år))"), 5);
        assert_eq!(tokens(""), 0);
    }

    #[test]
    fn a_table_that_is_not_there_is_answered_with_the_nearest() {
        let names = ["ledger", "precipitation", "river"].map(str::to_owned);
        let said = "Error during planning: table 'datasjo.public.precipitatoin' not found";
        assert_eq!(missing_table(said), Some("precipitatoin"));
        assert_eq!(nearest("precipitatoin", &names), Some("precipitation"));
        assert_eq!(nearest("Rivers", &names), Some("river"));
        assert_eq!(nearest("traffic", &names), None);
        assert_eq!(missing_table("No field named rain"), None);
    }

    #[tokio::test]
    async fn the_threads_of_queries_are_given_back_even_from_one_of_them() {
        let engine = Engine::start().unwrap();
        let handle = engine.handle.clone();
        assert!(handle.spawn(async move { drop(engine) }).await.is_ok());
    }
}
