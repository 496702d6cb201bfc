//! A case: what is configured, what arrives in which order, and what is asked in between. It runs
//! through the real handlers and a real database.

use std::fmt::Write;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use devpulse::http::auth::Scope;
use devpulse::time::{Clock, Timestamp};
use serde_json::{Value, json};

use super::facts::Correction;
use super::failures::History;
use super::figures::{Asked, Question, Whose};
use super::story::{Story, micros, start};
use super::world::{Service, TEAMS, World};
use crate::support::alerting::config;
use crate::support::app;
use crate::support::database::Database;
use crate::support::random::Random;

/// When questions are asked.
const NOW: &str = "2026-02-01T00:00:00Z";

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<Value>),
    /// An operator corrects links, or takes that back.
    Correct {
        incident: (String, String),
        deployments: Option<Vec<Value>>,
    },
    Ask(Question),
}

#[derive(Debug, Clone)]
pub struct Case {
    world: World,
    /// What answers may keep: all, a part, or nothing.
    memory_bytes: usize,
    steps: Vec<Step>,
}

/// A question to which two answers were given.
pub struct Wrong {
    question: Question,
    differences: Vec<String>,
}

/// How often events are sent and questions asked.
const ROUNDS: usize = 3;

impl Case {
    pub fn of(histories: usize, random: &mut Random) -> Self {
        let start = start(random);
        let stories: Vec<Story> = (0..histories).map(|number| Story::new(number, start, random)).collect();
        let services: Vec<Service> = stories.iter().flat_map(|story| story.configured.clone()).collect();
        let memory_bytes = [1 << 26, 1 << 26, 100_000, 10_000, 0][random.below(5) as usize];
        let attribution_hours = [24, 24, 6, 72][random.below(4) as usize];
        let mut steps = Vec::new();
        let arrivals = arrivals(&stories, random);
        for (round, events) in arrivals.chunks(arrivals.len().div_ceil(ROUNDS)).enumerate() {
            steps.push(Step::Send(events.to_vec()));
            for story in &stories {
                if random.below(4) == 0 && !story.incidents.is_empty() {
                    let incident = story.incidents[random.below(story.incidents.len() as u64) as usize].clone();
                    let named = (0..random.below(3)).map(|_| story.reference(random)).collect();
                    steps.push(Step::Correct { incident, deployments: (random.below(3) > 0).then_some(named) });
                }
            }
            for story in &stories {
                // In between only some are asked about, so that others have more to catch up with.
                for _ in 0..if round + 1 == ROUNDS { 2 } else { random.below(2) } {
                    steps.push(Step::Ask(story.question(random)));
                }
            }
            if round + 1 == ROUNDS || random.below(4) == 0 {
                for whose in [Whose::All, Whose::Team(TEAMS[round].0)] {
                    steps.push(Step::Ask(stories[0].question_about(whose, random)));
                }
            }
        }
        Self { world: World { services, attribution_hours }, memory_bytes, steps }
    }

