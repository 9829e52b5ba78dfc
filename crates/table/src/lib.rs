//! The words the other rooms share: what a table is, what a column means and in which unit, and what a
//! transport knew about the bytes it delivered. Words only; no behaviour that another room would want to change. How an error
//! is told in one line ([`causes`]) is such a word too.

#![warn(missing_docs)]

mod causes;
mod column;
mod labels;
mod table;

pub use causes::causes;
pub use column::{Column, Kind};
pub use labels::Labels;
pub use table::{Access, DAY, FEED, OBSERVED_AT, RECEIVED_AT, REVISION, SEQ, Table, TableProblem};
