//! Reference tables: CSV files of the configuration, small, held in memory, joined by name in SQL.

use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;

use crate::{Lake, LakeError};

impl Lake {
    /// Loads the CSV file `path` (UTF-8, comma, header) as table `name`; types are those all its values agree on. Replaces
    /// a table of that name.
    pub fn load_reference(&self, name: &str, path: &Path) -> Result<(), LakeError> {
        let batch = read_reference(path)?;
        self.reference.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), batch);
        Ok(())
    }
}

/// The rows of the CSV file `path` (UTF-8, comma, header); types are those all its values agree on.
pub fn read_reference(path: &Path) -> Result<RecordBatch, LakeError> {
    read_csv(path).map_err(|source| LakeError::Reference { path: path.to_owned(), source })
}

fn read_csv(path: &Path) -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>> {
    let mut file = File::open(path)?;
    let format = Format::default().with_header(true);
    let (schema, _) = format.infer_schema(&mut file, None)?;
    file.rewind()?;
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(schema.clone()).with_format(format).build(file)?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}
