//! A fresh database per test, on both back ends.
//!
//! PostgreSQL is the server at `DEVPULSE_TEST_POSTGRES_URL` (`make test` starts one of its own);
//! each test gets a database of its own there, dropped at the end. Without the variable the
//! PostgreSQL half of the suite fails rather than pass unseen.

use devpulse::store::{Store, open};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

/// A database that nothing has touched yet; the binary under test migrates it.
pub struct Database {
    pub url: String,
    _home: Home,
}

/// A database with its schema, and a store on it.
pub struct TestDb {
    pub url: String,
    pub store: Store,
    _database: Database,
}

enum Home {
    Folder(#[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir),
    Server { admin: String, name: String },
}

impl Database {
    #[expect(clippy::unused_async, reason = "the same shape for both back ends")]
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("devpulse.db").display());
        Self { url, _home: Home::Folder(folder) }
    }

    pub async fn postgres() -> Self {
        let (admin, name, url) = fresh_postgres().await;
        Self { url, _home: Home::Server { admin, name } }
    }
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

async fn fresh_postgres() -> (String, String, String) {
    let admin = std::env::var("DEVPULSE_TEST_POSTGRES_URL")
        .expect("DEVPULSE_TEST_POSTGRES_URL is not set: run the tests with `make test`");
    let name = format!("t_{}", uuid::Uuid::new_v4().simple());
    let mut server = AsyncPgConnection::establish(&admin).await.unwrap();
    server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let mut url = url::Url::parse(&admin).unwrap();
    url.set_path(&name);
    (admin, name, url.into())
}

impl Drop for Home {
    fn drop(&mut self) {
        let Self::Server { admin, name } = self else { return };
        let (admin, drop) = (admin.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        let cleanup = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut server) = AsyncPgConnection::establish(&admin).await {
                    let _ = server.batch_execute(&drop).await;
                }
            });
        });
        let _ = cleanup.join();
    }
}

/// Writes each test twice: `name::sqlite` and `name::postgres`. The argument is a [`TestDb`], or a
/// [`Database`] for tests of the binary.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: $kind:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "small modules need little of it")]
            use super::*;
            use crate::support::db::$kind;

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
