//! Small histories made up at random: whatever sources may send, and then some.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::calendar::Calendar;
use super::figures::{Place, Question, Whose};
use super::world::{ENVIRONMENTS, Service, TEAMS};
use crate::support::random::Random;

pub const HOUR: i64 = 3_600_000_000;
pub const DAY: i64 = 24 * HOUR;
/// How long a history is.
const DAYS: i64 = 12;

pub fn micros(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros()
}

/// Days near which clocks are put forward or back in the zones of the teams, and the turn of a year.
pub fn start(random: &mut Random) -> i64 {
    let starts = ["2025-03-03", "2025-03-24", "2025-04-01", "2025-09-29", "2025-10-20", "2025-12-24"];
    micros(&format!("{}T00:00:00Z", one(random, &starts)))
}

fn one<T: Clone>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize].clone()
}

fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

fn maybe<T>(random: &mut Random, percent: u64, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
    chance(random, percent).then(|| make(random))
}

/// One history, with names that no other has.
pub struct Story {
    name: String,
    number: usize,
    start: i64,
    pub services: Vec<String>,
    pub configured: Vec<Service>,
    pub events: Vec<Value>,
    /// Every deployment's (source, id), service and place.
    deployments: Vec<(String, String, String, String)>,
    pub incidents: Vec<(String, String)>,
    /// Whether deployments say a version, and a commit.
    says: (bool, bool),
}

impl Story {
    pub fn new(number: usize, start: i64, random: &mut Random) -> Self {
        let name = format!("h{number}");
        let services: Vec<String> =
            ["a", "b", "c"].iter().take(2 + random.below(2) as usize).map(|of| format!("{name}-{of}")).collect();
        let mut story = Self {
            configured: Vec::new(),
            events: Vec::new(),
            deployments: Vec::new(),
            incidents: Vec::new(),
            says: one(random, &[(true, true), (true, true), (true, false), (false, true)]),
            name,
            number,
            start,
            services,
        };
        for service in story.services.clone() {
            story.configured.extend(maybe(random, 85, |random| story.service(service, random)));
        }
        for _ in 0..2 + random.below(8) {
            story.deploy(random);
        }
        for sha in 0..random.below(7) {
            story.change(sha, random);
        }
        for number in 0..random.below(4) {
            story.trouble(number, random);
        }
        story
    }

