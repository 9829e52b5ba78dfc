use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datasjo_pipeline::{Catalog, Problem as ProductProblem, alert_history, product};
use datasjo_table::Table;

use super::problem::{Found, Place};
use super::tables::Reference;

/// Where a town's own products lie; a folder of the same name replaces one that the binary carries.
const FOLDER: &str = "pipelines";

/// The products over these tables. One that is wrong is a warning: it stops nothing else.
pub(super) fn read(
    base: &Path,
    tables: &BTreeMap<String, Arc<Table>>,
    reference: &[Reference],
    found: &mut Found,
) -> Arc<Catalog> {
    let (products, problems) = product::load(Some(&base.join(FOLDER)));
    let mut schemas = BTreeMap::new();
    for table in reference {
        match datasjo_lake::read_reference(&table.path) {
            Ok(rows) => {
                schemas.insert(table.name.clone(), rows.schema());
            }
            Err(error) => found.error(Place::whole(table.path.display().to_string()), datasjo_table::causes(&error)),
        }
    }
    let catalog = futures::executor::block_on(Catalog::plan(products, tables, &schemas));
    for problem in problems.iter().chain(&catalog.problems) {
        found.warning(place(problem), format!("this product cannot run: {}", problem.message));
    }
    Arc::new(catalog)
}

fn place(problem: &ProductProblem) -> Place {
    let number = |n: u64| usize::try_from(n.max(1)).unwrap_or(1);
    Place { file: format!("{FOLDER}/{}", problem.file), line: number(problem.line), column: number(problem.column) }
}

/// The tables that products and alerts fill, beside those of the datasets.
pub(super) fn tables(catalog: &Catalog) -> Vec<Arc<Table>> {
    let products = catalog.products.iter().map(|planned| planned.table.clone());
    products.chain(alert_history().ok().map(|(table, _)| table)).collect()
}
