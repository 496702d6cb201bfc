//! Alerts and their groups: a transition is kept together with what must be told about it.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};

use super::conn::on_conn;
use super::schema::{alert, alert_group};
use super::{Conn, StoreError, outbox};
use crate::alert::message::group_labels;
use crate::alert::{Alert, Change, Event, Group, Kind, Observation, Snapshot, State, Transition, message, step};
use crate::config::Config;
use crate::config::model::{Receiver, Route};
use crate::time::Timestamp;

/// Who is told; without a route alerts are kept and shown, and nobody is told.
#[derive(Debug, Clone, Copy)]
pub struct Routing<'a> {
    pub route: Option<&'a Route>,
    pub receivers: &'a [Receiver],
}

impl<'a> Routing<'a> {
    pub const fn of(config: &'a Config) -> Self {
        Self { route: config.route.as_ref(), receivers: config.receivers.as_slice() }
    }
}

/// One step of the life cycle: loads the active alert, decides, keeps the change and its outbox
/// rows. All within the caller's transaction, whose commit is the point of no return; afterwards
/// wake the dispatcher (`Wake::dispatch`).
///
/// # Errors
/// The database does not answer; the transaction must be given up.
pub async fn observe(
    conn: &mut Conn,
    observation: &Observation,
    routing: Routing<'_>,
    now: Timestamp,
) -> Result<Transition, StoreError> {
    let known = active_of(conn, &observation.fingerprint).await?;
    let transition = step(known.as_ref(), observation, now);
    apply(conn, &transition, routing, now).await?;
    Ok(transition)
}

/// Keeps a transition that [`step`] decided, and its outbox rows, within the caller's transaction.
///
/// # Errors
/// The database does not answer; the transaction must be given up.
pub async fn apply(
    conn: &mut Conn,
    transition: &Transition,
    routing: Routing<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Transition::Changed(change, alert) = transition else { return Ok(()) };
    if *change == Change::Cancelled {
        on_conn!(conn, |c| diesel::delete(alert::table.find(&alert.id)).execute(c).await)?;
        return Ok(());
    }
    write(conn, alert).await?;
    let group = match change {
        Change::Fired => join_group(conn, alert, routing.route, now).await?,
        _ => group_of(conn, &alert.id).await?,
    };
    match group {
        Some(group) => tell(conn, *change, alert, group, routing.receivers, now).await,
        None => Ok(()),
    }
}

async fn tell(
    conn: &mut Conn,
    change: Change,
    subject: &Alert,
    mut group: Group,
    receivers: &[Receiver],
    now: Timestamp,
) -> Result<(), StoreError> {
    let alerts = in_group(conn, &group.id).await?;
    let is_over = alerts.iter().all(|alert| alert.state == State::Resolved);
    let Some(event) = Event::of(change, is_over) else { return Ok(()) };
    group.revision = group.revision.saturating_add(1);
    group.resolved_at = is_over.then_some(now);
    write_group(conn, &group).await?;
    let Some(receiver) = receivers.iter().find(|receiver| receiver.name == group.receiver) else {
        tracing::warn!(receiver = group.receiver, "nobody is told: the receiver is not configured any more");
        return Ok(());
    };
    let channels = message::channels(receiver, event);
    let snapshot = Snapshot::new(group, subject, alerts, now);
    outbox::enqueue(conn, &snapshot, event, &channels, now).await
}

/// The open group for the alert's labels, a new one when there is none; `None` without a route.
async fn join_group(
    conn: &mut Conn,
    alert: &Alert,
    route: Option<&Route>,
    now: Timestamp,
) -> Result<Option<Group>, StoreError> {
    let Some(route) = route else { return Ok(None) };
    let labels = group_labels(&route.group_by, alert);
    let key = encode(&labels)?;
    let open = on_conn!(conn, |c| alert_group::table
        .filter(alert_group::receiver.eq(&route.receiver))
        .filter(alert_group::key.eq(&key))
        .filter(alert_group::resolved_at.is_null())
        .select(GroupRow::as_select())
        .first(c)
        .await
        .optional())?;
    let group = if let Some(row) = open {
        row.decode()?
    } else {
        let id = group_id(&route.receiver, &key, now);
        let receiver = route.receiver.clone();
        let group = Group { id, receiver, labels, opened_at: now, resolved_at: None, revision: 0 };
        write_group(conn, &group).await?;
        group
    };
    on_conn!(conn, |c| diesel::update(alert::table.find(&alert.id))
        .set(alert::group_id.eq(&group.id))
        .execute(c)
        .await)?;
    Ok(Some(group))
}

