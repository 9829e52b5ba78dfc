//! The few functions that SQL does not have: pure, without dependencies, each with the source of its formulas. A state is a value
//! that can be written as text and read back without loss, so that a run may end anywhere and go on.

#![warn(missing_docs)]

pub mod calendar;
pub mod calibrate;
pub mod cusum;
pub mod flood_parameters;
pub mod flood_regression;
pub mod hold_level;
pub mod hysteresis;
pub mod occupancy;
mod occupancy_counts;
mod occupancy_gates;
mod occupancy_kalman;
#[cfg(test)]
mod occupancy_tests;
mod occupancy_text;
mod occupancy_tuning;
mod occupancy_walls;
pub mod soil;
pub mod soil_state;
