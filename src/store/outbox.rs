//! What must still be told to somebody, and who is telling it.
//!
//! A row is `pending` until a dispatcher takes it (`sending`, with a lease), then `sent`, `dead`,
//! or pending again. Per group and channel there is at most one row waiting: a newer snapshot
//! supersedes an older one that nobody was told, and keeps the more important of both reasons, so
//! that no fire and no resolve is lost.

use std::time::Duration;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::alert::{decode, encode};
use super::conn::on_conn;
use super::schema::{channel_message, outbox};
use super::{Conn, StoreError};
use crate::alert::{Channel, Event, Snapshot};
use crate::time::Timestamp;

const PENDING: &str = "pending";
const SENDING: &str = "sending";
const SENT: &str = "sent";
const DEAD: &str = "dead";
const SUPERSEDED: &str = "superseded";
const UNSENT: [&str; 2] = [PENDING, SENDING];

/// Where messages go; each is served in order, one message at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    pub receiver: String,
    pub channel: Channel,
}

/// A row taken by this process until its lease ends.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Stable across retries: the key by which a receiver recognises a repetition.
    pub id: String,
    pub event: Event,
    pub snapshot: Snapshot,
    /// Counts from 1.
    pub attempt: i32,
    pub created_at: Timestamp,
    /// Somebody else took the row before and never said what became of it.
    pub outcome_unknown: bool,
}

/// Writes one row per channel; see the module for what happens to rows not yet sent.
///
/// # Errors
/// The database does not answer.
pub async fn enqueue(
    conn: &mut Conn,
    snapshot: &Snapshot,
    event: Event,
    channels: &[Channel],
    now: Timestamp,
) -> Result<(), StoreError> {
    let payload = encode(snapshot)?;
    for &channel in channels {
        let mut row = Row {
            id: uuid::Uuid::now_v7().to_string(),
            group_id: snapshot.group.id.clone(),
            receiver: snapshot.group.receiver.clone(),
            channel: channel.as_str().to_owned(),
            event: event.as_str().to_owned(),
            revision: snapshot.group.revision,
            payload: payload.clone(),
            state: PENDING.to_owned(),
            attempt: 0,
            created_at: now.micros(),
            due_at: now.micros(),
            sent_at: None,
            error: None,
        };
        for older in waiting(conn, &row).await? {
            row.take_over(&older);
            supersede(conn, &older.id).await?;
        }
        on_conn!(conn, |c| diesel::insert_into(outbox::table).values(&row).execute(c).await)?;
    }
    Ok(())
}

/// Rows of the same group and channel that wait to be sent.
async fn waiting(conn: &mut Conn, row: &Row) -> QueryResult<Vec<Row>> {
    on_conn!(conn, |c| outbox::table
        .filter(outbox::group_id.eq(&row.group_id))
        .filter(outbox::channel.eq(&row.channel))
        .filter(outbox::state.eq(PENDING))
        .filter(outbox::id.ne(&row.id))
        .select(Row::as_select())
        .load(c)
        .await)
}

async fn supersede(conn: &mut Conn, id: &str) -> QueryResult<usize> {
    on_conn!(conn, |c| diesel::update(outbox::table.find(id)).set(outbox::state.eq(SUPERSEDED)).execute(c).await)
}

/// Destinations with something due.
///
/// # Errors
/// The database does not answer.
pub async fn due_destinations(conn: &mut Conn, now: Timestamp) -> Result<Vec<Destination>, StoreError> {
    let rows: Vec<(String, String)> = on_conn!(conn, |c| outbox::table
        .filter(outbox::state.eq_any(UNSENT))
        .filter(outbox::due_at.le(now.micros()))
        .select((outbox::receiver, outbox::channel))
        .distinct()
        .load(c)
        .await)?;
    Ok(rows
        .into_iter()
        .filter_map(|(receiver, channel)| Some(Destination { receiver, channel: Channel::parse(&channel)? }))
        .collect())
}

/// When the next unsent row becomes due.
///
/// # Errors
/// The database does not answer.
pub async fn next_due(conn: &mut Conn, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let due: Option<i64> = on_conn!(conn, |c| outbox::table
        .filter(outbox::state.eq_any(UNSENT))
        .filter(outbox::due_at.gt(now.micros()))
        .select(diesel::dsl::min(outbox::due_at))
        .first(c)
        .await)?;
    Ok(due.map(Timestamp::from_micros))
}

