//! When and how a bad deployment is rolled back.

use std::time::Duration;

use super::catalogue::reference;
use super::model::{Environment, Executor, HaProxy, HaProxySwitch, Mode, Policy, Rollback, Service, Slo};
use super::reader::{Scalar, Section};
use super::scalar::{duration, number, one_of, share, text, whole};
use super::telling::webhook;

const MODES: &[(&str, Mode)] =
    &[("off", Mode::Off), ("shadow", Mode::Shadow), ("approve", Mode::Approve), ("automatic", Mode::Automatic)];
const MINUTE: Duration = Duration::from_mins(1);
const HALF_HOUR: Duration = Duration::from_mins(30);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What policies may refer to.
pub(super) struct Known<'a> {
    pub services: &'a [Service],
    pub environments: &'a [Environment],
    pub slos: &'a [Slo],
}

pub(super) fn rollback(at: &Section<'_>, known: &Known<'_>) -> Rollback {
    let services: Vec<String> = known.services.iter().map(|service| service.name.clone()).collect();
    let environments: Vec<String> = known.environments.iter().map(|place| place.name.clone()).collect();
    let mut seen: Vec<(String, String)> = Vec::new();
    let policies = at.items("policies", |at| {
        let service = reference(at, "service", "services", &services);
        let environment = reference(at, "environment", "environments", &environments);
        let policy = policy(at, service, environment)?;
        let place = (policy.service.clone(), policy.environment.clone());
        if seen.contains(&place) {
            at.report("", at.place().clone(), "another policy has the same service and environment");
        }
        seen.push(place);
        let judged = |slo: &Slo| slo.service == policy.service && slo.environment == policy.environment;
        if policy.mode != Mode::Off && !known.slos.iter().any(judged) {
            let message = format!(
                "needs an SLO of {} in {}: without an objective nothing says what is bad",
                policy.service, policy.environment
            );
            at.report("", at.place().clone(), message);
        }
        Some(policy)
    });
    Rollback { policies }
}

fn policy(at: &Section<'_>, service: Option<String>, environment: Option<String>) -> Option<Policy> {
    let mode = at.found("mode", one_of(MODES));
    let positive = || number(|n| n > 0.0, "be a number above 0");
    let false_rollback_budget = at.or("false_rollback_budget", 1e-4, share());
    let bake_time = at.or("bake_time", HOUR, duration);
    let baseline_window = at.or("baseline_window", HOUR, duration);
    let material_burn = at.or("material_burn", 2.0, positive());
    let material_budget_share = at.or("material_budget_share", 0.02, share());
    let target_min_requests = at.or("target_min_requests", 100, whole(0));
    let cooldown = at.or("cooldown", HALF_HOUR, duration);
    let max_rollbacks = at.or("max_rollbacks", 3, whole(1));
    let max_rollbacks_window = at.or("max_rollbacks_window", DAY, duration);
    let approval_timeout = at.or("approval_timeout", HALF_HOUR, duration);
    let verify_timeout = at.or("verify_timeout", MINUTE, duration);
    let executor = at.inner("executor", executor);
    let mode = mode?;
    if matches!(mode.value, Mode::Approve | Mode::Automatic) && !at.has("executor") {
        at.report("mode", mode.place, "needs an `executor`: webhook or haproxy");
    }
    Some(Policy {
        service: service?,
        environment: environment?,
        mode: mode.value,
        false_rollback_budget,
        bake_time,
        baseline_window,
        material_burn,
        material_budget_share,
        target_min_requests,
        cooldown,
        max_rollbacks,
        max_rollbacks_window,
        approval_timeout,
        verify_timeout,
        executor,
    })
}

fn executor(at: &Section<'_>) -> Option<Executor> {
    let webhook = at.inner("webhook", webhook);
    let haproxy = at.inner("haproxy", haproxy);
    if at.has("webhook") == at.has("haproxy") {
        at.report("", at.place().clone(), "must have exactly one of webhook and haproxy");
    }
    webhook.map(Executor::Webhook).or(haproxy.map(Executor::HaProxy))
}

fn haproxy(at: &Section<'_>) -> Option<HaProxy> {
    let socket = at.required("socket", socket);
    let map = at.inner("map", |at| {
        let path = at.required("path", text);
        let key = at.required("key", text);
        let backend = at.required("backend", text);
        Some(HaProxySwitch::Map { path: path?, key: key?, backend: backend? })
    });
    let weight = at.inner("weight", |at| Some(HaProxySwitch::Weight { server: at.required("server", server)? }));
    let timeout = at.or("timeout", Duration::from_secs(5), duration);
    if at.has("map") == at.has("weight") {
        at.report("", at.place().clone(), "must have exactly one of map and weight");
    }
    Some(HaProxy { socket: socket?, switch: map.or(weight)?, timeout })
}

fn socket(scalar: &Scalar<'_>) -> Result<String, String> {
    let socket = text(scalar)?;
    let good = match socket.split_once(':') {
        Some(("unix", path)) => path.starts_with('/'),
        Some(("tcp", place)) => place
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)),
        _ => false,
    };
    if good { Ok(socket) } else { Err("must be unix:/PATH or tcp:HOST:PORT".to_owned()) }
}

fn server(scalar: &Scalar<'_>) -> Result<String, String> {
    let text = text(scalar)?;
    let wanted = "must be BACKEND/SERVER and contain {version}, which tells the good server from the bad one";
    if text.contains('/') && text.contains("{version}") { Ok(text) } else { Err(wanted.to_owned()) }
}
