//! `devpulse keys`: API keys, straight in the database.

use clap::Subcommand;
use serde::Serialize;

use super::output::table;
use super::{ConfigFile, Failure, Output};
use crate::http::auth::Scope;
use crate::http::keys::{self, BELIEVED_FOR};
use crate::store::key::{self, StoredKey};
use crate::store::{Store, StoreError};
use crate::time::{Clock, Timestamp};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a key and show it, once
    Create {
        /// What it is for, such as `ci/acme`
        #[arg(long)]
        name: String,
        /// What it may do; may be given several times or as a list
        #[arg(long = "scope", value_enum, required = true, value_delimiter = ',')]
        scopes: Vec<Scope>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List all keys, without their secrets
    List(ConfigFile),
    /// Revoke a key
    Revoke {
        /// The id: the part of the key between `dp_` and the second `_`
        id: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Serialize)]
struct View {
    id: String,
    name: String,
    scopes: Vec<String>,
    created_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

impl From<StoredKey> for View {
    fn from(key: StoredKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes.split(' ').map(str::to_owned).collect(),
            created_at: Timestamp::from_micros(key.created_at),
            revoked_at: key.revoked_at.map(Timestamp::from_micros),
        }
    }
}

/// # Errors
/// The configuration is wrong, the database does not answer, or the id is unknown.
pub async fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Create { name, mut scopes, config } => {
            scopes.sort_by_key(|scope| scope.as_str());
            scopes.dedup();
            create(&config.open_store().await?, &name, &scopes, output).await
        }
        Command::List(config) => list(&config.open_store().await?, output).await,
        Command::Revoke { id, config } => revoke(&config.open_store().await?, &id, output).await,
    }
}

async fn create(store: &Store, name: &str, scopes: &[Scope], output: Output) -> Result<(), Failure> {
    let new = keys::create(name, scopes, Clock::system().now())?;
    let insert = async {
        let mut tx = store.begin().await?;
        key::insert(&mut tx, &new.stored).await?;
        tx.commit().await
    };
    insert.await.map_err(Failure::database)?;
    in_force().await;
    let view = View::from(new.stored);
    let value = serde_json::json!({"key": new.text, "id": view.id, "name": view.name, "scopes": view.scopes});
    // Alone on its line, so that a script can take it as it is.
    output.show(&value, || new.text)
}

async fn list(store: &Store, output: Output) -> Result<(), Failure> {
    let all = async { key::all(&mut store.read().await?).await };
    let views: Vec<View> = all.await.map_err(Failure::database)?.into_iter().map(View::from).collect();
    output.show(&views, || {
        let row = |view: &View| {
            let revoked = view.revoked_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
            vec![view.id.clone(), view.name.clone(), view.scopes.join(","), view.created_at.to_string(), revoked]
        };
        table(&["id", "name", "scopes", "created", "revoked"], &views.iter().map(row).collect::<Vec<_>>())
    })
}

async fn revoke(store: &Store, id: &str, output: Output) -> Result<(), Failure> {
    let revoke = async {
        let mut tx = store.begin().await?;
        let revoked = key::revoke(&mut tx, id, Clock::system().now().micros()).await?;
        tx.commit().await?;
        Ok::<bool, StoreError>(revoked)
    };
    if !revoke.await.map_err(Failure::database)? {
        return Err(Failure::Refused(format!("no valid key has the id {id}; `devpulse keys list` shows all")));
    }
    in_force().await;
    output.show(&serde_json::json!({"revoked": id}), || format!("{id} is revoked"))
}

/// Waits until no running server believes what it read before the change: what this command says holds when it ends.
async fn in_force() {
    tokio::time::sleep(BELIEVED_FOR).await;
}