/// Takes the oldest due row of a destination, unless an older one of the same group is still on
/// its way. The lease runs from `now`; when it ends, the row is due again.
///
/// # Errors
/// The database does not answer.
pub async fn claim(
    conn: &mut Conn,
    destination: &Destination,
    lease: Duration,
    now: Timestamp,
) -> Result<Option<Claimed>, StoreError> {
    let Some(row) = oldest_due(conn, destination, now).await? else { return Ok(None) };
    let attempt = row.attempt.saturating_add(1);
    let taken = on_conn!(conn, |c| diesel::update(outbox::table)
        .filter(outbox::id.eq(&row.id))
        .filter(outbox::state.eq(&row.state))
        .filter(outbox::attempt.eq(row.attempt))
        .set((outbox::state.eq(SENDING), outbox::attempt.eq(attempt), outbox::due_at.eq(now.plus(lease).micros())))
        .execute(c)
        .await)?;
    if taken == 0 {
        return Ok(None);
    }
    Ok(Some(Claimed {
        event: Event::parse(&row.event).unwrap_or(Event::Fired),
        snapshot: decode(&row.payload)?,
        attempt,
        created_at: Timestamp::from_micros(row.created_at),
        outcome_unknown: row.state == SENDING,
        id: row.id,
    }))
}

async fn oldest_due(conn: &mut Conn, destination: &Destination, now: Timestamp) -> QueryResult<Option<Row>> {
    on_conn!(conn, |c| {
        let older = diesel::alias!(outbox as older);
        let overtakes = older
            .filter(older.field(outbox::group_id).eq(outbox::group_id))
            .filter(older.field(outbox::channel).eq(outbox::channel))
            .filter(older.field(outbox::state).eq_any(UNSENT))
            .filter(older.field(outbox::revision).lt(outbox::revision));
        outbox::table
            .filter(outbox::receiver.eq(&destination.receiver))
            .filter(outbox::channel.eq(destination.channel.as_str()))
            .filter(outbox::state.eq_any(UNSENT))
            .filter(outbox::due_at.le(now.micros()))
            .filter(diesel::dsl::not(diesel::dsl::exists(overtakes)))
            .order((outbox::created_at, outbox::revision))
            .select(Row::as_select())
            .first(c)
            .await
            .optional()
    })
}

/// The row is told. `false`: the lease had ended and somebody else took it.
///
/// # Errors
/// The database does not answer.
pub async fn mark_sent(conn: &mut Conn, claimed: &Claimed, now: Timestamp) -> Result<bool, StoreError> {
    let changes = (outbox::state.eq(SENT), outbox::sent_at.eq(now.micros()), outbox::error.eq(None::<String>));
    let marked = on_conn!(conn, |c| diesel::update(outbox::table)
        .filter(outbox::id.eq(&claimed.id))
        .filter(outbox::state.eq(SENDING))
        .filter(outbox::attempt.eq(claimed.attempt))
        .set(changes)
        .execute(c)
        .await)?;
    Ok(marked == 1)
}

/// Given up, and kept for people to see.
///
/// # Errors
/// The database does not answer.
pub async fn mark_dead(conn: &mut Conn, claimed: &Claimed, error: &str) -> Result<(), StoreError> {
    on_conn!(conn, |c| diesel::update(outbox::table)
        .filter(outbox::id.eq(&claimed.id))
        .filter(outbox::state.eq(SENDING))
        .filter(outbox::attempt.eq(claimed.attempt))
        .set((outbox::state.eq(DEAD), outbox::error.eq(error)))
        .execute(c)
        .await)?;
    Ok(())
}

/// Not told: to be tried again at `due`. A newer snapshot that waits takes the row's place.
///
/// # Errors
/// The database does not answer.
pub async fn postpone(conn: &mut Conn, claimed: &Claimed, due: Timestamp, error: &str) -> Result<(), StoreError> {
    let postponed = on_conn!(conn, |c| diesel::update(outbox::table)
        .filter(outbox::id.eq(&claimed.id))
        .filter(outbox::state.eq(SENDING))
        .filter(outbox::attempt.eq(claimed.attempt))
        .set((outbox::state.eq(PENDING), outbox::due_at.eq(due.micros()), outbox::error.eq(error)))
        .returning(Row::as_returning())
        .get_result(c)
        .await
        .optional())?;
    let Some(row) = postponed else { return Ok(()) };
    for mut newer in waiting(conn, &row).await? {
        newer.take_over(&row);
        on_conn!(conn, |c| diesel::update(outbox::table.find(&newer.id))
            .set((
                outbox::event.eq(&newer.event),
                outbox::attempt.eq(newer.attempt),
                outbox::due_at.eq(newer.due_at),
                outbox::error.eq(&newer.error)
            ))
            .execute(c)
            .await)?;
        supersede(conn, &row.id).await?;
    }
    Ok(())
}

