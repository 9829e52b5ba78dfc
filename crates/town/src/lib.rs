//! The demo town: a small Molde that sends what real devices send, with everything that goes wrong in life, at known rates
//! and times, so that what a lake ends up with can be compared with what is true. It is a tool for demonstrations and
//! tests: no production crate uses it.
//!
//! [`Town`] is pure: the same seed and start give the same messages, and any span of time can be computed without running
//! from the beginning. [`Truth`] is the same computation, counted. [`run()`] sends for real, [`Broker`] is the MQTT broker
//! it may send to, [`served`] the HTTP service for sources that poll, [`config`] the feed files that read it all.

#![warn(missing_docs)]

pub mod broker;
mod calendar;
pub mod config;
mod messages;
pub mod model;
mod noise;
pub mod replay;
pub mod run;
pub mod served;
mod truth;

pub use broker::{Broker, BrokerError};
pub use messages::{Outgoing, Via};
pub use model::{Fault, FaultKind, Town, TownConfig, TownError};
pub use run::{Endpoints, Pace, Progress, RunError, VirtualClock, run};
pub use truth::{DatasetTruth, Truth, TruthError};
