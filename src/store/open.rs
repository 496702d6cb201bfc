//! Opening the database from its URL, and bringing its tables up to date.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Pool;
use diesel::ConnectionError;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinError;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conn::SqliteAsync;
use super::{Store, StoreError, run_on};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// WAL with FULL: a commit is on disk before it is acknowledged, and readers never wait.
const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                            PRAGMA foreign_keys = ON; PRAGMA cache_size = -32000; PRAGMA temp_store = MEMORY;";

/// The mode of new files: keys' hashes and events are nobody else's business.
pub(super) const OWNER_ONLY: u32 = 0o600;
/// How long a request waits for a connection before it is told to come back later.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// How long the network may swallow what was sent before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(10);
/// The other side of it: a server that hears nothing from a DevPulse that is gone lets go of what it
/// held, the lease above all, in seconds rather than after the two hours that systems allow.
const POSTGRES_SETUP: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; \
                              SET tcp_keepalives_count = 3; SET idle_in_transaction_session_timeout = '30s';";

/// Opens `sqlite://PATH` or `postgres://…` and runs the pending migrations.
///
/// # Errors
/// The URL is of another kind, the database cannot be reached, or a migration fails.
pub async fn open(url: &str, connections: usize) -> Result<Store, StoreError> {
    let refused = |reason: &str| StoreError::Url { url: without_password(url), reason: reason.to_owned() };
    match url.split_once("://") {
        Some(("sqlite", "")) => Err(refused("the path of the file is missing: sqlite://PATH")),
        Some(("sqlite", path)) => open_sqlite(Path::new(path), connections).await,
        Some(("postgres" | "postgresql", _)) => open_postgres(url, connections).await,
        _ => Err(refused("must begin with sqlite:// or postgres://")),
    }
}

async fn open_sqlite(path: &Path, connections: usize) -> Result<Store, StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    keep_private(path)?;
    let url = path.to_string_lossy().into_owned();
    let mut harness = AsyncMigrationHarness::new(connect_sqlite(&url).await?);
    harness.run_pending_migrations(SQLITE).map_err(StoreError::Migration)?;
    let writer = harness.into_inner();
    let mut config = ManagerConfig::<SqliteAsync>::default();
    config.custom_setup = Box::new(|url| {
        let url = url.to_owned();
        async move { connect_sqlite(&url).await }.boxed()
    });
    let readers = pool(AsyncDieselConnectionManager::new_with_config(url, config), connections)?;
    Ok(Store::Sqlite { writer: Arc::new(Mutex::new(writer)), readers, path: path.into() })
}

/// Makes the file before SQLite does, for its owner only; SQLite gives `-wal` and `-shm` the same mode.
fn keep_private(path: &Path) -> std::io::Result<()> {
    // Names that SQLite does not take for a file's.
    let name = path.to_string_lossy();
    if name == ":memory:" || name.starts_with("file:") {
        return Ok(());
    }
    match std::fs::File::options().write(true).create_new(true).mode(OWNER_ONLY).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn connect_sqlite(path: &str) -> Result<SqliteAsync, ConnectionError> {
    let mut connection = SqliteAsync::establish(path).await?;
    connection.batch_execute(SQLITE_SETUP).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

async fn open_postgres(url: &str, connections: usize) -> Result<Store, StoreError> {
    if url.parse::<tokio_postgres::Config>().is_err() {
        // Why it cannot be read may quote a password.
        let reason = "must be postgres://USER:PASSWORD@HOST[:PORT]/DATABASE, special characters percent-encoded";
        return Err(StoreError::Url { url: without_password(url), reason: reason.to_owned() });
    }
    let mut harness = AsyncMigrationHarness::new(connect_postgres(url).await?);
    harness.run_pending_migrations(POSTGRES).map_err(StoreError::Migration)?;
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    config.recycling_method = RecyclingMethod::Fast;
    let runtime = Handle::current();
    let drivers = runtime.clone();
    config.custom_setup = Box::new(move |url| {
        let (drivers, url) = (drivers.clone(), url.to_owned());
        let stopping = |error: JoinError| Err(ConnectionError::BadConnection(error.to_string()));
        let connecting = async move { connect_postgres(&url).await };
        async move { run_on(&drivers, connecting).await.unwrap_or_else(stopping) }.boxed()
    });
    let pool = pool(AsyncDieselConnectionManager::new_with_config(url, config), connections)?;
    Ok(Store::Postgres { pool, runtime })
}

/// Connects with TLS when the server offers it (`sslmode=require` insists, as libpq has it).
pub(super) async fn connect_postgres(url: &str) -> Result<AsyncPgConnection, ConnectionError> {
    let bad = |error: tokio_postgres::Error| ConnectionError::BadConnection(describe(&error));
    let mut config: tokio_postgres::Config = url.parse().map_err(bad)?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(POOL_WAIT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE);
    }
    let connected = async {
        let (client, connection) = config.connect(MakeRustlsConnect::with_webpki_roots()).await.map_err(bad)?;
        let mut connection = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
        connection.batch_execute(POSTGRES_SETUP).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(connection)
    };
    // A server may accept and then say nothing.
    let silent = |_| Err(ConnectionError::BadConnection("the server accepts connections but does not answer".into()));
    tokio::time::timeout(SILENCE, connected).await.unwrap_or_else(silent)
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", describe(source)),
        None => error.to_string(),
    }
}

fn pool<M: deadpool::managed::Manager>(manager: M, connections: usize) -> Result<Pool<M>, StoreError> {
    Pool::builder(manager)
        .max_size(connections)
        .wait_timeout(Some(POOL_WAIT))
        .create_timeout(Some(POOL_WAIT))
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Connect(ConnectionError::BadConnection(error.to_string())))
}

/// The URL as it may be shown.
pub fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("…"));
            parsed.to_string()
        }
        Ok(_) => url.to_owned(),
        // Nobody knows what of it is a password.
        Err(_) if url.contains('@') => format!("{}://…", url.split("://").next().unwrap_or_default()),
        Err(_) => url.to_owned(),
    }
}
