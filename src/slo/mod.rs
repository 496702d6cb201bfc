//! Objectives, error budgets and burn rates: pure arithmetic over (bad, total) counts in time buckets.
