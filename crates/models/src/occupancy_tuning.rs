//! The constants of [`crate::occupancy`], each with its reason. "Measured" means: on the development scenario, by the rule in
//! `pipelines/parking/README.md`.

use crate::occupancy_gates::MINUTE_US;
use crate::occupancy_kalman::STATES;

/// How far the number at the start may be off, vehicles.
pub const INITIAL_SD: f64 = 3.0;
/// Vehicles missed for each one counted. Makers state 95 to 99.8 % for each crossing; double counts and bicycles taken for cars
/// make up for part of the rest.
pub const MISSED_MEAN: f64 = 0.02;
/// How much gates differ in it.
pub const MISSED_SD: f64 = 0.01;
/// Darkness, rain and dense traffic change what is missed: variance for each crossing. Measured.
pub const MISSED_WANDER: f64 = 2e-8;
/// Variance of the vehicles for each crossing: misses and double counts come one by one (3 % and 2 %), and in runs. Measured.
pub const CROSSING_VARIANCE: f64 = 0.08;

/// Cars hidden behind others from an area camera in a full lot. Makers claim 97 % of all; a full lot hides more.
pub const HIDDEN_MEAN: f64 = 0.04;
/// How much cameras differ in it.
pub const HIDDEN_SD: f64 = 0.01;
/// It changes slowly: variance for each view.
pub const HIDDEN_WANDER: f64 = 0.0;
/// Error of one view: a fixed part, vehicles.
pub const VIEW_SD: f64 = 1.0;
/// Error of one view: the part that grows with the lot, share of the capacity. Measured.
pub const VIEW_SD_OF_CAPACITY: f64 = 0.015;
/// A view further off than this is refused.
pub const REFUSE_SDS: f64 = 3.0;
/// After so long it is the count that is doubted, not the camera: longer than snow lies on a lens, shorter than a day.
pub const REFUSE_AT_MOST_US: i64 = 12 * 60 * MINUTE_US;
/// A view is news for five minutes.
pub const VIEW_HOLDS_US: i64 = 5 * MINUTE_US;
/// A person's count is off by one or two.
pub const MANUAL_SD: f64 = 1.5;
/// A person's count further off than this says that we were too sure.
pub const SURPRISE_SDS: f64 = 2.5;

/// By how much of its capacity a lot overfills, as cars stand where there is no space.
pub const OVERFULL_MEAN: f64 = 0.01;
/// How much lots differ in it.
pub const OVERFULL_SD: f64 = 0.01;
/// How sharp the wall is, share of the capacity.
pub const WALL_SD: f64 = 0.01;
/// No estimate above this share of the capacity.
pub const WALL_MAX: f64 = 1.05;
/// How sharp the floor is, vehicles.
pub const EMPTY_SD: f64 = 1.0;

/// Minutes looked at for a level stretch.
pub const LEVEL_MINUTES: usize = 30;
/// Crossings there must have been in them: with fewer, standing still says nothing.
pub const LEVEL_CROSSINGS: f64 = 30.0;
/// The count may wander by this times the root of the crossings: a quarter of the 1.6 that a free walk ranges over (Feller 1951,
/// "The asymptotic distribution of the range").
pub const LEVEL_WANDER: f64 = 0.4;
/// How well a level stretch tells a full lot, share of the capacity.
pub const LEVEL_SD: f64 = 0.02;
/// Only believed if a full lot was to be expected within this.
pub const LEVEL_SDS: f64 = 2.5;
/// A stretch is taken once in so long.
pub const LEVEL_EVERY_US: i64 = 10 * MINUTE_US;

/// A gate's silence is long beyond this share of the limit at which the lot is blind.
pub const LONG_SILENCE: f64 = 0.5;
/// Flow put in for a silent gate fades with this, minutes.
pub const FLOW_LASTS_MIN: f64 = 60.0;
/// Its variance: as a Poisson process of both directions ...
pub const UNSEEN_POISSON: f64 = 0.5;
/// ... and the share of it that goes another way than before.
pub const UNSEEN_SHARE: f64 = 0.4;
/// Stored messages and totals come within so long after a silence, or never.
pub const CATCH_UP_US: i64 = 15 * MINUTE_US;
/// Growth of a total is spread over no more than this.
pub const LONGEST_SPREAD_US: i64 = 120 * MINUTE_US;

/// Minutes of crossings kept, and how old a person's count may be.
pub const KEPT_MINUTES: usize = 60;
/// Counts kept for what arrives late.
pub const KEPT_ANCHORS: usize = 12;
/// Standard deviations on each side that held 90 % on the development scenario; 1.64 if all errors were normal.
pub const INTERVAL_SDS: f64 = 1.0;

/// The walls say where the vehicles are and how far the lot overfills, but not why the gates miscounted.
pub const WALL_TEACHES: [bool; STATES] = [true, false, false, false, true];
/// Gates that count too much do so by less than this.
pub const MISSED_MIN: f64 = -0.02;
/// Gates that miss more than this are broken, and that is not to be learned.
pub const MISSED_MAX: f64 = 0.06;
/// A camera that overlooks more than this is covered, and that is not to be learned.
pub const HIDDEN_MAX: f64 = 0.10;
/// A long silence may hide the start or the end of an event: this share of the capacity an hour.
pub const UNSEEN_SURGE: f64 = 0.15;
/// The totals of the other direction follow within this.
pub const SETTLES_US: i64 = 3 * MINUTE_US / 2;
