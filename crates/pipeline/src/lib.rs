//! Products: SQL that people act on, run for moments in time over what had arrived by then.
//!
//! A product is a folder of SQL steps ([`product`]). A run answers every tick of an interval ([`run`]): live that is one tick or
//! a few, in a back-test a year. Both give the same rows, because a row of a tick depends only on rows that had arrived by it, and
//! what a product carries on from tick to tick is in its own rows. Rows are kept by way of the journal, like everything else.

#![warn(missing_docs)]

pub mod cases;
mod catalog;
mod engine;
mod every;
mod header;
mod history;
mod keep;
mod previous;
mod problem;
pub mod product;
mod results;
pub mod run;
mod runner;

pub use catalog::{Catalog, Idle, Planned};
pub use engine::{Engine, ProductStatus, Statuses};
pub use every::Every;
pub use header::{ColumnNote, Header, ProductKind};
pub use history::{ALERT_FEED, ALERT_HISTORY, alert_history};
pub use keep::feed_name;
pub use problem::Problem;
pub use product::Product;
pub use results::{kind, product_rows};
pub use run::Interval;
pub use runner::{RunError, Runner, compute_once};