    /// Answers how many questions were asked.
    pub async fn run(&self, url: &str) -> Result<usize, Box<Wrong>> {
        let store = devpulse::store::open::open(url, 2).await.unwrap();
        let now = micros(NOW);
        let clock = Clock::manual(Timestamp::from_micros(now));
        let mut config = config(&self.world.yaml());
        config.dora.memory_bytes = self.memory_bytes;
        let app = app::app(&store, config, clock.clone()).await;
        let call = app::serve(app.clone(), Scope::Admin, devpulse::http::routes::configure).await;
        let (mut sent, mut corrections): (Vec<&Value>, Vec<Correction>) = (Vec::new(), Vec::new());
        let (mut history, mut questions) = (None, 0);
        for step in &self.steps {
            if !matches!(step, Step::Ask(_)) {
                history = None;
            }
            match step {
                Step::Send(events) => {
                    let request = TestRequest::post().uri("/api/v1/events?receipt=summary").set_json(events);
                    let (status, receipt) = call(request).await;
                    assert_eq!((status, &receipt["invalid"]), (StatusCode::OK, &json!(0)), "{receipt:#}");
                    sent.extend(events);
                }
                Step::Correct { incident, deployments } => {
                    clock.advance(Duration::from_secs(1));
                    let path =
                        format!("/api/v1/incidents/{}/links?source={}", incident.1, incident.0.replace('/', "%2F"));
                    let request = match deployments {
                        Some(named) => TestRequest::put().uri(&path).set_json(json!({"deployments": named})),
                        None => TestRequest::delete().uri(&path),
                    };
                    // Refused: the incident, or a deployment, has not been heard of yet.
                    let (status, links) = call(request).await;
                    if status == StatusCode::OK {
                        // As it was kept: an id without its source was given the only one that has it.
                        let kept =
                            links["corrections"].as_array().and_then(|said| said.last()?["deployments"].as_array());
                        assert!(deployments.is_none() || kept.is_some(), "{links:#}");
                        corrections.push(Correction {
                            at: clock.now().micros(),
                            incident: incident.clone(),
                            deployments: deployments.as_ref().and(kept.cloned()),
                        });
                    }
                }
                Step::Ask(question) => {
                    let history = history.get_or_insert_with(|| History::of(&sent, &corrections, &self.world));
                    if let Whose::Service(name) = &question.whose
                        && !history.knows(name)
                    {
                        continue;
                    }
                    let expected = Asked::new(history, question, clock.now().micros()).answer();
                    let (status, actual) = call(TestRequest::get().uri(&question.path())).await;
                    assert_eq!(status, StatusCode::OK, "{} {actual:#}", question.path());
                    let mut differences = Vec::new();
                    differ("", &expected, &actual, &mut differences);
                    if !differences.is_empty() {
                        return Err(Box::new(Wrong { question: question.clone(), differences }));
                    }
                    questions += 1;
                }
            }
        }
        app.committer.stop();
        Ok(questions)
    }

    /// The same with as little as possible of what arrives, to be read by people.
    pub async fn smallest(mut self, wrong: Wrong) -> String {
        let Wrong { question, mut differences } = wrong;
        self.steps = self.steps.into_iter().flat_map(single).collect();
        let mut size = self.steps.len() / 2;
        while size > 0 {
            let mut from = 0;
            while from < self.steps.len() {
                let mut fewer = self.clone();
                fewer.steps.drain(from..(from + size).min(self.steps.len()));
                let asked =
                    Self { steps: [fewer.steps.as_slice(), &[Step::Ask(question.clone())]].concat(), ..fewer.clone() };
                match asked.run(&Database::sqlite().await.url).await {
                    Err(wrong) if wrong.question.path() == question.path() => {
                        (self, differences) = (fewer, wrong.differences);
                    }
                    _ => from += size,
                }
            }
            size /= 2;
        }
        let mut text = format!("{}\n{}\n", question.path(), differences.join("\n"));
        let told = format!("{:?}", self.steps);
        self.world.services.retain(|service| told.contains(&format!("{:?}", service.name)));
        text += &self.world.yaml();
        for step in &self.steps {
            match step {
                Step::Send(events) => events.iter().for_each(|event| writeln!(text, "{event}").unwrap()),
                other => writeln!(text, "{other:?}").unwrap(),
            }
        }
        text
    }
}

/// Every event of all stories in any order, a fifth of them twice.
fn arrivals(stories: &[Story], random: &mut Random) -> Vec<Value> {
    let mut events: Vec<(u64, Value)> = Vec::new();
    for event in stories.iter().flat_map(|story| &story.events) {
        events.push((random.next(), event.clone()));
        if random.below(5) == 0 {
            events.push((random.next(), event.clone()));
        }
    }
    events.sort_by_key(|(place, _)| *place);
    events.into_iter().map(|(_, event)| event).collect()
}

/// One step per event.
fn single(step: Step) -> Vec<Step> {
    match step {
        Step::Send(events) => events.into_iter().map(|event| Step::Send(vec![event])).collect(),
        other => vec![other],
    }
}

/// What is expected and not answered; what is `null` may also be missing.
fn differ(at: &str, expected: &Value, actual: &Value, differences: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) if at.ends_with("/excluded") => {
            if expected != actual {
                differences.push(format!("{at}: {expected:?} is expected, {actual:?} answered"));
            }
        }
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields {
                differ(&format!("{at}/{name}"), value, &actual[name], differences);
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (number, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                differ(&format!("{at}/{number}"), expected, actual, differences);
            }
        }
        _ => {
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
            let same = match (expected.as_f64(), actual.as_f64()) {
                (Some(a), Some(b)) => close(a, b),
                _ => expected == actual,
            };
            if !same {
                differences.push(format!("{at}: {expected} is expected, {actual} answered"));
            }
        }
    }
}
