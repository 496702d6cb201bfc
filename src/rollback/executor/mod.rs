//! Who moves traffic. Two real targets stand behind the trait.

pub mod haproxy;
pub mod webhook;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::policy::Release;
use crate::config::model;
use crate::time::Clock;

/// One rollback, as a target is asked for it. Every attempt has the same key and the same content.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub rollback_id: String,
    pub idempotency_key: String,
    pub service: String,
    pub environment: String,
    pub from: Release,
    pub to: Release,
    pub summary: String,
    pub evidence: Value,
}

/// What the target answered to the call.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Where to ask, for a target that works on it; journalled, never shown.
    pub poll_url: Option<String>,
    /// The answer, redacted, for the journal.
    pub response: Value,
}

/// What the target says of its own state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// It serves the target version.
    Switched,
    NotSwitched,
    /// It works on it.
    Working,
    /// It tried and failed.
    Failed(String),
    /// It cannot be asked; repeating the call with the same key is how to learn.
    Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorError {
    /// The call took no effect; it may succeed later.
    #[error("{reason}")]
    NotDone { reason: String, retry_after: Option<Duration> },
    /// The call may have taken effect.
    #[error("{0}")]
    Lost(String),
    /// The call took no effect and never will.
    #[error("{0}")]
    Refused(String),
}

pub trait Executor: Send + Sync {
    /// What will be sent, secrets redacted: written before the call.
    fn describe(&self, call: &Call) -> Value;

    /// Asks the target to serve `call.to`. Repeating it is harmless to a target that honours the
    /// idempotency key, or whose state is simply set.
    fn roll_back<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Accepted, ExecutorError>>;

    /// Reads the target's state, changing nothing. `poll_url` is that of the answer to the call,
    /// when an answer is known.
    fn read_back<'a>(
        &'a self,
        call: &'a Call,
        poll_url: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Observed, ExecutorError>>;
}

/// A configured executor that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the webhook's secret is not base64 after `whsec_`")]
    Secret,
    #[error("{0}: must be unix:/path/of/the/socket or tcp:host:port")]
    Socket(String),
    #[error("{0}: must not be empty or contain spaces, `;`, `\\`, quotes or control characters")]
    Argument(String),
    #[error("{0}: must be BACKEND/SERVER")]
    Server(String),
    #[error("{0}: must contain {{version}}")]
    Template(String),
    #[error("HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// The executor of one policy and how long its target may take.
#[derive(Clone)]
pub struct Route {
    pub executor: Arc<dyn Executor>,
    pub verify_timeout: Duration,
}

/// The executors by (service, environment).
#[derive(Clone, Default)]
pub struct Executors(HashMap<(String, String), Route>);

impl Executors {
    /// # Errors
    /// [`BuildError`]: an executor's configuration cannot work.
    pub fn of(config: &model::Rollback, clock: &Clock) -> Result<Self, BuildError> {
        let mut executors = Self::default();
        for policy in &config.policies {
            if let Some(executor) = &policy.executor {
                let route = Route { executor: build(executor, clock)?, verify_timeout: policy.verify_timeout };
                executors.insert(&policy.service, &policy.environment, route);
            }
        }
        Ok(executors)
    }

    pub fn insert(&mut self, service: &str, environment: &str, route: Route) {
        self.0.insert((service.to_owned(), environment.to_owned()), route);
    }

    /// Service and environment of each.
    pub fn places(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.keys()
    }

    pub fn get(&self, service: &str, environment: &str) -> Option<&Route> {
        self.0.get(&(service.to_owned(), environment.to_owned()))
    }
}

/// # Errors
/// [`BuildError`]: the configuration cannot work.
pub fn build(executor: &model::Executor, clock: &Clock) -> Result<Arc<dyn Executor>, BuildError> {
    Ok(match executor {
        model::Executor::Webhook(config) => Arc::new(webhook::WebhookExecutor::new(config, clock.clone())?),
        model::Executor::HaProxy(config) => Arc::new(haproxy::HaProxyExecutor::new(config)?),
    })
}
