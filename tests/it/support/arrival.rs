//! Arrivals of a story: any order, and parts of it again.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

/// Checks `cases` arrivals of a story of `n` parts; `check` gets the number of the case.
pub fn in_any_order(n: usize, cases: u32, check: impl Fn(u32, &[usize]) -> Result<(), TestCaseError>) {
    let arrival = prop::collection::vec(0..n, 0..n).prop_flat_map(move |again| {
        let all: Vec<usize> = (0..n).chain(again).collect();
        Just(all).prop_shuffle()
    });
    let case = Cell::new(0);
    let config = Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    let verdict = TestRunner::new(config).run(&arrival, |arrival| {
        case.set(case.get() + 1);
        check(case.get(), &arrival)
    });
    match verdict {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!("{reason}\n{case:?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
