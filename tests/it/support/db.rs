//! A fresh store per test, on both back ends.

use devpulse::store::{Store, open};

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
