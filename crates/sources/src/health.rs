use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::machine_now_us;

/// What a source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not connected yet.
    Starting,
    /// Connected, subscribed or listening.
    Up,
    /// Cut off; waiting for the next try.
    Waiting,
    /// Ended or stopped.
    Ended,
    /// Ended by an error that repetition cannot mend.
    Failed,
}

/// A snapshot for `/healthz`, metrics and `doctor`.
#[derive(Clone, Debug, Serialize)]
pub struct HealthReport {
    /// What it is doing.
    pub state: State,
    /// One sentence on why, for a person; empty while all is well.
    pub reason: String,
    /// Deliveries handed on since the start.
    pub deliveries: u64,
    /// Bytes of payload handed on since the start.
    pub payload_bytes: u64,
    /// Payloads refused for their size.
    pub refused: u64,
    /// Connections lost or requests failed since the start.
    pub failures: u64,
    /// Last delivery by this machine's clock, microseconds since 1970 UTC; absent before the first.
    pub last_delivery_us: Option<i64>,
}

/// Shared, cheap, written by the source and read by anyone.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<HealthReport>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(HealthReport {
            state: State::Starting,
            reason: String::new(),
            deliveries: 0,
            payload_bytes: 0,
            refused: 0,
            failures: 0,
            last_delivery_us: None,
        })))
    }
}

impl Health {
    /// The state now.
    pub fn report(&self) -> HealthReport {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All is well.
    pub fn up(&self) {
        self.change(|r| {
            r.state = State::Up;
            r.reason.clear();
        });
    }

    /// Cut off: says why and counts a failure.
    pub fn waiting(&self, reason: impl Into<String>) {
        self.change(|r| {
            r.state = State::Waiting;
            r.reason = reason.into();
            r.failures += 1;
        });
    }

    /// Ended, or failed for good with a reason.
    pub fn ended(&self, failed: Option<String>) {
        self.change(|r| {
            r.state = if failed.is_some() { State::Failed } else { State::Ended };
            r.reason = failed.unwrap_or_default();
        });
    }

    /// Up, but the person should read `reason` (a payload refused, a subscription not granted).
    pub fn remark(&self, reason: impl Into<String>) {
        self.change(|r| r.reason = reason.into());
    }

    /// A payload was refused for its size.
    pub fn refused(&self, reason: impl Into<String>) {
        self.change(|r| {
            r.refused += 1;
            r.reason = reason.into();
        });
    }

    /// One delivery of `payload_bytes` was handed on.
    pub fn delivered(&self, payload_bytes: usize) {
        self.change(|r| {
            r.deliveries += 1;
            r.payload_bytes += payload_bytes as u64;
            r.last_delivery_us = Some(machine_now_us());
        });
    }

    fn change(&self, f: impl FnOnce(&mut HealthReport)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
