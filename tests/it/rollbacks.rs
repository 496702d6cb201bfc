//! Rollbacks from the decision to the record: crashes everywhere, every failure, two leaders, and
//! the real targets.

mod failures;
mod haproxy;
mod http;
mod leaders;
mod people;
mod stage;
mod webhook;
