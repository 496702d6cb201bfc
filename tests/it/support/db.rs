//! A fresh store per test, on both back ends.

use devpulse::store::{Conn, Store, open};
use diesel_async::SimpleAsyncConnection;

use super::database::Database;

/// A database with its schema, and a store on it.
pub struct TestDb {
    pub url: String,
    pub store: Store,
    _database: Database,
}

impl TestDb {
    pub async fn sqlite() -> Self {
        Self::on(Database::sqlite().await).await
    }

    pub async fn postgres() -> Self {
        Self::on(Database::postgres().await).await
    }

    async fn on(database: Database) -> Self {
        let store = open::open(&database.url, 4).await.unwrap();
        Self { url: database.url.clone(), store, _database: database }
    }
}

/// Writes each test twice: `name::sqlite` and `name::postgres`. The argument is a [`TestDb`], or a
/// [`Database`] for tests of the binary.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: $kind:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "small modules need little of it")]
            use super::*;
            #[allow(unused_imports, reason = "one of the two is the argument")]
            use crate::support::{database::Database, db::TestDb};

            $(#[$meta])*
            async fn body($db: $kind) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                body($kind::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                body($kind::postgres().await).await;
            }
        }
    )*};
}
pub(crate) use on_both;

pub async fn execute(store: &Store, sql: &str) {
    let mut tx = store.begin().await.unwrap();
    match &mut *tx {
        Conn::Postgres(c) => c.batch_execute(sql).await.unwrap(),
        Conn::SqliteWriter(c) => c.batch_execute(sql).await.unwrap(),
        Conn::SqliteReader(_) => unreachable!("transactions use the writer"),
    }
    tx.commit().await.unwrap();
}

/// Makes the database refuse rows of `table` for which `condition` (over `NEW`) holds.
pub async fn refuse(store: &Store, table: &str, event: &str, condition: &str) {
    let sql = match store {
        Store::Sqlite { .. } => format!(
            "CREATE TRIGGER refuse BEFORE {event} ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'poison'); END"
        ),
        Store::Postgres { .. } => format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'poison'; END $$; \
             CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
        ),
    };
    execute(store, &sql).await;
}

pub async fn refuse_no_more(store: &Store, table: &str) {
    let sql = match store {
        Store::Sqlite { .. } => "DROP TRIGGER refuse".to_owned(),
        Store::Postgres { .. } => format!("DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse()"),
    };
    execute(store, &sql).await;
}
