//! `devpulse rollback`: rollbacks of a running DevPulse, through its API.

use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::output::table;
use super::{Failure, Output, rollback_text};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List rollbacks, newest first
    List(Server),
    /// Show one with its evidence and its steps
    Show(One),
    /// Approve one that is proposed: it begins at once
    Approve(One),
    /// Withdraw one before traffic is touched, or close a failed or refused one
    Cancel(One),
}

/// Which DevPulse to talk to.
#[derive(Debug, Args)]
pub struct Server {
    /// Where DevPulse listens
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    server: Url,
    /// The API key; better given as a variable than on the command line
    #[arg(long, env = "DEVPULSE_KEY", hide_env_values = true)]
    key: Option<String>,
}

#[derive(Debug, Args)]
pub struct One {
    /// The rollback's id, as `devpulse rollback list` shows it
    id: String,
    #[command(flatten)]
    server: Server,
}

const COLUMNS: [&str; 7] = ["id", "state", "service", "environment", "from_version", "to_version", "summary"];

/// # Errors
/// The server cannot be reached, or refuses.
pub async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let (method, suffix, one) = match command {
        Command::List(server) => {
            let page = server.call(Method::GET, &[]).await?;
            return output.show(&page, || rows(&page));
        }
        Command::Show(one) => (Method::GET, None, one),
        Command::Approve(one) => (Method::POST, Some("approve"), one),
        Command::Cancel(one) => (Method::POST, Some("cancel"), one),
    };
    let mut path = vec![one.id.as_str()];
    path.extend(suffix);
    let answer = one.server.call(method, &path).await?;
    output.show(&answer, || rollback_text::page(&answer))
}

fn rows(page: &Value) -> String {
    let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let cell = |item: &Value, column: &str| match item.get(column) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let row = |item: &Value| COLUMNS.iter().map(|column| cell(item, column)).collect();
    table(&COLUMNS, &items.iter().map(row).collect::<Vec<_>>())
}

impl Server {
    /// Calls `/api/v1/rollbacks/…path`.
    async fn call(&self, method: Method, path: &[&str]) -> Result<Value, Failure> {
        let mut url = self.server.clone();
        let no_base = || {
            Failure::Refused(format!(
                "--server {} is not a URL of a server, such as http://127.0.0.1:8080",
                self.server
            ))
        };
        let segments = ["api", "v1", "rollbacks"].iter().chain(path);
        url.path_segments_mut().map_err(|()| no_base())?.pop_if_empty().extend(segments);
        let unreachable = |source| Failure::Server { server: self.server.to_string(), source };
        let mut request = reqwest::Client::new().request(method, url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body: Value = response.json().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        let detail = body.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
        let told = match (status, &self.key) {
            (StatusCode::UNAUTHORIZED, None) => "this server wants a key: give --key, or set DEVPULSE_KEY".to_owned(),
            (StatusCode::UNAUTHORIZED, Some(_)) => format!("{detail} (given by --key or DEVPULSE_KEY)"),
            (StatusCode::FORBIDDEN, _) => format!("{detail}, and give it by --key or DEVPULSE_KEY"),
            _ => detail.to_owned(),
        };
        Err(Failure::Refused(format!("{status}: {told}")))
    }
}
