//! A database that nothing has touched yet: a file in a temporary folder, or a database of its own
//! on the PostgreSQL server at `DEVPULSE_TEST_POSTGRES_URL` (`make test` starts one), dropped at the
//! end. Without the variable the PostgreSQL half of the suite fails rather than pass unseen.

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

pub struct Database {
    pub url: String,
    _home: Home,
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
        let admin = std::env::var("DEVPULSE_TEST_POSTGRES_URL")
            .expect("DEVPULSE_TEST_POSTGRES_URL is not set: run the tests with `make test`");
        let name = format!("t_{}", uuid::Uuid::new_v4().simple());
        let mut server = AsyncPgConnection::establish(&admin).await.unwrap();
        server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let mut url = url::Url::parse(&admin).unwrap();
        url.set_path(&name);
        Self { url: url.into(), _home: Home::Server { admin, name } }
    }
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
