//! Bytes to rows and rejects. Pure: no clock, no input or output, no async. A payload is decoded by its feed's
//! [`Decoder`]; every record in it ends as a row of the dataset's table or as a [`Reject`] with a reason, and a reject
//! never takes its neighbours with it. What a feed leaves out on purpose is counted, so that the ledger balances.
//!
//! A dataset's table is a file under `config/datasets` ([`builtin`]); how a feed's fields fill its columns is the
//! `[decode]` table of the feed's file ([`DecodeConfig`]).

#![warn(missing_docs)]

mod builtin;
mod check;
mod compile;
mod config;
mod convert;
mod decode;
mod format;
mod pattern;
mod plan;
mod rows;
mod time;
mod units;
pub mod water;

pub use builtin::{BUILTIN, builtin};
pub use config::{
    Choice, ColumnConfig, ConditionConfig, Constant, DecodeConfig, Encoding, Fold, Format, LookupConfig, Lookups, Retained,
    UnitConfig, UnitSource,
};
pub use decode::{Arrival, DecodeProblem, Decoder};
pub use rows::{BatchError, Cell, Code, Decoded, Fault, Reject, Rows};
pub use units::{Linear, UnitProblem, conversion};
