//! The one query path: read-only, bounded in time and rows, and closed to everything but queries.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datasjo_lake::{Lake, SqlError};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

/// The planner recurses into expressions, and its stack is finite; the program's threads have room for this many levels.
const MAX_OPERATORS: usize = 2_000;

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong, or needs more memory than queries have.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// It failed while running.
    #[error("{0}")]
    Run(#[from] DataFusionError),
    /// It has too many operators.
    #[error("the query has more than {MAX_OPERATORS} operators and brackets; put long lists into a reference table and join it")]
    Long,
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
}

/// An answer that is being computed.
pub struct Answer {
    /// The first rows are computed before the answer begins, so that what fails at once is told as a failure.
    first: Option<RecordBatch>,
    stream: SendableRecordBatchStream,
    deadline: Instant,
    limits: Limits,
    rows: usize,
    _turn: OwnedSemaphorePermit,
}

impl Queries {
    /// Queries over `lake` within `limits`.
    pub fn new(lake: Arc<Lake>, limits: Limits) -> Self {
        Self { lake, limits, turns: Arc::new(Semaphore::new(limits.at_once)) }
    }

    /// Plans `sql` and starts it.
    pub async fn start(&self, sql: &str) -> Result<Answer, QueryError> {
        if operators(sql) > MAX_OPERATORS {
            return Err(QueryError::Long);
        }
        let deadline = Instant::now() + self.limits.time;
        let late = |_| QueryError::Time(self.limits.time);
        let turn = timeout_at(deadline, self.turns.clone().acquire_owned()).await.map_err(late)?;
        let turn = turn.map_err(|_| QueryError::Time(self.limits.time))?;
        let planned = async { Ok::<_, QueryError>(self.lake.sql(sql).await?.execute_stream().await?) };
        let stream = timeout_at(deadline, planned).await.map_err(late)??;
        let mut answer = Answer { first: None, stream, deadline, limits: self.limits, rows: 0, _turn: turn };
        answer.first = answer.pull().await?;
        Ok(answer)
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

/// Signs and words that can nest expressions, counted on the safe side: those inside quoted text count too.
fn operators(sql: &str) -> usize {
    let signs = sql.bytes().filter(|b| b"+-*/%|&^=<>!:[(~#@".contains(b)).count();
    let nests = ["and", "or", "xor", "not", "union", "except", "intersect", "is", "like", "ilike", "between", "case", "when"];
    let words = sql.split(|c: char| !c.is_alphanumeric() && c != '_');
    signs + words.filter(|word| nests.contains(&word.to_ascii_lowercase().as_str())).count()
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
