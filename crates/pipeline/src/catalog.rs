//! All products together: which run, in which order, into which tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use datasjo_datasets::Decoder;
use datasjo_table::{OBSERVED_AT, Table};

use crate::keep::{self, instant};
use crate::problem::Problem;
use crate::product::{PREVIOUS, Product};
use crate::run::{self, AS_OF, Inputs};

/// A product that can run.
#[derive(Debug)]
pub struct Planned {
    /// What its author wrote.
    pub product: Product,
    /// Where its rows rest.
    pub table: Arc<Table>,
    /// How they get there.
    pub decoder: Arc<Decoder>,
    /// The products it reads.
    pub upstream: BTreeSet<String>,
}

/// A product that cannot run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Its name.
    pub product: String,
    /// The tables it reads and this configuration does not have: reference tables to be written, or products that are idle.
    pub missing: Vec<String>,
}

/// The products of a configuration.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Those that run; each after all it reads.
    pub products: Vec<Arc<Planned>>,
    /// Those that lack a table.
    pub idle: Vec<Idle>,
    /// What is wrong with others.
    pub problems: Vec<Problem>,
}

impl Catalog {
    /// Plans `products` over what a configuration has. A product that is wrong or lacks a table stops no other.
    pub async fn plan(
        products: Vec<Product>,
        datasets: &BTreeMap<String, Arc<Table>>,
        reference: &BTreeMap<String, SchemaRef>,
    ) -> Self {
        let mut known = Known::new(datasets, reference);
        let mut catalog = Self::default();
        let mut waiting = products;
        while !waiting.is_empty() {
            let names: BTreeSet<String> = waiting.iter().map(|product| product.name().to_owned()).collect();
            let ready = |product: &Product| product.reads.is_disjoint(&names);
            let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(ready);
            if now.is_empty() {
                catalog.problems.extend(later.iter().map(in_a_circle));
                break;
            }
            for product in now {
                catalog.take(product, &mut known).await;
            }
            waiting = later;
        }
        catalog
    }

    async fn take(&mut self, product: Product, known: &mut Known) {
        let missing: Vec<String> = product.reads.iter().filter(|name| !known.schemas.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            return self.idle.push(Idle { product: product.name().to_owned(), missing });
        }
        match plan_one(product, known).await {
            Ok(planned) => {
                known.schemas.insert(planned.table.name.clone(), seen(&planned.table));
                known.products.insert(planned.table.name.clone());
                self.products.push(Arc::new(planned));
            }
            Err(problems) => self.problems.extend(problems),
        }
    }

    /// The product called `name`, if it runs.
    pub fn get(&self, name: &str) -> Option<&Arc<Planned>> {
        self.products.iter().find(|planned| planned.product.name() == name)
    }

    /// `names` and every product they read, each after what it reads.
    pub fn with_upstream(&self, names: &[&str]) -> Vec<Arc<Planned>> {
        let mut wanted: BTreeSet<&str> = names.iter().copied().collect();
        for planned in self.products.iter().rev() {
            if wanted.contains(planned.product.name()) {
                wanted.extend(planned.upstream.iter().map(String::as_str));
            }
        }
        self.products.iter().filter(|planned| wanted.contains(planned.product.name())).cloned().collect()
    }
}

fn in_a_circle(product: &Product) -> Problem {
    let message = format!("it reads itself by way of {}", product.reads.iter().cloned().collect::<Vec<_>>().join(", "));
    Problem::at(&product.last().file, 0, 0, message)
}

async fn plan_one(product: Product, known: &Known) -> Result<Planned, Vec<Problem>> {
    let context = session();
    let empty = empty_previous(&product).map_err(|error| vec![Problem::of_engine(&product.last().file, &error)])?;
    context.register_table(PREVIOUS, empty).map_err(|error| vec![Problem::of_engine(&product.last().file, &error)])?;
    let schema = run::schema(&product, &context, known).await.map_err(|problem| vec![problem])?;
    let table = Arc::new(keep::table(&product, &schema)?);
    let wrong = table.problems();
    if !wrong.is_empty() {
        let told = |p: datasjo_table::TableProblem| Problem::at(&product.last().file, 0, 0, format!("{}: {}", p.word, p.message));
        return Err(wrong.into_iter().map(told).collect());
    }
    let decoder = keep::decoder(&table).map_err(|message| vec![Problem::at(&product.last().file, 0, 0, message)])?;
    let upstream = product.reads.intersection(&known.products).cloned().collect();
    Ok(Planned { product, table, decoder: Arc::new(decoder), upstream })
}

/// A session for steps: our functions, places in errors, nothing registered.
pub(crate) fn session() -> SessionContext {
    let config = datafusion::prelude::SessionConfig::new()
        .set_bool("datafusion.sql_parser.collect_spans", true)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    let context = SessionContext::new_with_config(config);
    datasjo_functions::register(&context);
    context
}

/// What a product sees of its own past: the keys, which are text, the tick and what it carries.
pub(crate) fn previous_schema(product: &Product) -> SchemaRef {
    let keys = product.header.keys.iter().map(|key| Field::new(key, DataType::Utf8, true));
    let carried = product.header.carries.iter().map(|(name, kind)| Field::new(name, kind.data_type(), true));
    let fields: Vec<Field> = keys.chain([Field::new(AS_OF, instant(), true)]).chain(carried).collect();
    Arc::new(Schema::new(fields))
}

fn empty_previous(product: &Product) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    Ok(Arc::new(EmptyTable::new(previous_schema(product))))
}

/// A product's table as other products see it.
fn seen(table: &Table) -> SchemaRef {
    let stored = table.stored_schema();
    let field = |field: &Arc<Field>| match field.name() == OBSERVED_AT {
        true => field.as_ref().clone().with_name(AS_OF),
        false => field.as_ref().clone(),
    };
    Arc::new(Schema::new(stored.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Tables by name while planning; none has rows.
struct Known {
    schemas: BTreeMap<String, SchemaRef>,
    products: BTreeSet<String>,
}

impl Known {
    fn new(datasets: &BTreeMap<String, Arc<Table>>, reference: &BTreeMap<String, SchemaRef>) -> Self {
        let stored = datasets.iter().map(|(name, table)| (name.clone(), table.stored_schema()));
        let kept = reference.iter().map(|(name, schema)| (name.clone(), schema.clone()));
        Self { schemas: stored.chain(kept).collect(), products: BTreeSet::new() }
    }
}

impl Inputs for Known {
    fn table(&self, _: &SessionContext, name: &str, _: i64, _: i64) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        match self.schemas.get(name) {
            Some(schema) => Ok(Arc::new(EmptyTable::new(schema.clone()))),
            None => Err(DataFusionError::Plan(format!("there is no table {name}"))),
        }
    }
}
