//! One Delta table as a place to append to: open or create, read the marker, write sorted files, commit with a marker.
//!
//! The marker is a `txn` action: the journal's sequence number up to which the table holds everything. `txn` fails a
//! concurrent commit but does not filter a repeated one, so after any error the table is read again and the marker decides.

use std::collections::HashMap;

use arrow::array::{AsArray, Date32Array, RecordBatch, new_null_array};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use datasjo_table::DAY;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, Remove, StructField, StructType, Transaction};
use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableError, TableProperty};
use futures::TryStreamExt;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::store::Root;
use crate::{LakeError, Marker};

/// The key of the ledger lines inside a commit's `commitInfo`.
const LEDGER: &str = "datasjo.ledger";

/// Opens the table, or creates it with `schema`, partitioned by day.
pub(crate) async fn open_or_create(root: &Root, name: &str, meaning: &str, schema: &SchemaRef) -> Result<DeltaTable, LakeError> {
    let log_store: LogStoreRef = logstore_with(root.store.clone(), &root.table_url(name)?, StorageConfig::default())?;
    if !log_store.is_delta_table_location().await? {
        return create(log_store, name, meaning, schema).await;
    }
    let table = load(log_store, name).await?;
    let missing = missing_columns(&table, name, schema)?;
    if missing.is_empty() {
        return Ok(table);
    }
    let widened = table.add_columns().with_fields(missing).await;
    widened.map_err(|source| LakeError::Open { table: name.to_owned(), source: Box::new(source) })
}

/// Opens the table and changes nothing: one that is not there has no version, and columns that are not there are missing.
pub(crate) async fn open_to_read(root: &Root, name: &str, schema: &SchemaRef) -> Result<DeltaTable, LakeError> {
    let log_store: LogStoreRef = logstore_with(root.store.clone(), &root.table_url(name)?, StorageConfig::default())?;
    if !log_store.is_delta_table_location().await? {
        return Ok(DeltaTable::new(log_store));
    }
    let table = load(log_store, name).await?;
    missing_columns(&table, name, schema)?;
    Ok(table)
}

async fn load(log_store: LogStoreRef, name: &str) -> Result<DeltaTable, LakeError> {
    let mut table = DeltaTable::new(log_store);
    table.load().await.map_err(|source| LakeError::Open { table: name.to_owned(), source: Box::new(source) })?;
    Ok(table)
}

async fn create(log_store: LogStoreRef, name: &str, meaning: &str, schema: &SchemaRef) -> Result<DeltaTable, LakeError> {
    let columns: StructType = schema.as_ref().try_into_kernel()?;
    let created = CreateBuilder::new()
        .with_log_store(log_store)
        .with_table_name(name)
        .with_comment(meaning)
        .with_columns(columns.fields().cloned())
        .with_partition_columns([DAY])
        .with_save_mode(SaveMode::Ignore)
        .with_configuration_property(TableProperty::LogRetentionDuration, Some("interval 7 days"))
        .with_configuration_property(TableProperty::DeletedFileRetentionDuration, Some("interval 1 days"))
        .await;
    created.map_err(|source| LakeError::Open { table: name.to_owned(), source: Box::new(source) })
}

/// What the definition has gained. It may gain nullable columns; anything else must not change under readers' feet.
fn missing_columns(table: &DeltaTable, name: &str, schema: &SchemaRef) -> Result<Vec<StructField>, LakeError> {
    let at_rest: StructType = table.snapshot()?.schema().as_ref().clone();
    let wanted: StructType = schema.as_ref().try_into_kernel()?;
    let refuse = |column: &str, reason| LakeError::Schema { table: name.to_owned(), column: column.to_owned(), reason };
    let mut missing = Vec::new();
    for field in wanted.fields() {
        match at_rest.field(field.name()) {
            Some(existing) if existing.data_type() != field.data_type() => {
                return Err(refuse(field.name(), "has another type at rest"));
            }
            Some(existing) if field.is_nullable() && !existing.is_nullable() => {
                return Err(refuse(field.name(), "is required at rest"));
            }
            Some(_) => {}
            None if field.is_nullable() => missing.push(field.clone()),
            None => return Err(refuse(field.name(), "is new and not nullable")),
        }
    }
    match at_rest.fields().find(|f| !f.is_nullable() && wanted.field(f.name()).is_none()) {
        Some(lost) => Err(refuse(lost.name(), "is required at rest and no longer declared")),
        None => Ok(missing),
    }
}

