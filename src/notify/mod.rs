//! Telling people: Slack, e-mail and webhooks.
