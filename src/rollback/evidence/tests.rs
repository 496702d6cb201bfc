//! The worked numbers, and what they promise when the coin is really thrown.

use proptest::prelude::*;

use super::*;

const fn counts(bad: u64, total: u64) -> Counts {
    Counts { bad, total }
}

#[track_caller]
fn close(got: f64, wanted: f64) {
    assert!((got - wanted).abs() <= wanted.abs() * 1e-7, "{got} is not {wanted}");
}

/// Values from the definition, by summing the binomial term by term.
#[test]
fn the_bound_is_clopper_and_pearsons() {
    let bound = |bad, total| upper_bound(counts(bad, total), 0.999).unwrap();
    close(bound(0, 1_000), 1.0 - 0.001_f64.powf(1e-3));
    close(bound(1, 10), 0.623_723_089_088_825_6);
    close(bound(5, 100), 0.155_367_305_810_468_56);
    close(bound(50, 10_000), 0.007_584_335_323_685_313);
    close(bound(3_000, 1_000_000), 0.003_172_866_019_890_771_6);
    close(bound(7, 7), 1.0);
    assert_eq!(upper_bound(counts(0, 0), 0.999), None);
}

#[test]
fn an_enormous_baseline_has_a_bound_just_above_its_share() {
    let bound = upper_bound(counts(2_000_000_000, 100_000_000_000), 0.999).unwrap();
    assert!(bound > 0.02 && bound < 0.0201, "{bound}");
}

/// Σ over the seven ratios, by hand: p0 = 1 %, 10 bad of 100.
#[test]
fn the_mixture_is_the_mean_of_the_likelihood_ratios() {
    close(ln_mixture(counts(10, 100), 0.01), 12.648_289_580_286_384);
    close(ln_mixture(counts(90, 4_310), 0.004) / std::f64::consts::LN_10, 32.381_837_354_151_21);
    close(ln_mixture(counts(0, 100), 0.01), -1.840_487_025_239_647_7);
}

#[test]
fn no_requests_are_no_evidence() {
    assert!(ln_mixture(counts(0, 0), 0.01).abs() < 1e-12);
    assert_eq!(test(counts(5, 5), counts(0, 0), 1e-4), None);
}

#[test]
fn a_baseline_that_mostly_fails_accuses_nobody() {
    let test = test(counts(100, 100), counts(90, 100), 1e-4).unwrap();
    assert!(test.log10_m.abs() < 1e-12 && !test.is_decisive(), "{test:?}");
}

#[test]
fn an_outage_after_a_clean_baseline_is_decisive_within_a_few_requests() {
    let baseline = counts(30, 10_000);
    let decisive = (1..100).find(|n| test(counts(*n, *n), baseline, 1e-4).unwrap().is_decisive());
    assert_eq!(decisive, Some(3), "each failure multiplies the odds by up to 50");
}

proptest! {
    #[test]
    fn the_bound_lies_above_the_share_and_tightens(bad in 0_u64..2_000, more in 1_u64..100_000) {
        let few = counts(bad, bad + more);
        let bound = upper_bound(few, BASELINE_CONFIDENCE).unwrap();
        prop_assert!(bound > few.ratio().unwrap() && bound <= 1.0);
        let tenfold = upper_bound(counts(bad * 10, (bad + more) * 10), BASELINE_CONFIDENCE).unwrap();
        prop_assert!(tenfold <= bound * (1.0 + 1e-8), "{tenfold} {bound}");
    }

    #[test]
    fn a_failure_accuses_and_a_success_acquits(bad in 0_u64..500, good in 0_u64..5_000, p0 in 1e-6..0.5_f64) {
        let before = ln_mixture(counts(bad, bad + good), p0);
        prop_assert!(ln_mixture(counts(bad + 1, bad + good + 1), p0) > before);
        prop_assert!(ln_mixture(counts(bad, bad + good + 1), p0) < before);
        prop_assert!(before.is_finite());
    }
}

