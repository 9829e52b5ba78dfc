//! What the tests stand on: a real broker, the real program, and the program's rooms in this process over a disk and a
//! store that fail on purpose.

pub mod datasjo;
pub mod engine;
pub mod mosquitto;
pub mod store;