fn group_id(receiver: &str, key: &str, opened_at: Timestamp) -> String {
    let mut digest = Sha256::new();
    digest.update(opened_at.micros().to_be_bytes());
    digest.update(receiver.as_bytes());
    digest.update([0]);
    digest.update(key.as_bytes());
    hex::encode(digest.finalize().get(..16).unwrap_or_default())
}

/// All alerts that are not over, by fingerprint: what a start of the program reads.
///
/// # Errors
/// The database does not answer.
pub async fn active(conn: &mut Conn) -> Result<HashMap<String, Alert>, StoreError> {
    let rows: Vec<String> =
        on_conn!(conn, |c| alert::table.filter(alert::resolved_at.is_null()).select(alert::detail).load(c).await)?;
    rows.iter().map(|detail| decode(detail).map(|alert: Alert| (alert.fingerprint.clone(), alert))).collect()
}

/// The active alert of one fingerprint.
///
/// # Errors
/// The database does not answer.
pub async fn active_of(conn: &mut Conn, fingerprint: &str) -> Result<Option<Alert>, StoreError> {
    let detail: Option<String> = on_conn!(conn, |c| alert::table
        .filter(alert::fingerprint.eq(fingerprint))
        .filter(alert::resolved_at.is_null())
        .select(alert::detail)
        .first(c)
        .await
        .optional())?;
    detail.as_deref().map(decode).transpose()
}

/// # Errors
/// The database does not answer.
pub async fn find(conn: &mut Conn, id: &str) -> Result<Option<Alert>, StoreError> {
    let detail: Option<String> =
        on_conn!(conn, |c| alert::table.find(id).select(alert::detail).first(c).await.optional())?;
    detail.as_deref().map(decode).transpose()
}

async fn in_group(conn: &mut Conn, group: &str) -> Result<Vec<Alert>, StoreError> {
    let rows: Vec<String> =
        on_conn!(conn, |c| alert::table.filter(alert::group_id.eq(group)).select(alert::detail).load(c).await)?;
    rows.iter().map(|detail| decode(detail)).collect()
}

/// The group an alert fired into; `None` while it is pending or when there was no route.
///
/// # Errors
/// The database does not answer.
pub async fn group_of(conn: &mut Conn, alert: &str) -> Result<Option<Group>, StoreError> {
    let row = on_conn!(conn, |c| alert_group::table
        .inner_join(alert::table)
        .filter(alert::id.eq(alert))
        .select(GroupRow::as_select())
        .first(c)
        .await
        .optional())?;
    row.map(GroupRow::decode).transpose()
}

/// What `GET /api/v1/alerts` can ask for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub state: Option<State>,
    pub service: Option<String>,
    pub environment: Option<String>,
    pub kind: Option<Kind>,
    pub before: Option<Position>,
}

/// Where a page ended. As text it is the cursor of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    started_at: i64,
    id: String,
}

impl Position {
    pub fn of(alert: &Alert) -> Self {
        Self { started_at: alert.started_at.micros(), id: alert.id.clone() }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (started_at, id) = text.split_once('.')?;
        Some(Self { started_at: started_at.parse().ok()?, id: id.to_owned() })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.started_at, self.id)
    }
}

