//! Rows at rest. The only room that names `deltalake`. Rows come in judged (new, duplicate or revision), are visible to
//! SQL at once as *hot* rows, and are appended to Delta tables in few, large commits that carry the journal's sequence
//! number as their marker.
//!
//! Promises:
//! - A row is in exactly one of: hot, committed. A query sees both from one moment, so each row once.
//! - An append that failed in an unknown way is never repeated before the table was read again.
//! - A commit counts only when its files and itself are synced.
//! - No start needs a person: a torn newest commit is set aside as evidence ([`recover`]) and what it held comes again
//!   from the journal.

#![warn(missing_docs)]

mod dedup;
mod delta;
pub mod faulty;
mod judge;
mod known;
mod ledger;
mod maintenance;
mod print;
pub mod recover;
mod reference;
mod rejects;
mod session;
mod snapshot;
mod sort;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datasjo_table::Table;

pub use arrow::array::RecordBatch;
pub use judge::{Accepted, Incoming};
pub use known::{Shown, concat};
pub use ledger::{LEDGER, LedgerLine};
pub use maintenance::{MaintenancePlan, MaintenanceReport};
pub use reference::read_reference;
pub use rejects::{REJECTS, RejectRow};
pub use session::SqlError;
pub use store::Root;
pub use table::{LakeTable, TableStats};

/// How far a table has come: everything of journal `journal_id` up to `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The journal's name.
    pub journal_id: String,
    /// Its sequence number.
    pub seq: u64,
}

