//! What all tests share: rows, runs, actions.

mod lifecycle;
mod properties;
mod store;

use serde_json::{Map, Value};

use crate::alert::{Action, What};
use crate::row::ProductRow;

const HOUR_US: i64 = 3_600_000_000;
const KEY: &str = "zone_id=Z1";

/// A row of zone `zone` for the tick `hour`, with a figure that differs from hour to hour.
fn row_of(zone: &str, hour: i64, level: Option<u8>) -> ProductRow {
    let mut values = Map::new();
    values.insert("level".to_owned(), Value::from(level));
    values.insert("flow_l_per_s".to_owned(), Value::from(hour));
    ProductRow { as_of_us: hour * HOUR_US, key: vec![("zone_id".to_owned(), zone.to_owned())], values }
}

fn row(hour: i64, level: impl Into<Option<u8>>) -> ProductRow {
    row_of("Z1", hour, level.into())
}

fn with(mut row: ProductRow, column: &str, value: impl Into<Value>) -> ProductRow {
    row.values.insert(column.to_owned(), value.into());
    row
}

fn action(what: What) -> Action {
    Action { who: "Kari".to_owned(), why: None, what }
}