/// Up to which sequence number of which journal the table holds everything; 0 if it never heard of that journal or is not
/// there.
pub(crate) async fn marker(table: &DeltaTable, journal_id: &str) -> Result<u64, LakeError> {
    if table.version().is_none() {
        return Ok(0);
    }
    let snapshot = table.snapshot()?.snapshot();
    let version = snapshot.transaction_version(table.log_store().as_ref(), journal_id).await?;
    Ok(version.map_or(0, |v| u64::try_from(v).unwrap_or(0)))
}

/// A writer for the table's files: zstd at its fast level, page statistics for the columns that can be filtered by. Raw bytes
/// cannot, and a Delta log has no statistics of them.
pub(crate) fn writer(table: &DeltaTable) -> Result<RecordBatchWriter, LakeError> {
    let writer = RecordBatchWriter::for_table(table)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(262_144))
        .set_data_page_row_count_limit(20_000)
        .set_created_by("datasjo".to_owned());
    for raw in writer.arrow_schema().fields().iter().filter(|field| field.data_type().is_binary()) {
        let path = ColumnPath::from(raw.name().as_str());
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    Ok(writer.with_writer_properties(properties.build()))
}

/// Rows encoded at a time: what is copied into their order is small beside the rows themselves.
const ROWS_AT_ONCE: usize = 65_536;

/// Writes the rows of `batches` in `order`, which goes by day first, as one file a day, synced. Nothing refers to the files yet.
pub(crate) async fn write_files(
    table: &DeltaTable,
    batches: &[RecordBatch],
    order: &[(usize, usize)],
) -> Result<Vec<Add>, LakeError> {
    let mut writer = writer(table)?;
    let at_rest = writer.arrow_schema();
    let batches = batches.iter().map(|batch| fitted(batch, &at_rest)).collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<&RecordBatch> = batches.iter().collect();
    let days: Vec<&Date32Array> = batches.iter().filter_map(|b| b.column_by_name(DAY)?.as_primitive_opt()).collect();
    let day = |&(batch, row): &(usize, usize)| days.get(batch).map(|days| days.value(row));
    let by_day: Vec<&[(usize, usize)]> = order.chunk_by(|a, b| day(a) == day(b)).collect();
    let mut adds = Vec::new();
    // Day by day: the writer keeps the file of each day it has seen open, and what it has encoded in memory.
    for same_day in by_day {
        for rows in same_day.chunks(ROWS_AT_ONCE) {
            writer.write(interleave_record_batch(&parts, rows)?).await?;
        }
        adds.extend(writer.flush().await?);
    }
    Ok(adds)
}

/// The batch with the columns the table has at rest: one that is no longer declared is null from now on.
fn fitted(batch: &RecordBatch, at_rest: &SchemaRef) -> Result<RecordBatch, LakeError> {
    let rows = batch.num_rows();
    let column = |name: &str, kind| batch.column_by_name(name).cloned().unwrap_or_else(|| new_null_array(kind, rows));
    let columns = at_rest.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
    Ok(RecordBatch::try_new(at_rest.clone(), columns)?)
}

