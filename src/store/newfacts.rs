//! Which facts came since one looked last, in whatever order their transactions ended.

use std::collections::BTreeSet;

use diesel::dsl::{count_star, max};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::conn::on_conn;
use super::schema::fact;
use super::{Conn, StoreError};
use crate::event::DeliveryEvent;

/// How far below the newest number a fact may still appear: PostgreSQL hands numbers out before
/// the transactions that use them end, and several replicas write at once.
const LATE: i64 = 4_096;
/// More new facts than this are not worth being looked at one by one.
const MANY: usize = 2_000;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watermark {
    /// `None` before the first look.
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Numbers up to this one are settled.
    floor: i64,
    above_floor: BTreeSet<i64>,
}

impl Watermark {
    /// The events that are new since the last look; `None` where everything may be new: at the
    /// first look, and after very many.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn advance(&mut self, conn: &mut Conn) -> Result<Option<Vec<DeliveryEvent>>, StoreError> {
        let Some(seen) = &self.seen else {
            let newest = || fact::table.select(max(fact::id));
            let newest: Option<i64> = on_conn!(conn, |c| newest().get_result(c).await)?;
            return self.look(conn, newest.map_or(i64::MIN, |newest| newest.saturating_sub(LATE))).await;
        };
        let query = || fact::table.filter(fact::id.gt(seen.floor)).select((count_star(), max(fact::id)));
        let (count, newest): (i64, Option<i64>) = on_conn!(conn, |c| query().get_result(c).await)?;
        let known = i64::try_from(seen.above_floor.len()).unwrap_or(i64::MAX);
        if count == known && newest == seen.above_floor.last().copied() {
            return Ok(Some(Vec::new()));
        }
        let floor = newest.map_or(seen.floor, |newest| seen.floor.max(newest.saturating_sub(LATE)));
        self.look(conn, floor).await
    }

    async fn look(&mut self, conn: &mut Conn, floor: i64) -> Result<Option<Vec<DeliveryEvent>>, StoreError> {
        let from = self.seen.as_ref().map_or(floor, |seen| seen.floor);
        let ids = || fact::table.filter(fact::id.gt(from)).select(fact::id).order(fact::id.desc()).limit(LATE * 2);
        let mut ids: Vec<i64> = on_conn!(conn, |c| ids().load(c).await)?;
        let full = i64::try_from(ids.len()).is_ok_and(|n| n == LATE * 2);
        let before = self.seen.take();
        let new: Option<Vec<i64>> = before
            .map(|seen| ids.iter().copied().filter(|id| !seen.above_floor.contains(id)).collect())
            .filter(|new: &Vec<i64>| !full && new.len() <= MANY);
        let events = match &new {
            Some(new) => events(conn, new).await?,
            None => None,
        };
        ids.retain(|id| *id > floor);
        self.seen = Some(Seen { floor, above_floor: ids.into_iter().collect() });
        Ok(events)
    }
}

/// `None` where one cannot be read: then nobody knows what it touches.
async fn events(conn: &mut Conn, ids: &[i64]) -> Result<Option<Vec<DeliveryEvent>>, StoreError> {
    let query = || fact::table.filter(fact::id.eq_any(ids)).select(fact::event).order(fact::id);
    let events: Vec<String> = on_conn!(conn, |c| query().load(c).await)?;
    Ok(events.iter().map(|event| serde_json::from_str(event).ok()).collect())
}