/// The newest first, at most `limit`.
///
/// # Errors
/// The database does not answer.
pub async fn page(conn: &mut Conn, filter: &Filter, limit: usize) -> Result<Vec<Alert>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<String> = on_conn!(conn, |c| {
        let mut query = alert::table.select(alert::detail).into_boxed();
        if let Some(state) = filter.state {
            query = query.filter(alert::state.eq(state.as_str()));
        }
        if let Some(service) = &filter.service {
            query = query.filter(alert::service.eq(service));
        }
        if let Some(environment) = &filter.environment {
            query = query.filter(alert::environment.eq(environment));
        }
        if let Some(kind) = filter.kind {
            query = query.filter(alert::kind.eq(kind.as_str()));
        }
        if let Some(Position { started_at, id }) = &filter.before {
            let tie = alert::started_at.eq(started_at).and(alert::id.lt(id));
            // No index finds where an OR begins; the bound before it is found.
            query = query.filter(alert::started_at.le(started_at)).filter(alert::started_at.lt(started_at).or(tie));
        }
        query.order((alert::started_at.desc(), alert::id.desc())).limit(limit).load(c).await
    })?;
    rows.iter().map(|detail| decode(detail)).collect()
}

/// How many alerts are active, by (state, severity).
///
/// # Errors
/// The database does not answer.
pub async fn counts(conn: &mut Conn) -> Result<Vec<(String, String, i64)>, StoreError> {
    Ok(on_conn!(conn, |c| alert::table
        .filter(alert::resolved_at.is_null())
        .group_by((alert::state, alert::severity))
        .select((alert::state, alert::severity, diesel::dsl::count_star()))
        .load(c)
        .await)?)
}

async fn write(conn: &mut Conn, alert: &Alert) -> Result<(), StoreError> {
    let row = AlertRow::encode(alert)?;
    on_conn!(conn, |c| diesel::insert_into(alert::table)
        .values(&row)
        .on_conflict(alert::id)
        .do_update()
        .set(&row)
        .execute(c)
        .await)?;
    Ok(())
}

async fn write_group(conn: &mut Conn, group: &Group) -> Result<(), StoreError> {
    let row = GroupRow {
        id: group.id.clone(),
        key: encode(&group.labels)?,
        receiver: group.receiver.clone(),
        opened_at: group.opened_at.micros(),
        resolved_at: group.resolved_at.map(Timestamp::micros),
        revision: group.revision,
    };
    on_conn!(conn, |c| diesel::insert_into(alert_group::table)
        .values(&row)
        .on_conflict(alert_group::id)
        .do_update()
        .set((
            alert_group::resolved_at.eq(excluded(alert_group::resolved_at)),
            alert_group::revision.eq(excluded(alert_group::revision)),
        ))
        .execute(c)
        .await)?;
    Ok(())
}

/// The columns that queries need; `detail` is the whole alert. The group is set once, by joining.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = alert, treat_none_as_null = true)]
struct AlertRow {
    id: String,
    fingerprint: String,
    kind: &'static str,
    service: String,
    environment: String,
    severity: &'static str,
    state: &'static str,
    started_at: i64,
    fired_at: Option<i64>,
    resolved_at: Option<i64>,
    updated_at: i64,
    revision: i64,
    detail: String,
}

impl AlertRow {
    fn encode(alert: &Alert) -> Result<Self, StoreError> {
        Ok(Self {
            id: alert.id.clone(),
            fingerprint: alert.fingerprint.clone(),
            kind: alert.kind.as_str(),
            service: alert.service.clone(),
            environment: alert.environment.clone(),
            severity: crate::alert::lifecycle::severity_name(alert.severity),
            state: alert.state.as_str(),
            started_at: alert.started_at.micros(),
            fired_at: alert.fired_at.map(Timestamp::micros),
            resolved_at: alert.resolved_at.map(Timestamp::micros),
            updated_at: alert.updated_at.micros(),
            revision: alert.revision,
            detail: encode(alert)?,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = alert_group, treat_none_as_default_value = false)]
struct GroupRow {
    id: String,
    key: String,
    receiver: String,
    opened_at: i64,
    resolved_at: Option<i64>,
    revision: i64,
}

impl GroupRow {
    fn decode(self) -> Result<Group, StoreError> {
        Ok(Group {
            labels: decode(&self.key)?,
            id: self.id,
            receiver: self.receiver,
            opened_at: Timestamp::from_micros(self.opened_at),
            resolved_at: self.resolved_at.map(Timestamp::from_micros),
            revision: self.revision,
        })
    }
}

pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Decode { what: "alert", source: error.into() })
}

pub(super) fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Decode { what: "alert", source: error.into() })
}