/// Live files on a local directory that are missing or have another size than the log says.
pub(crate) fn damaged_files(table: &DeltaTable) -> Result<Vec<LiveFile>, LakeError> {
    let Ok(directory) = table.table_url().to_file_path() else { return Ok(Vec::new()) };
    let damaged = |f: &LiveFile| match std::fs::metadata(directory.join(&f.remove.path)) {
        Ok(found) => i64::try_from(found.len()) != Ok(f.size),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    Ok(files_by_day(table)?.into_values().flatten().filter(damaged).collect())
}

/// Takes files out of an existing table whose bytes are gone, so that the rest can be read, and tells their names. An error if
/// that were all of several files: then it is rather the disk that is gone, and may come back.
pub(crate) async fn drop_damaged(root: &Root, name: &str) -> Result<Vec<String>, LakeError> {
    let log_store: LogStoreRef = logstore_with(root.store.clone(), &root.table_url(name)?, StorageConfig::default())?;
    if !log_store.is_delta_table_location().await? {
        return Ok(Vec::new());
    }
    let mut table = load(log_store, name).await?;
    let damaged = damaged_files(&table)?;
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    let live: usize = files_by_day(&table)?.values().map(Vec::len).sum();
    if live > 1 && damaged.len() == live {
        let source = std::io::Error::other(format!("none of its {live} data files is whole; is a disk not mounted?"));
        return Err(LakeError::Directory { path: root.table_directory(name).unwrap_or_default(), source });
    }
    let names = damaged.iter().map(|f| f.remove.path.clone()).collect();
    let actions = damaged.into_iter().map(|f| Action::Remove(f.remove)).collect();
    let operation = DeltaOperation::FileSystemCheck {};
    commit(&mut table, Commit { actions, marker: None, ledger: None, operation }).await?;
    Ok(names)
}

/// What goes into one commit.
pub(crate) struct Commit {
    pub actions: Vec<Action>,
    pub marker: Option<Marker>,
    pub ledger: Option<serde_json::Value>,
    pub operation: DeltaOperation,
}

impl Commit {
    pub fn append(adds: &[Add], marker: &Marker, ledger: serde_json::Value) -> Self {
        let operation =
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: Some(vec![DAY.to_owned()]), predicate: None };
        Self {
            actions: adds.iter().cloned().map(Action::Add).collect(),
            marker: Some(marker.clone()),
            ledger: Some(ledger),
            operation,
        }
    }
}

/// Tries once. An error means "unknown": read the table again and look at the marker before trying anything else.
/// Checkpoints are made elsewhere, so that a failed one is not taken for a failed append.
pub(crate) async fn commit(table: &mut DeltaTable, commit: Commit) -> Result<(), DeltaTableError> {
    let mut properties =
        CommitProperties::default().with_max_retries(0).with_create_checkpoint(false).with_cleanup_expired_logs(Some(false));
    if let Some(marker) = &commit.marker {
        let version = i64::try_from(marker.seq).unwrap_or(i64::MAX);
        properties = properties.with_application_transaction(Transaction::new(&marker.journal_id, version));
    }
    if let Some(ledger) = commit.ledger {
        properties = properties.with_metadata([(LEDGER.to_owned(), ledger)]);
    }
    let log_store = table.log_store();
    let state = table.snapshot()?;
    let prepared = CommitBuilder::from(properties)
        .with_actions(commit.actions)
        .build(Some(state), log_store, commit.operation)
        .into_prepared_commit_future()
        .await?;
    prepared.await?;
    table.update_state().await
}

/// The ledger lines of the newest commits that carry any, as they were written.
pub(crate) async fn ledger_lines(table: &DeltaTable, commits: usize) -> Result<Vec<serde_json::Value>, LakeError> {
    let infos: Vec<_> = table.history(Some(commits)).try_collect().await?;
    Ok(infos.into_iter().filter_map(|mut info| info.info.remove(LEDGER)).collect())
}

/// A file the table refers to.
pub(crate) struct LiveFile {
    pub size: i64,
    /// When it was written, milliseconds since 1970.
    pub written_ms: i64,
    /// The action that takes it out of the table.
    pub remove: Remove,
}

/// Rows in live files; none if the table is not there.
pub(crate) fn rows(table: &DeltaTable) -> Result<u64, LakeError> {
    if table.version().is_none() {
        return Ok(0);
    }
    Ok(table.snapshot()?.log_data().iter().filter_map(|file| file.num_records()).sum::<usize>() as u64)
}

/// Live files by day, as the log names the day; none if the table is not there.
pub(crate) fn files_by_day(table: &DeltaTable) -> Result<HashMap<String, Vec<LiveFile>>, LakeError> {
    let mut days: HashMap<String, Vec<LiveFile>> = HashMap::new();
    if table.version().is_none() {
        return Ok(days);
    }
    for file in table.snapshot()?.log_data().iter() {
        let day = file.partition_values_map().remove(DAY).flatten().unwrap_or_default();
        days.entry(day).or_default().push(LiveFile {
            size: file.size(),
            written_ms: file.modification_time(),
            remove: file.remove_action(true),
        });
    }
    Ok(days)
}
