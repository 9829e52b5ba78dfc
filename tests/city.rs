//! Everything together: real broker, real program, real files.

mod crash;
mod faults;
mod products;
mod readers;
mod real_data;
mod sources_mqtt;
mod support;
mod town_products;
