//! Locks between replicas, held until the transaction ends. SQLite's writer is alone anyway.

use diesel::sql_types::Integer;
use diesel_async::RunQueryDsl;

use super::Conn;
use super::conn::Side;

/// What one transaction at a time may do, on any replica.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lock {
    /// Adding facts and folding them: two replicas that told of the same deployment at the same
    /// moment would each fold without the other's fact.
    Facts,
    /// Adding journalled telemetry to the stored buckets.
    Materialise,
}

impl Lock {
    const fn key(self) -> i32 {
        match self {
            Self::Facts => 1,
            Self::Materialise => 2,
        }
    }

    pub async fn take(self, conn: &mut Conn) -> diesel::QueryResult<()> {
        if let Side::Postgres(c) = conn.side() {
            diesel::sql_query("SELECT pg_advisory_xact_lock(1, $1)").bind::<Integer, _>(self.key()).execute(c).await?;
        }
        Ok(())
    }
}
