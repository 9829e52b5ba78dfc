use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Most requests that go out at once after a pause, so that the pages of one round need not wait for each other.
const BURST: u32 = 20;

/// The pace towards each host, for the whole process: a service counts requests by our address, not by feed.
static HOSTS: Mutex<BTreeMap<String, Pace>> = Mutex::new(BTreeMap::new());

struct Pace {
    per_minute: NonZeroU32,
    limiter: Arc<DefaultDirectRateLimiter>,
}

/// At most `per_minute` requests a minute to `host`; of several wishes for one host the lowest holds.
pub(super) fn agree(host: &str, per_minute: u32) {
    let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    if hosts.get(host).is_some_and(|pace| pace.per_minute <= per_minute) {
        return;
    }
    let burst = NonZeroU32::new(BURST).map_or(per_minute, |burst| burst.min(per_minute));
    let limiter = Arc::new(RateLimiter::direct(Quota::per_minute(per_minute).allow_burst(burst)));
    hosts.insert(host.to_owned(), Pace { per_minute, limiter });
}

/// Waits until one more request may go to `host`.
pub(super) async fn turn(host: &str) {
    let limiter = HOSTS.lock().unwrap_or_else(PoisonError::into_inner).get(host).map(|pace| pace.limiter.clone());
    if let Some(limiter) = limiter {
        limiter.until_ready().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_minute(host: &str) -> u32 {
        HOSTS.lock().unwrap().get(host).unwrap().per_minute.get()
    }

    #[test]
    fn the_lowest_wish_for_a_host_holds() {
        agree("pace.example:443", 100);
        agree("pace.example:443", 30);
        agree("pace.example:443", 60);
        assert_eq!(per_minute("pace.example:443"), 30);
    }

    #[test]
    fn a_host_lets_a_burst_through_and_then_no_more() {
        agree("burst.example:443", 2);
        let limiter = HOSTS.lock().unwrap().get("burst.example:443").unwrap().limiter.clone();
        assert!(limiter.check().is_ok());
        assert!(limiter.check().is_ok());
        assert!(limiter.check().is_err());
    }
}
