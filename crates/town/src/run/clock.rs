use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

use crate::calendar::{instant, millis};

/// The town's own time, set by the run and read by the service.
#[derive(Clone, Debug)]
pub struct VirtualClock(Arc<AtomicI64>);

impl VirtualClock {
    /// A clock that stands at an instant.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(millis(now))))
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        instant(self.now_ms())
    }

    /// Sets it forward; never back.
    pub fn advance(&self, now: Timestamp) {
        self.0.fetch_max(millis(now), Ordering::Relaxed);
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
