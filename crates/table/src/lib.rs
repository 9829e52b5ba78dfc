//! The words the other rooms share: what a table is, what a column means and in which unit, and what a
//! transport knew about the bytes it delivered. Words only; no behaviour that another room would want to change.

#![warn(missing_docs)]

mod column;
mod labels;
mod table;

pub use column::{Column, Kind};
pub use labels::Labels;
pub use table::{Access, DAY, FEED, OBSERVED_AT, RECEIVED_AT, REVISION, SEQ, Table, TableProblem};