/// What can go wrong with the lake.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The directory cannot be made or used.
    #[error("use the lake directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not a URL a lake can lie under.
    #[error("{url} is no place for a lake: give a directory, file:///..., s3://bucket/... or az://container/...")]
    Url {
        /// What was given.
        url: String,
    },
    /// The object store refused.
    #[error("use the object store")]
    Store {
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A table cannot be opened or created.
    #[error("open table {table}")]
    Open {
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Box<deltalake::DeltaTableError>,
    },
    /// The definition does not fit what is at rest.
    #[error("table {table}: column {column} {reason}; a definition may only gain nullable columns")]
    Schema {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// In what way.
        reason: &'static str,
    },
    /// No such table.
    #[error("there is no table {table}")]
    NoTable {
        /// What was asked for.
        table: String,
    },
    /// A reference file cannot be read.
    #[error("read reference table {path}")]
    Reference {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Delta said no.
    #[error("use a Delta table")]
    Delta(#[from] deltalake::DeltaTableError),
    /// A schema cannot be expressed.
    #[error("use Arrow data")]
    Arrow(#[from] arrow::error::ArrowError),
    /// The engine said no.
    #[error("query the lake")]
    DataFusion(#[from] datafusion::error::DataFusionError),
}

/// Bounds of memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All analysts' queries together.
    pub query_bytes: usize,
    /// Look-back and compaction together; never shared with queries.
    pub own_bytes: usize,
    /// All products' runs together; never shared with queries.
    pub product_bytes: usize,
}

impl Default for Memory {
    /// 1 GiB for queries, 256 MiB for the lake's own work, 1 GiB for products.
    fn default() -> Self {
        Self { query_bytes: 1 << 30, own_bytes: 256 << 20, product_bytes: 1 << 30 }
    }
}

/// Ledger lines that are not at rest yet.
#[derive(Default)]
struct LedgerNow {
    committing: Vec<LedgerLine>,
    open: Vec<LedgerLine>,
}

/// The open lake.
pub struct Lake {
    root: Root,
    tables: BTreeMap<String, Arc<LakeTable>>,
    ledger_now: Mutex<LedgerNow>,
    reference: RwLock<BTreeMap<String, RecordBatch>>,
    queries: Arc<RuntimeEnv>,
    products: Arc<RuntimeEnv>,
}

impl Lake {
    /// Looks over the newest files of every table under `root` before it is opened for writing, and tells what was set
    /// aside or, its bytes being gone, taken out of the table. Only the process that writes the lake may call it; object
    /// stores need no looking over.
    pub async fn recover(root: &Root, definitions: &[Arc<Table>]) -> Result<Vec<recover::SetAside>, LakeError> {
        let mut set_aside = Vec::new();
        for name in definitions.iter().map(|d| d.name.as_str()).chain([REJECTS, LEDGER]) {
            let Some(path) = root.table_directory(name) else { continue };
            let found = recover::look_over(name, &path);
            set_aside.extend(found.map_err(|source| LakeError::Directory { path: path.clone(), source })?);
            for file in delta::drop_damaged(root, name).await? {
                let reason = "its bytes are gone; the table goes on without its rows".to_owned();
                set_aside.push(recover::SetAside { table: name.to_owned(), path: path.join(file), reason });
            }
        }
        Ok(set_aside)
    }

    /// Opens the lake under `root` with a table for each definition, and the tables of rejects and of the ledger. Tables
    /// that are not there are made, and columns that a definition has gained are added. For the one process that writes.
    pub async fn open(root: Root, definitions: &[Arc<Table>], memory: Memory) -> Result<Self, LakeError> {
        let own = runtime(memory.own_bytes)?;
        let mut tables = Vec::new();
        for definition in definitions {
            tables.push(LakeTable::open_dataset(&root, definition.clone(), &own).await?);
        }
        tables.push(LakeTable::open_plain(&root, REJECTS, rejects::MEANING, rejects::schema()).await?);
        tables.push(LakeTable::open_plain(&root, LEDGER, ledger::MEANING, ledger::schema()).await?);
        Self::of(root, tables, memory)
    }

    /// Opens the lake under `root` to read it, beside the process that writes it. Makes and changes nothing: a table that is
    /// not there is empty, and a column that is not there is null.
    pub async fn open_to_read(root: Root, definitions: &[Arc<Table>], memory: Memory) -> Result<Self, LakeError> {
        let own = runtime(memory.own_bytes)?;
        let mut tables = Vec::new();
        for definition in definitions {
            tables.push(LakeTable::open_dataset_to_read(&root, definition.clone(), &own).await?);
        }
        tables.push(LakeTable::open_plain_to_read(&root, REJECTS, rejects::schema()).await?);
        tables.push(LakeTable::open_plain_to_read(&root, LEDGER, ledger::schema()).await?);
        Self::of(root, tables, memory)
    }

    fn of(root: Root, tables: Vec<LakeTable>, memory: Memory) -> Result<Self, LakeError> {
        Ok(Self {
            root,
            tables: tables.into_iter().map(|table| (table.name().to_owned(), Arc::new(table))).collect(),
            ledger_now: Mutex::default(),
            reference: RwLock::default(),
            queries: runtime(memory.query_bytes)?,
            products: runtime(memory.product_bytes)?,
        })
    }

    /// The table called `name`.
    pub fn table(&self, name: &str) -> Result<&Arc<LakeTable>, LakeError> {
        self.tables.get(name).ok_or_else(|| LakeError::NoTable { table: name.to_owned() })
    }

    /// All tables by name.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<LakeTable>> {
        self.tables.values()
    }

    /// Where it lies.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The ledger lines of the round that is being filled; shown by SQL together with those at rest.
    pub fn show_open_lines(&self, lines: Vec<LedgerLine>) {
        self.ledger_now().open = lines;
    }

    /// The open lines become those of the round that is being committed.
    pub fn show_committing_lines(&self, lines: Vec<LedgerLine>) {
        *self.ledger_now() = LedgerNow { committing: lines, open: Vec::new() };
    }

    /// Commits the ledger lines of a round; from one moment to the next SQL sees them at rest instead of as committing. May
    /// be repeated after an error.
    pub async fn commit_ledger(&self, lines: &[LedgerLine], marker: &Marker) -> Result<(), LakeError> {
        if lines.is_empty() {
            return Ok(());
        }
        let table = self.table(LEDGER)?;
        let committed = table.append(ledger::batch(lines, marker.seq)?, marker).await?;
        let mut now = self.ledger_now();
        now.committing.clear();
        table.replace_table(&committed);
        Ok(())
    }

    fn ledger_now(&self) -> MutexGuard<'_, LedgerNow> {
        self.ledger_now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends rejects to the hot rows of their table.
    pub fn push_rejects(&self, rows: &[RejectRow]) -> Result<(), LakeError> {
        if !rows.is_empty() {
            self.table(REJECTS)?.push_hot(rejects::batch(rows)?);
        }
        Ok(())
    }
}

fn runtime(bytes: usize) -> Result<Arc<RuntimeEnv>, LakeError> {
    Ok(RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0).build_arc()?)
}
