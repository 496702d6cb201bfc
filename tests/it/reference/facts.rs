//! What raw events say of each deployment, change and incident, by `docs/events.md` alone.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::Value;

use super::world::World;

/// (source, id).
pub type Key = (String, String);

pub struct Deployment {
    pub key: Key,
    pub service: String,
    /// As the source names the environment: versions follow each other within it.
    pub place: String,
    /// Its configured name.
    pub environment: String,
    pub tier: &'static str,
    pub version: Option<String>,
    pub commit: Option<String>,
    pub repository: Option<String>,
    pub kind: Option<String>,
    pub rolls_back: Option<Key>,
    pub outcome: String,
    pub started: Option<i64>,
    pub finished: Option<i64>,
    pub changes: Vec<Named>,
}

/// A change as a deployment names it.
pub struct Named {
    pub repository: String,
    pub sha: String,
    pub authored: Option<i64>,
    pub committed: Option<i64>,
}

pub struct Change {
    pub repository: String,
    pub sha: String,
    pub service: Option<String>,
    pub authored: Option<i64>,
    pub committed: Option<i64>,
    pub merged: Option<i64>,
    pub request: Option<Request>,
    pub merge: bool,
    pub paths: Vec<String>,
}

/// A pull request.
#[derive(Default)]
pub struct Request {
    pub first_commit: Option<i64>,
    pub opened: Option<i64>,
    pub reviewed: Option<i64>,
    pub merged: Option<i64>,
}

pub struct Incident {
    pub key: Key,
    pub services: Vec<String>,
    pub environment: Option<String>,
    pub started: i64,
    /// Nobody said when it began.
    pub start_unknown: bool,
    pub resolved: Option<i64>,
    pub withdrawn: bool,
    /// As events name them.
    pub named: Vec<Value>,
    /// As an operator named them: these and no others.
    pub corrected: Option<Vec<Value>>,
}

/// What an operator said of an incident's links; without deployments he took back what he said.
#[derive(Debug, Clone)]
pub struct Correction {
    pub at: i64,
    pub incident: Key,
    pub deployments: Option<Vec<Value>>,
}

fn micros(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros()
}

fn time(event: &Value) -> i64 {
    micros(event["time"].as_str().unwrap())
}

fn text(event: &Value, field: &str) -> Option<String> {
    event[field].as_str().map(str::to_owned)
}

fn required(event: &Value, field: &str) -> String {
    text(event, field).unwrap_or_else(|| panic!("{field} of {event}"))
}

fn key(event: &Value) -> Key {
    (required(event, "source"), required(event, "id"))
}

/// The facts of each thing, oldest first.
fn things<'a, K: Ord>(events: &[&'a Value], kind: &str, name: impl Fn(&Value) -> K) -> Vec<(K, Vec<&'a Value>)> {
    let mut things: BTreeMap<K, Vec<&Value>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["type"] == kind) {
        things.entry(name(event)).or_default().push(event);
    }
    for facts in things.values_mut() {
        // A deployment may be withdrawn with the time of what was wrong.
        facts.sort_by_key(|fact| (time(fact), fact["outcome"] == "withdrawn"));
    }
    things.into_iter().collect()
}

/// What the newest fact says that says it.
fn newest<'a>(facts: &[&'a Value], path: &str) -> Option<&'a Value> {
    facts.iter().rev().find_map(|fact| fact.pointer(path))
}

fn newest_text(facts: &[&Value], path: &str) -> Option<String> {
    newest(facts, path).map(|value| value.as_str().unwrap().to_owned())
}

fn newest_time(facts: &[&Value], path: &str) -> Option<i64> {
    newest(facts, path).map(|value| micros(value.as_str().unwrap()))
}

/// Everything that any fact lists.
fn all<'a>(facts: &[&'a Value], field: &str) -> Vec<&'a Value> {
    facts.iter().flat_map(|fact| fact[field].as_array().into_iter().flatten()).collect()
}

/// One id in one service and environment is one deployment, however many messages it has.
pub fn deployments(events: &[&Value]) -> Vec<Deployment> {
    let name = |event: &Value| (key(event), required(event, "service"), required(event, "environment"));
    let things = things(events, "deployment", name);
    let mut deployments: Vec<Deployment> = things.into_iter().map(|(name, facts)| deployment(name, &facts)).collect();
    // In order of their finish, else of their start.
    deployments
        .sort_by_key(|d| (d.finished.or(d.started), d.started, d.key.clone(), d.service.clone(), d.place.clone()));
    deployments
}

