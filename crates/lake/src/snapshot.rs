//! All tables at one moment; each is made ready when a query names it, so that a query pays for the tables it reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::{MemTable, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;

use crate::LakeError;
use crate::session::{everything, newest};
use crate::table::{LakeTable, View};

/// A table and what readers saw of it at that moment.
pub(crate) struct Seen {
    pub table: Arc<LakeTable>,
    pub view: View,
    /// Rows that are neither hot nor at rest: ledger lines under way.
    pub extra: Vec<RecordBatch>,
}

/// The moment.
pub(crate) struct Snapshot {
    /// Only plans tables: the query's own context holds this one, and the other way round it would hold itself.
    pub context: SessionContext,
    pub tables: BTreeMap<String, Seen>,
    pub reference: BTreeMap<String, RecordBatch>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tables.keys().chain(self.reference.keys())).finish()
    }
}

impl Snapshot {
    fn provider(&self, seen: &Seen) -> Result<Arc<dyn TableProvider>, LakeError> {
        let all = everything(&self.context, &seen.table, &seen.view, seen.extra.clone())?;
        match seen.table.definition().filter(|_| seen.view.revised) {
            Some(definition) => Ok(newest(all, &definition.key)?.into_view()),
            None => Ok(all.into_view()),
        }
    }
}

#[async_trait]
impl SchemaProvider for Snapshot {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().chain(self.reference.keys()).cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(seen) = self.tables.get(name) {
            return self.provider(seen).map(Some).map_err(|error| DataFusionError::External(Box::new(error)));
        }
        let Some(batch) = self.reference.get(name) else { return Ok(None) };
        Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch.clone()]])?)))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let table = self.tables.contains_key(name).then_some(TableType::View);
        Ok(table.or_else(|| self.reference.contains_key(name).then_some(TableType::Base)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.reference.contains_key(name)
    }
}
