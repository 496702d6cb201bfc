//! A long history, made up: services that each deploy every few days, a repository each, some
//! changes with pull requests, some rollbacks, some incidents. Written as folded states straight
//! into the database: ten million events over HTTP would measure something else.

use std::collections::BTreeMap;

use devpulse::event::{
    Change, Deployment, DeploymentOutcome, EntityKey, Incident, IncidentStatus, Provenance, PullRequest,
};
use devpulse::store::schema::{change, deployment, incident};
use devpulse::store::{Conn, Store};
use devpulse::time::Timestamp;
use diesel::prelude::*;
use diesel_async::SimpleAsyncConnection;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// Rows of one statement.
const ROWS: usize = 2_000;

#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub services: usize,
    pub deployments_each: usize,
    pub changes_per_deployment: usize,
    pub days: i64,
}

impl Size {
    pub const fn deployments(self) -> usize {
        self.services * self.deployments_each
    }

    pub const fn changes(self) -> usize {
        self.deployments() * self.changes_per_deployment
    }
}

pub fn service(number: usize) -> String {
    format!("service-{number:04}")
}

/// Services in teams of twenty.
pub fn configuration(size: Size) -> String {
    let teams: String = (0..size.services.div_ceil(20)).map(|team| format!("  - {{name: team-{team}}}\n")).collect();
    let services: String = (0..size.services)
        .map(|n| format!("  - {{name: {}, team: team-{}, repository: acme/{}}}\n", service(n), n / 20, service(n)))
        .collect();
    format!("teams:\n{teams}services:\n{services}")
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: i64) -> i64 {
        // Knuth's MMIX generator; its high bits are good enough here.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % limit
    }
}

#[derive(Default)]
struct Rows {
    deployments: Vec<Deployment>,
    changes: Vec<Change>,
    incidents: Vec<Incident>,
}

/// Writes the history of `size` that ends at `end`; says how far it is.
pub async fn write(store: &Store, size: Size, end: Timestamp) {
    // What is made up can be made up again: it need not survive a crash.
    match &mut *store.begin().await.unwrap() {
        Conn::SqliteWriter(c) => c.batch_execute("ROLLBACK; PRAGMA synchronous = OFF; BEGIN").await.unwrap(),
        Conn::Postgres(_) | Conn::SqliteReader(_) => {}
    }
    for number in 0..size.services {
        let mut tx = store.begin().await.unwrap();
        if let Conn::Postgres(c) = &mut *tx {
            c.batch_execute("SET LOCAL synchronous_commit = off").await.unwrap();
        }
        insert(&mut tx, of_service(size, number, end)).await;
        tx.commit().await.unwrap();
        if (number + 1).is_multiple_of(200) {
            println!("  {} of {} services written", number + 1, size.services);
        }
    }
}

/// What PostgreSQL does by itself within minutes of such writes: it would fall into the measurement.
pub async fn settle(store: &Store) {
    if let Conn::Postgres(c) = &mut *store.begin().await.unwrap() {
        for statement in ["ROLLBACK", "VACUUM (ANALYZE)", "CHECKPOINT", "BEGIN"] {
            c.batch_execute(statement).await.unwrap();
        }
    }
}

fn of_service(size: Size, number: usize, end: Timestamp) -> Rows {
    let (service, mut dice) = (service(number), Dice(u64::try_from(number).unwrap() + 1));
    let repository = format!("acme/{service}");
    let mut rows = Rows::default();
    let apart = size.days * DAY / i64::try_from(size.deployments_each).unwrap();
    let start = end.micros() - size.days * DAY;
    let mut finish = start;
    for step in 0..size.deployments_each {
        let began = finish;
        finish = start + apart * i64::try_from(step + 1).unwrap() - 1 - dice.below(apart);
        for change in 0..size.changes_per_deployment {
            let merged = began
                + (finish - began) * i64::try_from(change + 1).unwrap()
                    / i64::try_from(size.changes_per_deployment + 1).unwrap();
            rows.changes.push(a_change(&repository, &service, (step, change), merged, &mut dice));
        }
        // One in a hundred goes back to the version before.
        let version = if step > 1 && dice.below(100) == 0 { step - 2 } else { step };
        let last = sha(&service, (step, size.changes_per_deployment - 1));
        rows.deployments.push(a_deployment(&service, step, version, last, finish, &mut dice));
        if dice.below(100) < 3 {
            rows.incidents.push(an_incident(&service, step, finish, &mut dice));
        }
    }
    rows
}

fn sha(service: &str, (step, change): (usize, usize)) -> String {
    use sha2::Digest;
    hex::encode(&sha2::Sha256::digest(format!("{service} {step} {change}"))[..20])
}

fn a_change(repository: &str, service: &str, name: (usize, usize), merged: i64, dice: &mut Dice) -> Change {
    let at = Timestamp::from_micros;
    let authored = merged - HOUR - dice.below(72 * HOUR);
    let opened = authored + (merged - authored) / 4;
    let request = name.1.is_multiple_of(2).then(|| PullRequest {
        number: u64::try_from(name.0 * 100 + name.1).unwrap(),
        opened_at: Some(at(opened)),
        first_commit_at: Some(at(authored)),
        first_review_at: Some(at(opened + (merged - opened) / 3)),
        merged_at: Some(at(merged)),
        ..PullRequest::default()
    });
    Change {
        repository: repository.to_owned(),
        sha: sha(service, name),
        service: None,
        authored_at: Some(at(authored)),
        committed_at: Some(at(authored)),
        merged_at: Some(at(merged)),
        pull_request: request,
        merge: false,
        paths: Vec::new(),
        push: None,
        partial: false,
    }
}

