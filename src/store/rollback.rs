//! Rollbacks and their steps: reading, and the writes of deciders and people. The writes of the
//! saga are in `saga.rs` beside it.

pub mod saga;

use std::collections::HashMap;

use diesel::dsl::count_star;
use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::conn::{batch, on_conn};
use super::schema::{deployment, rollback, rollback_step};
use super::{Conn, StoreError};
use crate::event::EntityKey;
use crate::rollback::plan::{Newer, NewerState};
use crate::rollback::policy::Decision;
use crate::rollback::situation::PastRollback;
use crate::rollback::state::{HistoryEntry, Rollback, RollbackState, Step, StepName, StepState};
use crate::time::Timestamp;

/// The source of the deployments that DevPulse records for its own rollbacks.
pub const SOURCE: &str = "devpulse/rollback";

diesel::allow_columns_to_appear_in_same_group_by_clause!(rollback::service, rollback::environment, rollback::state);

#[derive(Queryable, Selectable, Insertable, Clone)]
#[diesel(table_name = rollback)]
struct RollbackRow {
    id: String,
    service: String,
    environment: String,
    mode: String,
    state: String,
    deployment_source: String,
    deployment_id: String,
    from_version: Option<String>,
    to_version: Option<String>,
    summary: String,
    decision: String,
    history: String,
    fencing: i64,
    decided_at: i64,
    updated_at: i64,
    finished_at: Option<i64>,
}

#[derive(Queryable, Selectable, Insertable, Clone)]
#[diesel(table_name = rollback_step, treat_none_as_default_value = false)]
struct StepRow {
    rollback_id: String,
    step: String,
    position: i32,
    state: String,
    attempt: i32,
    idempotency_key: String,
    fencing: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    due_at: i64,
    request: Option<String>,
    response: Option<String>,
}

/// Journals a new rollback with its steps, inside the caller's transaction. False when there is one
/// for this deployment already, or one running in this place: then nothing was written.
///
/// # Errors
/// The database does not answer.
pub async fn insert(conn: &mut Conn, new: &Rollback, steps: &[Step]) -> Result<bool, StoreError> {
    let row = encode(new)?;
    let inserted = on_conn!(conn, |c| diesel::insert_into(rollback::table)
        .values(&row)
        .on_conflict_do_nothing()
        .execute(c)
        .await)?;
    if inserted == 0 {
        return Ok(false);
    }
    if steps.is_empty() {
        return Ok(true);
    }
    let rows = steps.iter().zip(1..).map(|(step, position)| encode_step(&new.id, step, position));
    let rows = rows.collect::<Result<Vec<StepRow>, StoreError>>()?;
    batch!(conn, execute, rows => diesel::insert_into(rollback_step::table).values(rows))?;
    Ok(true)
}

/// `None` when there is no such rollback.
///
/// # Errors
/// The database does not answer, or the row cannot be read.
pub async fn load(conn: &mut Conn, id: &str) -> Result<Option<(Rollback, Vec<Step>)>, StoreError> {
    let row: Option<RollbackRow> =
        on_conn!(conn, |c| rollback::table.find(id).select(RollbackRow::as_select()).first(c).await.optional())?;
    let Some(row) = row else { return Ok(None) };
    let steps: Vec<StepRow> = on_conn!(conn, |c| rollback_step::table
        .filter(rollback_step::rollback_id.eq(id))
        .order(rollback_step::position)
        .select(StepRow::as_select())
        .load(c)
        .await)?;
    let steps = steps.into_iter().map(decode_step).collect::<Result<_, _>>()?;
    Ok(Some((decode(row)?, steps)))
}

/// The rollbacks that the saga still has something to do for, oldest first.
///
/// # Errors
/// The database does not answer.
pub async fn unfinished(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(on_conn!(conn, |c| rollback::table
        .filter(rollback::finished_at.is_null())
        .order((rollback::decided_at, rollback::id))
        .select(rollback::id)
        .load(c)
        .await)?)
}

/// How many rollbacks of each service and environment are in each state.
///
/// # Errors
/// The database does not answer.
pub async fn counts(conn: &mut Conn) -> Result<Vec<(String, String, String, i64)>, StoreError> {
    Ok(on_conn!(conn, |c| rollback::table
        .group_by((rollback::service, rollback::environment, rollback::state))
        .select((rollback::service, rollback::environment, rollback::state, count_star()))
        .load(c)
        .await)?)
}

