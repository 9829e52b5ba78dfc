//! The doors. One query path with its limits ([`query`]), the forms an answer can take ([`mod@format`]), and HTTP in front of
//! it ([`http`]). Never writes.

#![warn(missing_docs)]

mod connection;
pub mod format;
pub mod http;
pub mod query;
