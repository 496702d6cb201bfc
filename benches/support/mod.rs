//! What the benches share with the integration tests, and a small load generator.

#[path = "../../tests/it/support/database.rs"]
pub mod database;
#[path = "../../tests/it/support/devpulse.rs"]
pub mod devpulse;
pub mod history;
#[path = "../../tests/it/support/http.rs"]
pub mod http;
pub mod load;
#[path = "../../tests/it/support/ports.rs"]
pub mod ports;
#[path = "../../tests/it/support/process.rs"]
pub mod process;
#[path = "../../tests/it/support/wait.rs"]
pub mod wait;
#[path = "../../tests/it/support/webhook.rs"]
pub mod webhook;

use database::Database;

/// The back ends to measure: PostgreSQL only where `DEVPULSE_TEST_POSTGRES_URL` names a server.
pub async fn back_ends() -> Vec<(&'static str, Database)> {
    let mut found = vec![("SQLite", Database::sqlite().await)];
    if std::env::var_os("DEVPULSE_TEST_POSTGRES_URL").is_some() {
        found.push(("PostgreSQL", Database::postgres().await));
    } else {
        println!("PostgreSQL is left out: DEVPULSE_TEST_POSTGRES_URL is not set");
    }
    found
}

/// `runtime` runs what `main` is made of; actix and the clients share its threads.
pub fn run(main: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(main);
}