/// What a decision needs to know of earlier ones in the place: those decided or carried out since,
/// those in progress, and that of the deployment in question.
///
/// # Errors
/// The database does not answer, or a row cannot be read.
pub async fn past(
    conn: &mut Conn,
    place: (&str, &str),
    suspect: &EntityKey,
    since: Timestamp,
) -> Result<Vec<PastRollback>, StoreError> {
    let in_progress = [RollbackState::Proposed.as_str(), RollbackState::Running.as_str()];
    let rows: Vec<(String, String, String, String, i64)> = on_conn!(conn, |c| rollback::table
        .filter(rollback::service.eq(place.0))
        .filter(rollback::environment.eq(place.1))
        .filter(
            // Never before what it did last.
            rollback::updated_at
                .ge(since.micros())
                .or(rollback::state.eq_any(in_progress))
                .or(rollback::deployment_source.eq(&suspect.source).and(rollback::deployment_id.eq(&suspect.id)))
        )
        .select((
            rollback::id,
            rollback::deployment_source,
            rollback::deployment_id,
            rollback::state,
            rollback::decided_at
        ))
        .load(c)
        .await)?;
    let ids: Vec<&String> = rows.iter().map(|(id, ..)| id).collect();
    let begun: Vec<(String, Option<i64>)> = on_conn!(conn, |c| rollback_step::table
        .filter(rollback_step::rollback_id.eq_any(&ids))
        .filter(rollback_step::step.eq(StepName::Route.as_str()))
        .select((rollback_step::rollback_id, rollback_step::started_at))
        .load(c)
        .await)?;
    let begun: HashMap<String, Option<i64>> = begun.into_iter().collect();
    let past = |(id, source, deployment, state, decided_at): (String, String, String, String, i64)| {
        Ok(PastRollback {
            deployment: EntityKey { source, id: deployment },
            state: word(RollbackState::parse(&state), &state)?,
            acted_at: Timestamp::from_micros(begun.get(&id).copied().flatten().unwrap_or(decided_at)),
        })
    };
    rows.into_iter().map(past).collect()
}

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub service: Option<String>,
    pub environment: Option<String>,
    pub state: Option<RollbackState>,
}

/// One page, newest first, beginning after `after` = (decided at, id).
///
/// # Errors
/// The database does not answer, or a row cannot be read.
pub async fn page(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<&(Timestamp, String)>,
    limit: i64,
) -> Result<Vec<Rollback>, StoreError> {
    let rows: Vec<RollbackRow> = on_conn!(conn, |c| {
        let mut query = rollback::table.select(RollbackRow::as_select()).into_boxed();
        if let Some(service) = &filter.service {
            query = query.filter(rollback::service.eq(service));
        }
        if let Some(environment) = &filter.environment {
            query = query.filter(rollback::environment.eq(environment));
        }
        if let Some(state) = filter.state {
            query = query.filter(rollback::state.eq(state.as_str()));
        }
        if let Some((at, id)) = after {
            let at = at.micros();
            // No index finds where an OR begins; the bound before it is found.
            query = query.filter(rollback::decided_at.le(at));
            query = query.filter(rollback::decided_at.lt(at).or(rollback::decided_at.eq(at).and(rollback::id.lt(id))));
        }
        query.order((rollback::decided_at.desc(), rollback::id.desc())).limit(limit).load(c).await
    })?;
    rows.into_iter().map(decode).collect()
}

/// A deployment in the same place, after the one to be undone, that has not failed: one that
/// succeeded before one that is under way.
///
/// # Errors
/// The database does not answer.
pub async fn newer_deployment(conn: &mut Conn, of: &Rollback) -> Result<Option<Newer>, StoreError> {
    let undone = &of.deployment;
    let since: Option<i64> = on_conn!(conn, |c| deployment::table
        .filter(deployment::source.eq(&undone.source).and(deployment::id.eq(&undone.id)))
        .filter(deployment::service.eq(&of.service).and(deployment::environment.eq(&of.environment)))
        .select(max(deployment::sort_at))
        .first(c)
        .await)?;
    let Some(since) = since else { return Ok(None) };
    let newer: Option<(String, String, String)> = on_conn!(conn, |c| deployment::table
        .filter(deployment::service.eq(&of.service))
        .filter(deployment::environment.eq(&of.environment))
        .filter(deployment::sort_at.gt(since))
        .filter(deployment::outcome.eq_any(["in_progress", "succeeded"]))
        // The deployment that this very rollback was recorded as.
        .filter(diesel::dsl::not(deployment::source.eq(SOURCE).and(deployment::id.eq(&of.id))))
        .order((deployment::outcome.eq("succeeded").desc(), deployment::sort_at.desc()))
        .select((deployment::source, deployment::id, deployment::outcome))
        .first(c)
        .await
        .optional())?;
    Ok(newer.map(|(source, id, outcome)| {
        let state = if outcome == "succeeded" { NewerState::InPlace } else { NewerState::UnderWay };
        Newer { deployment: EntityKey { source, id }, state }
    }))
}

