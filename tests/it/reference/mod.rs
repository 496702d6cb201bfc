//! The figures against a second implementation of their definitions: small, slow and written from
//! the definitions alone (`facts.rs`, `failures.rs`, `leads.rs`, `figures.rs`). Thousands of random
//! histories (`story.rs`) arrive in random order, in parts and twice, with questions in between.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the numbers of small histories"
)]

mod calendar;
mod facts;
mod failures;
mod figures;
mod leads;
mod run;
mod story;
mod world;

use std::time::{Duration, Instant};

use run::Case;

use crate::support::database::Database;
use crate::support::random::Random;

/// Histories of one database.
const TOGETHER: usize = 20;

async fn agree(histories: usize, others: u64, database: impl AsyncFn() -> Database) {
    let mut random = Random::seeded(Random::new().next().wrapping_add(others));
    let (began, mut questions) = (Instant::now(), 0);
    for _ in 0..histories / TOGETHER {
        let case = Case::of(TOGETHER, &mut Random::seeded(random.next()));
        match case.run(&database().await.url).await {
            Ok(asked) => questions += asked,
            Err(wrong) => panic!("{}", case.smallest(*wrong).await),
        }
    }
    println!("{histories} histories, {questions} questions, {:.1?}", began.elapsed());
    assert!(questions > histories, "{questions}");
    assert!(began.elapsed() < Duration::from_mins(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_histories_on_sqlite() {
    agree(1_000, 0, Database::sqlite).await;
}

/// Beside the others, on another core.
#[tokio::test(flavor = "multi_thread")]
async fn another_thousand_histories_on_sqlite() {
    agree(1_000, 1, Database::sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_histories_on_postgres() {
    agree(200, 2, Database::postgres).await;
}
