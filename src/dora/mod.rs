//! Delivery metrics: pure functions from deployments, changes and incidents to numbers and explanations.
