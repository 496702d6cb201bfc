//! Metrics page.
