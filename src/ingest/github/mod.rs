//! GitHub's webhooks.
