//! A simulated shop under simulated load: the live version decides how many requests fail. The
//! randomness is seeded: every run sees the same requests.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::DemoError;
use super::api::Api;
use crate::num::float;
use crate::time::Clock;

pub const SERVICE: &str = "checkout";
pub const ENVIRONMENT: &str = "production";
/// Requests per second.
pub const LOAD: u64 = 100;
/// One healthy request in so many fails.
pub const ONE_IN: u64 = 5_000;
/// One request in so many fails on the bad version.
const BAD_ONE_IN: u64 = 5;
/// The shop reports once a second, as SDKs that collect do.
const REPORT_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Shop(Arc<Mutex<State>>);

struct State {
    random: Random,
    live: String,
    bad: Option<String>,
    served: Served,
}

/// What customers have seen since the live traffic began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    pub requests: u64,
    pub failed: u64,
    /// Successes since the last failure.
    pub since_failure: u64,
}

impl Shop {
    pub fn new() -> Self {
        let state = State { random: Random(41), live: String::new(), bad: None, served: Served::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// From now on this version answers.
    pub fn switch_to(&self, version: &str) {
        version.clone_into(&mut self.0.lock().live);
    }

    /// This version is the one with the bug.
    pub fn plant_bug(&self, version: &str) {
        self.0.lock().bad = Some(version.to_owned());
    }

    pub fn live(&self) -> String {
        self.0.lock().live.clone()
    }

    pub fn served(&self) -> Served {
        self.0.lock().served
    }

    /// Serves and reports, second by second, until the future is dropped.
    pub async fn serve(&self, api: &Api) -> Result<(), DemoError> {
        let clock = Clock::system();
        let mut second = interval(REPORT_EVERY);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            second.tick().await;
            let requests = self.one_second(&clock);
            api.send(&requests).await?;
        }
    }

    fn one_second(&self, clock: &Clock) -> Vec<Value> {
        (0..LOAD).map(|_| self.one_request(clock)).collect()
    }

    fn one_request(&self, clock: &Clock) -> Value {
        let mut state = self.0.lock();
        let one_in = if state.bad.as_ref() == Some(&state.live) { BAD_ONE_IN } else { ONE_IN };
        let failed = state.random.below(one_in) == 0;
        let duration_ms = 8.0 + float(state.random.below(400)) / 10.0;
        state.served.requests += 1;
        state.served.failed += u64::from(failed);
        state.served.since_failure = if failed { 0 } else { state.served.since_failure + 1 };
        json!({"type": "request", "time": clock.now(), "service": SERVICE, "environment": ENVIRONMENT,
            "version": state.live, "route": "/pay", "status": if failed { 500 } else { 200 },
            "duration_ms": duration_ms})
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_with_the_bug_fails_and_every_run_is_the_same() {
        let run = || {
            let shop = Shop::new();
            let clock = Clock::manual(crate::time::Timestamp::from_seconds(1));
            shop.plant_bug("2");
            shop.switch_to("1");
            (0..10).for_each(|_| drop(shop.one_second(&clock)));
            let healthy = shop.served();
            shop.switch_to("2");
            let reported = (0..10).flat_map(|_| shop.one_second(&clock)).collect::<Vec<_>>();
            (healthy, shop.served(), reported)
        };
        let (healthy, after, reported) = run();
        assert_eq!((healthy.requests, healthy.failed), (1_000, 0));
        assert!((150..250).contains(&after.failed), "{after:?}");
        let failed = reported.iter().filter(|request| request["status"] == 500 && request["version"] == "2").count();
        assert_eq!(u64::try_from(failed), Ok(after.failed));
        assert_eq!(run(), (healthy, after, reported));
    }
}
