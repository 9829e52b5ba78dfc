//! What the lake holds of a journal already.

use std::collections::BTreeMap;

use datasjo_lake::{LEDGER, Lake};

use crate::IngestError;

/// Where each table stands, and where reading must start.
pub(crate) struct Markers {
    tables: BTreeMap<String, u64>,
    pub ledger: u64,
}

impl Markers {
    pub async fn read(lake: &Lake, journal_id: &str) -> Result<Self, IngestError> {
        let mut tables = BTreeMap::new();
        for table in lake.tables() {
            tables.insert(table.name().to_owned(), table.marker(journal_id).await?);
        }
        let ledger = tables.get(LEDGER).copied().unwrap_or(0);
        Ok(Self { tables, ledger })
    }

    pub fn of(&self, table: &str) -> u64 {
        self.tables.get(table).copied().unwrap_or(0)
    }

    /// The ledger commits last, so a table ahead of it has its lines in its own commits.
    pub fn lowest(&self) -> u64 {
        self.tables.values().copied().min().unwrap_or(0)
    }

    pub fn highest(&self) -> u64 {
        self.tables.values().copied().max().unwrap_or(0)
    }
}

/// The highest sequence number of journal `journal_id` that the lake holds. A journal that ends before it is an older
/// copy: its numbers would be given twice, so it must not be used.
pub async fn start_seq(lake: &Lake, journal_id: &str) -> Result<u64, IngestError> {
    Ok(Markers::read(lake, journal_id).await?.highest())
}
