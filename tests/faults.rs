//! Nothing acknowledged is lost and nothing is doubled, whatever fails below: the journal's disk, the lake's store, the newest
//! files, the memory of a process, one source among many. In this process, over storage that fails on purpose.

mod isolation;
mod journal;
mod killed_at_any_write;
mod memory;
mod shutdown;
mod store;
mod torn;