fn a_deployment(
    service: &str,
    step: usize,
    version: usize,
    commit: String,
    finish: i64,
    dice: &mut Dice,
) -> Deployment {
    Deployment {
        key: EntityKey { source: "ci".to_owned(), id: format!("{service}-{step}") },
        service: service.to_owned(),
        environment: "production".to_owned(),
        place: None,
        version: Some(format!("1.{version}")),
        commit: (version == step).then_some(commit),
        repository: None,
        outcome: if dice.below(50) == 0 { DeploymentOutcome::Failed } else { DeploymentOutcome::Succeeded },
        kind: None,
        started_at: Some(Timestamp::from_micros(finish - 300 * SECOND)),
        finished_at: Some(Timestamp::from_micros(finish)),
        url: None,
        schema: None,
        changes: Vec::new(),
        rolls_back: None,
        provenance: Provenance::default(),
        attributes: BTreeMap::new(),
    }
}

fn an_incident(service: &str, step: usize, deployed: i64, dice: &mut Dice) -> Incident {
    let began = deployed + dice.below(HOUR);
    Incident {
        key: EntityKey { source: "pager".to_owned(), id: format!("{service}-{step}") },
        service: Some(service.to_owned()),
        other_services: Vec::new(),
        environment: Some("production".to_owned()),
        place: None,
        status: IncidentStatus::Resolved,
        severity: None,
        title: None,
        url: None,
        started_at: Timestamp::from_micros(began),
        start_unknown: false,
        detected_at: None,
        acknowledged_at: None,
        resolved_at: Some(Timestamp::from_micros(began + 600 * SECOND + dice.below(2 * HOUR))),
        deployments: Vec::new(),
        correction: None,
        attributes: BTreeMap::new(),
    }
}

/// The same statement on either back end; SQLite's runs on a thread of its own.
macro_rules! insert {
    ($conn:expr, $table:expr, $rows:expr) => {
        for rows in $rows.chunks(ROWS) {
            match &mut *$conn {
                Conn::Postgres(c) => {
                    let statement = diesel::insert_into($table).values(rows);
                    diesel_async::RunQueryDsl::execute(statement, &mut **c).await.unwrap();
                }
                Conn::SqliteReader(_) => unreachable!("a transaction writes"),
                Conn::SqliteWriter(c) => {
                    let rows = rows.to_vec();
                    let written = c.spawn_blocking(move |c| {
                        diesel::RunQueryDsl::execute(diesel::insert_into($table).values(rows.as_slice()), c)
                    });
                    written.await.unwrap();
                }
            }
        }
    };
}

#[derive(Clone, Insertable)]
#[diesel(table_name = deployment, treat_none_as_default_value = false)]
struct DeploymentRow {
    source: String,
    id: String,
    service: String,
    environment: String,
    place: String,
    version: Option<String>,
    commit_sha: Option<String>,
    outcome: String,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    sort_at: i64,
    state: String,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = change, treat_none_as_default_value = false)]
struct ChangeRow {
    repository: String,
    sha: String,
    authored_at: Option<i64>,
    merged_at: Option<i64>,
    sort_at: i64,
    state: String,
}

#[derive(Clone, Insertable)]
#[diesel(table_name = incident, treat_none_as_default_value = false)]
struct IncidentRow {
    source: String,
    id: String,
    service: Option<String>,
    environment: Option<String>,
    status: String,
    started_at: i64,
    resolved_at: Option<i64>,
    state: String,
}

fn json(state: &impl serde::Serialize) -> String {
    serde_json::to_string(state).unwrap()
}

async fn insert(conn: &mut Conn, rows: Rows) {
    let micros = |at: Option<Timestamp>| at.map(Timestamp::micros);
    let changes: Vec<ChangeRow> = rows
        .changes
        .iter()
        .map(|change| ChangeRow {
            repository: change.repository.clone(),
            sha: change.sha.clone(),
            authored_at: micros(change.authored_at),
            merged_at: micros(change.merged_at),
            sort_at: micros(change.merged_at).unwrap(),
            state: json(change),
        })
        .collect();
    insert!(conn, change::table, changes);
    let deployments: Vec<DeploymentRow> = rows
        .deployments
        .iter()
        .map(|deployment| DeploymentRow {
            source: deployment.key.source.clone(),
            id: deployment.key.id.clone(),
            service: deployment.service.clone(),
            environment: deployment.environment.clone(),
            place: deployment.place().to_owned(),
            version: deployment.version.clone(),
            commit_sha: deployment.commit.clone(),
            outcome: if deployment.outcome == DeploymentOutcome::Failed { "failed" } else { "succeeded" }.to_owned(),
            started_at: micros(deployment.started_at),
            finished_at: micros(deployment.finished_at),
            sort_at: micros(deployment.finished_at).unwrap(),
            state: json(deployment),
        })
        .collect();
    insert!(conn, deployment::table, deployments);
    let incidents: Vec<IncidentRow> = rows
        .incidents
        .iter()
        .map(|incident| IncidentRow {
            source: incident.key.source.clone(),
            id: incident.key.id.clone(),
            service: incident.service.clone(),
            environment: incident.environment.clone(),
            status: "resolved".to_owned(),
            started_at: incident.started_at.micros(),
            resolved_at: micros(incident.resolved_at),
            state: json(incident),
        })
        .collect();
    insert!(conn, incident::table, incidents);
}