fn deployment((key, service, place): (Key, String, String), facts: &[&Value]) -> Deployment {
    let first_with = |outcome: &str| facts.iter().find(|fact| fact["outcome"] == outcome).map(|fact| time(fact));
    // What succeeded once did; else the last word on how it ended counts.
    let ended = |outcome: &String| outcome != "in_progress" && outcome != "withdrawn";
    let ends = || facts.iter().rev().map(|fact| required(fact, "outcome")).find(ended);
    let outcome = match first_with("succeeded") {
        Some(_) => "succeeded".to_owned(),
        None => ends().unwrap_or_else(|| "in_progress".to_owned()),
    };
    let last = facts.last().unwrap();
    let withdrawn = last["outcome"] == "withdrawn";
    let finished = if outcome == "in_progress" { withdrawn.then(|| time(last)) } else { first_with(&outcome) };
    let outcome = if withdrawn { "withdrawn".to_owned() } else { outcome };
    let repository = newest_text(facts, "/repository");
    let mut changes: Vec<Named> = Vec::new();
    for fact in facts {
        for named in all(&[fact], "changes") {
            let repository = text(named, "repository").unwrap_or_else(|| required(fact, "repository"));
            let sha = required(named, "sha");
            let (authored, committed) = (newest_time(&[named], "/authored_at"), newest_time(&[named], "/committed_at"));
            match changes.iter_mut().find(|known| known.repository == repository && known.sha == sha) {
                None => changes.push(Named { repository, sha, authored, committed }),
                Some(known) => {
                    known.authored = authored.or(known.authored);
                    known.committed = committed.or(known.committed);
                }
            }
        }
    }
    let (environment, tier) = World::environment(&place);
    Deployment {
        version: newest_text(facts, "/version"),
        commit: newest_text(facts, "/commit"),
        kind: newest_text(facts, "/kind"),
        rolls_back: newest(facts, "/rolls_back").map(|named| {
            let source = text(named, "source").unwrap_or_else(|| key.0.clone());
            (source, required(named, "id"))
        }),
        started: newest_time(facts, "/started_at").or_else(|| first_with("in_progress")),
        finished,
        environment: environment.to_owned(),
        key,
        service,
        place,
        tier,
        repository,
        outcome,
        changes,
    }
}

pub fn changes(events: &[&Value]) -> Vec<Change> {
    let things = things(events, "change", |event| (required(event, "repository"), required(event, "sha")));
    let change = |((repository, sha), facts): ((String, String), Vec<&Value>)| Change {
        repository,
        sha,
        service: newest_text(&facts, "/service"),
        authored: newest_time(&facts, "/authored_at"),
        committed: newest_time(&facts, "/committed_at"),
        merged: newest_time(&facts, "/merged_at"),
        request: newest(&facts, "/pull_request").map(|_| Request {
            first_commit: newest_time(&facts, "/pull_request/first_commit_at"),
            opened: newest_time(&facts, "/pull_request/opened_at"),
            reviewed: newest_time(&facts, "/pull_request/first_review_at"),
            merged: newest_time(&facts, "/pull_request/merged_at"),
        }),
        merge: facts.iter().any(|fact| fact["merge"] == true),
        paths: all(&facts, "paths").into_iter().map(|path| path.as_str().unwrap().to_owned()).collect(),
    };
    things.into_iter().map(change).collect()
}

pub fn incidents(events: &[&Value], corrections: &[Correction]) -> Vec<Incident> {
    let things = things(events, "incident", key);
    things.into_iter().map(|(key, facts)| incident(key, &facts, corrections)).collect()
}

fn incident(key: Key, facts: &[&Value], corrections: &[Correction]) -> Incident {
    let mut resolved = None;
    for fact in facts {
        match fact["status"].as_str().unwrap() {
            "opened" | "reopened" => resolved = None,
            "resolved" => resolved = resolved.or(Some(time(fact))),
            _ => {}
        }
    }
    let said = corrections.iter().filter(|said| said.incident == key).max_by_key(|said| said.at);
    let begun = newest_time(facts, "/started_at");
    Incident {
        services: services(facts),
        environment: newest_text(facts, "/environment"),
        started: begun.unwrap_or_else(|| time(facts[0])),
        start_unknown: begun.is_none() && facts.iter().all(|fact| fact["status"] != "opened"),
        resolved,
        withdrawn: facts.last().unwrap()["status"] == "withdrawn",
        named: all(facts, "deployments").into_iter().cloned().collect(),
        corrected: said.and_then(|said| said.deployments.clone()),
        key,
    }
}

/// What it affects, as the newest fact says that says anything of it.
fn services(facts: &[&Value]) -> Vec<String> {
    let says = |fact: &&&Value| fact["service"].is_string() || fact["services"].is_array();
    let newest = facts.iter().rev().find(says).map(|fact| [*fact]);
    let several = newest.iter().flat_map(|fact| all(fact, "services")).map(|name| name.as_str().unwrap().to_owned());
    newest.iter().filter_map(|fact| text(fact[0], "service")).chain(several).collect()
}