/// Where a group's message stands in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In the channel's own terms: a Slack channel and `ts`, a Message-ID.
    pub reference: String,
    pub first_revision: i64,
    pub revision: i64,
}

/// # Errors
/// The database does not answer.
pub async fn standing(conn: &mut Conn, group: &str, channel: Channel) -> Result<Option<Standing>, StoreError> {
    let row: Option<(String, i64, i64)> = on_conn!(conn, |c| channel_message::table
        .find((group, channel.as_str()))
        .select((channel_message::reference, channel_message::first_revision, channel_message::revision))
        .first(c)
        .await
        .optional())?;
    Ok(row.map(|(reference, first_revision, revision)| Standing { reference, first_revision, revision }))
}

/// # Errors
/// The database does not answer.
pub async fn put_standing(
    conn: &mut Conn,
    group: &str,
    channel: Channel,
    standing: &Standing,
) -> Result<(), StoreError> {
    let values = (
        channel_message::reference.eq(&standing.reference),
        channel_message::first_revision.eq(standing.first_revision),
        channel_message::revision.eq(standing.revision),
    );
    on_conn!(conn, |c| diesel::insert_into(channel_message::table)
        .values((channel_message::group_id.eq(group), channel_message::channel.eq(channel.as_str()), values))
        .on_conflict((channel_message::group_id, channel_message::channel))
        .do_update()
        .set(values)
        .execute(c)
        .await)?;
    Ok(())
}

/// One message to one channel, as people ask about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Delivery {
    pub id: String,
    pub receiver: String,
    pub channel: String,
    pub event: String,
    /// `pending`, `sending`, `sent`, `superseded` (a newer message took its place), `dead`.
    pub state: String,
    pub attempts: i32,
    pub created_at: Timestamp,
    /// When it is tried next; `None` when it never will be.
    pub due_at: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    /// What the last attempt met.
    pub error: Option<String>,
}

/// The messages of a group, the newest first, at most 200.
///
/// # Errors
/// The database does not answer.
pub async fn deliveries(conn: &mut Conn, group: &str) -> Result<Vec<Delivery>, StoreError> {
    let rows: Vec<Row> = on_conn!(conn, |c| outbox::table
        .filter(outbox::group_id.eq(group))
        .order((outbox::revision.desc(), outbox::channel))
        .limit(200)
        .select(Row::as_select())
        .load(c)
        .await)?;
    Ok(rows.into_iter().map(Row::delivery).collect())
}

/// Rows waiting, rows given up, and when the oldest waiting one was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    pub waiting: i64,
    pub dead: i64,
    pub oldest_due: Option<Timestamp>,
}

/// # Errors
/// The database does not answer.
pub async fn depth(conn: &mut Conn) -> Result<Depth, StoreError> {
    let (waiting, oldest): (i64, Option<i64>) = on_conn!(conn, |c| outbox::table
        .filter(outbox::state.eq_any(UNSENT))
        .select((diesel::dsl::count_star(), diesel::dsl::min(outbox::due_at)))
        .first(c)
        .await)?;
    let dead = on_conn!(conn, |c| outbox::table.filter(outbox::state.eq(DEAD)).count().get_result(c).await)?;
    Ok(Depth { waiting, dead, oldest_due: oldest.map(Timestamp::from_micros) })
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = outbox, treat_none_as_default_value = false)]
struct Row {
    id: String,
    group_id: String,
    receiver: String,
    channel: String,
    event: String,
    revision: i64,
    payload: String,
    state: String,
    attempt: i32,
    created_at: i64,
    due_at: i64,
    sent_at: Option<i64>,
    error: Option<String>,
}

impl Row {
    /// Stands in for an older row that nobody was told: its reason when that is the more
    /// important one, and the patience it has already learnt.
    fn take_over(&mut self, older: &Self) {
        if Event::parse(&older.event) > Event::parse(&self.event) {
            self.event.clone_from(&older.event);
        }
        if older.attempt > 0 {
            self.attempt = self.attempt.max(older.attempt);
            self.due_at = self.due_at.max(older.due_at);
            self.error.clone_from(&older.error);
        }
    }

    fn delivery(self) -> Delivery {
        let waits = UNSENT.contains(&self.state.as_str());
        Delivery {
            id: self.id,
            receiver: self.receiver,
            channel: self.channel,
            event: self.event,
            state: self.state,
            attempts: self.attempt,
            created_at: Timestamp::from_micros(self.created_at),
            due_at: waits.then(|| Timestamp::from_micros(self.due_at)),
            sent_at: self.sent_at.map(Timestamp::from_micros),
            error: self.error,
        }
    }
}