/// `SplitMix64`: the same throws on every machine.
struct Coin(u64);

impl Coin {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        float((z ^ (z >> 31)) >> 11) / float(1 << 53)
    }

    /// Requests until the next failure at rate p, that failure included.
    fn gap(&mut self, p: f64) -> u64 {
        1 + crate::num::count(((1.0 - self.next()).ln() / (-p).ln_1p()).floor())
    }

    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        let (mut at, mut bad) = (self.gap(p), 0);
        while at <= n {
            (at, bad) = (at + self.gap(p), bad + 1);
        }
        bad
    }
}

/// The request at which the test, asked after every request, first acts.
fn acts_at(coin: &mut Coin, p: f64, p0: f64, alpha: f64, horizon: u64) -> Option<u64> {
    let (mut total, mut bad) = (0, 0);
    loop {
        // M falls between failures, so asking at the failures is asking always.
        total += coin.gap(p);
        bad += 1;
        if total > horizon {
            return None;
        }
        if ln_mixture(counts(bad, total), p0) >= -alpha.ln() {
            return Some(total);
        }
    }
}

const ALPHA: f64 = 1e-2;
const RUNS: u64 = 4_000;
const HORIZON: u64 = 10_000;

/// How many of the healthy deployments (p as before) are accused, with `bound` made of a baseline.
fn false_alarms(seed: u64, p: f64, baseline: u64, bound: impl Fn(Counts) -> f64) -> u64 {
    let mut coin = Coin(seed);
    let mut alarms = 0;
    for _ in 0..RUNS {
        let before = counts(coin.binomial(baseline, p), baseline);
        alarms += u64::from(acts_at(&mut coin, p, bound(before), ALPHA, HORIZON).is_some());
    }
    alarms
}

#[test]
fn healthy_deployments_are_accused_less_often_than_the_budget_allows() {
    let allowed = crate::num::count(float(RUNS) * ALPHA);
    for (seed, p) in [(1, 0.005), (2, 0.02)] {
        let alarms = false_alarms(seed, p, 6_000, |c| upper_bound(c, BASELINE_CONFIDENCE).unwrap());
        assert!(alarms <= allowed, "{alarms} of {RUNS} at p = {p}");
    }
    // The true share instead of a bound: the budget is used, and kept (three standard deviations).
    let alarms = false_alarms(3, 0.01, 1, |_| 0.01);
    assert!((allowed / 10..=allowed + 30).contains(&alarms), "{alarms} of {RUNS}");
    // The point estimate of ten minutes breaks the promise: that is why there is a bound.
    let alarms = false_alarms(4, 0.005, 6_000, |c| c.ratio().unwrap().max(1e-6));
    assert!(alarms > 2 * allowed, "{alarms} of {RUNS}");
}

/// No test with error α can need fewer than ln(1/α) / KL(p1 ‖ p0) requests on average (Wald).
#[test]
fn real_regressions_are_seen_within_one_and_a_half_times_walds_limit() {
    let alpha: f64 = 1e-4;
    for (p0, ratio) in [(0.005, 3.0), (0.005, 5.0), (0.005, 10.0), (0.005, 40.0), (0.02, 4.0), (0.001, 7.0)] {
        let p1: f64 = p0 * ratio;
        let divergence = p1 * (p1 / p0).ln() + (1.0 - p1) * ((1.0 - p1) / (1.0 - p0)).ln();
        let limit = -alpha.ln() / divergence;
        let mut coin = Coin(5);
        let runs = 1_000;
        let spent: u64 = (0..runs).map(|_| acts_at(&mut coin, p1, p0, alpha, u64::MAX / 2).unwrap()).sum();
        let mean = float(spent) / float(runs);
        assert!(mean <= 1.5 * limit, "p0 {p0}, {ratio} times: {mean:.0} requests, limit {limit:.0}");
    }
}
