//! Everything together: real broker, real program, real files.

mod crash;
mod faults;
mod sources_mqtt;
mod support;