    fn service(&self, name: String, random: &mut Random) -> Service {
        let folders: &[&[&'static str]] = &[&[], &[], &["a/**"], &["b/**", "shared.txt"]];
        Service {
            team: maybe(random, 60, |random| one(random, &TEAMS).0),
            repository: maybe(random, 80, |random| self.repository(random)),
            paths: one(random, folders).to_vec(),
            name,
        }
    }

    fn repository(&self, random: &mut Random) -> String {
        format!("acme/{}{}", self.name, one(random, &["", "", "", "-b"]))
    }

    fn sha(&self, of: u64) -> String {
        format!("{of:x}{:07x}beef", self.number)
    }

    fn any_sha(&self, random: &mut Random) -> String {
        self.sha(random.below(7))
    }

    /// Many things happen at the same time, on the hour or the half of it.
    fn time(&self, random: &mut Random) -> i64 {
        let span = (DAYS * DAY) as u64;
        let at = random.below(span) as i64;
        self.start + if chance(random, 60) { at - at % (HOUR / 2) } else { at }
    }

    fn text(at: i64, random: &mut Random) -> Value {
        let at = DateTime::from_timestamp_micros(at).unwrap();
        let offset = chrono::FixedOffset::east_opt(one(random, &[0, 0, 7_200, -16_200])).unwrap();
        at.with_timezone(&offset).to_rfc3339_opts(SecondsFormat::Micros, true).into()
    }

    /// A time up to so many hours from another, mostly before it.
    fn near(at: i64, hours: i64, random: &mut Random) -> i64 {
        let away = random.below((hours * HOUR) as u64) as i64;
        if chance(random, 88) { at - away } else { at + away / 4 }
    }

    fn near_text(at: i64, hours: i64, random: &mut Random) -> Value {
        let near = Self::near(at, hours, random);
        Self::text(near, random)
    }

    /// Different times for all that is said of one thing.
    fn times(&self, n: u64, random: &mut Random) -> Vec<i64> {
        let mut times: Vec<i64> = (0..=n).map(|_| self.time(random)).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    fn tell(&mut self, fields: Value) {
        let mut event = fields;
        event.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.events.push(event);
    }

    fn deploy(&mut self, random: &mut Random) {
        let source = format!("{}/{}", self.name, one(random, &["ci", "ci", "ci", "cd"]));
        let id = format!("d{}", random.below(6));
        let service = one(random, &self.services);
        let raw = if chance(random, 55) { "production" } else { one(random, &ENVIRONMENTS).0 };
        let name = (source.clone(), id.clone(), service.clone(), raw.to_owned());
        if self.deployments.contains(&name) {
            return;
        }
        self.deployments.push(name);
        let anonymous = chance(random, 4);
        let at = self.time(random);
        for message in 0..=random.below(6).saturating_sub(3) {
            // The first message says what it is; later ones, which may be of earlier, correct it.
            let named = message == 0 && !anonymous;
            let correct = !anonymous && chance(random, 10);
            let version = (self.says.0 && (named || correct)).then(|| format!("v{}", random.below(4)));
            let commit = (self.says.1 && (named || correct)).then(|| self.any_sha(random));
            let time = if message == 0 { at } else { at + (random.below(40) as i64 - 12) * HOUR / 4 + message as i64 };
            let outcome = one(
                random,
                &[
                    "in_progress",
                    "succeeded",
                    "succeeded",
                    "succeeded",
                    "succeeded",
                    "succeeded",
                    "failed",
                    "cancelled",
                    "withdrawn",
                ],
            );
            let changes = maybe(random, 22, |random| {
                let changes = (0..=random.below(3)).map(|_| self.named_change(time, random));
                changes.collect::<Vec<_>>()
            });
            let rolls_back = maybe(random, 6, |random| {
                let (source, id, ..) = one(random, &self.deployments);
                if chance(random, 50) { json!({"source": source, "id": id}) } else { json!({"id": id}) }
            });
            self.tell(json!({
                "type": "deployment", "source": source, "id": id, "service": service, "environment": raw,
                "time": Self::text(time, random), "outcome": outcome, "version": version, "commit": commit,
                "kind": maybe(random, 20, |random| one(random, &["rollback", "hotfix", "hotfix", "planned"])),
                "started_at": maybe(random, 35, |random| Self::near_text(time, 4, random)),
                "repository": maybe(random, 12, |random| self.repository(random)),
                "changes": changes, "rolls_back": rolls_back,
            }));
        }
    }

    fn named_change(&self, time: i64, random: &mut Random) -> Value {
        let mut named = json!({
            "repository": self.repository(random), "sha": self.any_sha(random),
            "authored_at": maybe(random, 70, |random| Self::near_text(time, 72, random)),
            "committed_at": maybe(random, 30, |random| Self::near_text(time, 48, random)),
        });
        named.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        named
    }

    fn change(&mut self, sha: u64, random: &mut Random) {
        let (repository, at) = (self.repository(random), self.time(random));
        for (message, time) in self.times(random.below(2), random).into_iter().enumerate() {
            let paths = maybe(random, 50, |random| {
                let paths = ["a/x", "a/y/z", "b/x", "shared.txt", "README.md"];
                (0..=random.below(2)).map(|_| one(random, &paths)).collect::<Vec<_>>()
            });
            let mut request = json!({
                "number": 7,
                "first_commit_at": maybe(random, 60, |random| Self::near_text(at, 72, random)),
                "merged_at": maybe(random, 70, |random| Self::text(at, random)),
                "opened_at": maybe(random, 60, |random| Self::near_text(at, 48, random)),
                "first_review_at": maybe(random, 50, |random| Self::near_text(at, 24, random)),
            });
            request.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let authored = maybe(random, 75, |random| {
                if chance(random, 15) { Self::text(at - 5_000_000, random) } else { Self::near_text(at, 72, random) }
            });
            self.tell(json!({
                "type": "change", "source": one(random, &["git", "hub"]), "id": format!("{}-{message}", self.sha(sha)),
                "repository": repository, "sha": self.sha(sha), "time": Self::text(time, random),
                "authored_at": authored,
                "committed_at": maybe(random, 60, |random| Self::near_text(at, 24, random)),
                "merged_at": maybe(random, 50, |random| Self::text(at, random)),
                "service": maybe(random, 15, |random| {
                    if chance(random, 70) { one(random, &self.services) } else { self.name.clone() }
                }),
                "merge": chance(random, 10).then_some(true),
                "paths": paths,
                "pull_request": maybe(random, 40, |_| request),
            }));
        }
    }

    /// A deployment as an incident, or an operator, names it.
    pub fn reference(&self, random: &mut Random) -> Value {
        let (source, id, ..) = one(random, &self.deployments);
        match random.below(6) {
            0 => json!({"id": id}),
            1 => json!({"version": format!("v{}", random.below(4))}),
            2 => json!({"commit": self.any_sha(random)}),
            3 => json!({"commit": self.any_sha(random)[..8]}),
            _ => json!({"source": source, "id": id}),
        }
    }

    fn trouble(&mut self, number: u64, random: &mut Random) {
        let source = format!("{}/{}", self.name, one(random, &["pager", "pager", "ci"]));
        let id = format!("i{number}");
        self.incidents.push((source.clone(), id.clone()));
        let service = maybe(random, 80, |random| one(random, &self.services));
        let times = self.times(random.below(4), random);
        for (message, time) in times.into_iter().enumerate() {
            let life = ["opened", "resolved", "reopened", "resolved", "opened"];
            let status = if chance(random, 75) {
                life[message]
            } else {
                one(random, &["acknowledged", "resolved", "withdrawn", "reopened"])
            };
            let named =
                maybe(random, 22, |random| (0..=random.below(2)).map(|_| self.reference(random)).collect::<Vec<_>>());
            let several = maybe(random, 15, |random| {
                (0..=random.below(2)).map(|_| one(random, &self.services)).collect::<Vec<_>>()
            });
            self.tell(json!({
                "type": "incident", "source": source, "id": id, "time": Self::text(time, random), "status": status,
                "service": service.clone().filter(|_| chance(random, 80)), "services": several,
                "environment": maybe(random, 35, |random| one(random, &ENVIRONMENTS).0),
                "started_at": maybe(random, 12, |random| Self::near_text(time, 24, random)),
                "deployments": named,
            }));
        }
    }

    /// A question about this history, or, now and then, about what it shares with others.
    pub fn question(&self, random: &mut Random) -> Question {
        let whose = match random.below(30) {
            0 => Whose::Team(one(random, &TEAMS).0),
            _ => Whose::Service(one(random, &self.services)),
        };
        self.question_about(whose, random)
    }

    pub fn question_about(&self, whose: Whose, random: &mut Random) -> Question {
        let zone = maybe(random, 50, |random| {
            one(random, &["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
        });
        Question {
            whose,
            place: match random.below(10) {
                0 => Place::Tier(one(random, &["staging", "testing", "other", "production"])),
                1 | 2 => Place::Environment(one(random, &["production", "asia", "staging", "prod-eu", "qa"])),
                _ => Place::Production,
            },
            window: self.window(zone, random),
            zone,
            percentile: maybe(random, 50, |random| one(random, &["75", "90", "mean", "0", "100"])),
            lead_time_from: maybe(random, 40, |random| {
                one(random, &["authored", "committed", "merged", "first_commit_of_pull_request"])
            }),
            exclude_rollbacks: chance(random, 30),
            arrival_last: chance(random, 30),
            bucket: maybe(random, 8, |random| one(random, &["day", "week", "month"])),
        }
    }

    fn window(&self, zone: Option<&str>, random: &mut Random) -> (i64, i64) {
        let calendar = Calendar { zone: zone.unwrap_or("UTC").parse().unwrap(), first: 0 };
        let day = |random: &mut Random, days: i64| self.start + (random.below(days as u64) as i64 - 2) * DAY;
        match random.below(5) {
            // Everything, and a future that has not begun.
            0 => (self.start - 5 * DAY, self.start + 200 * DAY),
            // Whole days of the zone.
            1 | 2 => {
                let from = day(random, DAYS);
                let to = from + (1 + random.below(16) as i64) * DAY;
                (calendar.start(calendar.date(from)), calendar.start(calendar.date(to)))
            }
            3 => {
                let months = calendar.periods("month", (self.start, self.start + 40 * DAY));
                let first = calendar.periods("month", (months[1].0, months[1].1))[0].0;
                (calendar.start(calendar.date(first - 20 * DAY)), first)
            }
            _ => {
                let from = self.time(random) - 2 * DAY;
                (from, from + HOUR + random.below((10 * DAY) as u64) as i64)
            }
        }
    }
}