/// Moves a rollback from one of `from` to `to`, adding to its history; false when it is in none of
/// them any more. The row stays locked until the transaction ends.
///
/// # Errors
/// The database does not answer, or refuses: another rollback may be running in the place.
pub async fn change_state(
    conn: &mut Conn,
    known: &Rollback,
    from: &[RollbackState],
    to: RollbackState,
    entry: HistoryEntry,
) -> Result<bool, StoreError> {
    let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
    let at = entry.at.micros();
    let mut history = known.history.clone();
    history.push(entry);
    let history = text("history", &history)?;
    let changed = on_conn!(conn, |c| diesel::update(rollback::table.find(&known.id))
        .filter(rollback::state.eq_any(from))
        .filter(rollback::finished_at.is_null())
        .set((rollback::state.eq(to.as_str()), rollback::history.eq(history), rollback::updated_at.eq(at)))
        .execute(c)
        .await)?;
    Ok(changed == 1)
}

fn encode(value: &Rollback) -> Result<RollbackRow, StoreError> {
    let version = |release: Option<&crate::rollback::policy::Release>| release.map(|r| r.version.clone());
    Ok(RollbackRow {
        id: value.id.clone(),
        service: value.service.clone(),
        environment: value.environment.clone(),
        mode: value.mode.as_str().to_owned(),
        state: value.state.as_str().to_owned(),
        deployment_source: value.deployment.source.clone(),
        deployment_id: value.deployment.id.clone(),
        from_version: version(value.decision.from.as_ref()),
        to_version: version(value.decision.to.as_ref()),
        summary: value.decision.summary.clone(),
        decision: text("decision", &value.decision)?,
        history: text("history", &value.history)?,
        fencing: value.fencing,
        decided_at: value.decided_at.micros(),
        updated_at: value.updated_at.micros(),
        finished_at: value.finished_at.map(Timestamp::micros),
    })
}

fn decode(row: RollbackRow) -> Result<Rollback, StoreError> {
    let decision: Decision = parse("decision", &row.decision)?;
    let history: Vec<HistoryEntry> = parse("history", &row.history)?;
    Ok(Rollback {
        mode: decision.mode,
        state: word(RollbackState::parse(&row.state), &row.state)?,
        id: row.id,
        service: row.service,
        environment: row.environment,
        deployment: EntityKey { source: row.deployment_source, id: row.deployment_id },
        decision,
        history,
        fencing: row.fencing,
        decided_at: Timestamp::from_micros(row.decided_at),
        updated_at: Timestamp::from_micros(row.updated_at),
        finished_at: row.finished_at.map(Timestamp::from_micros),
    })
}

fn encode_step(rollback_id: &str, step: &Step, position: i32) -> Result<StepRow, StoreError> {
    let json = |value: &Option<serde_json::Value>| value.as_ref().map(|value| text("step", value)).transpose();
    Ok(StepRow {
        rollback_id: rollback_id.to_owned(),
        step: step.step.as_str().to_owned(),
        position,
        state: step.state.as_str().to_owned(),
        attempt: i32::try_from(step.attempt).unwrap_or(i32::MAX),
        idempotency_key: step.idempotency_key.clone(),
        fencing: step.fencing,
        started_at: step.started_at.map(Timestamp::micros),
        finished_at: step.finished_at.map(Timestamp::micros),
        due_at: step.due_at.micros(),
        request: json(&step.request)?,
        response: json(&step.response)?,
    })
}

fn decode_step(row: StepRow) -> Result<Step, StoreError> {
    let json = |value: Option<String>| value.map(|value| parse("step", &value)).transpose();
    Ok(Step {
        step: word(StepName::parse(&row.step), &row.step)?,
        state: word(StepState::parse(&row.state), &row.state)?,
        attempt: u32::try_from(row.attempt).unwrap_or(0),
        idempotency_key: row.idempotency_key,
        fencing: row.fencing,
        started_at: row.started_at.map(Timestamp::from_micros),
        finished_at: row.finished_at.map(Timestamp::from_micros),
        due_at: Timestamp::from_micros(row.due_at),
        request: json(row.request)?,
        response: json(row.response)?,
    })
}

fn word<T>(parsed: Option<T>, word: &str) -> Result<T, StoreError> {
    parsed.ok_or_else(|| StoreError::Decode { what: "state", source: format!("unknown word {word}").into() })
}

fn text<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Decode { what, source: error.into() })
}

fn parse<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Decode { what, source: error.into() })
}
