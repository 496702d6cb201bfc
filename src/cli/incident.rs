//! `devpulse incident`: which deployments an incident belongs to, and a person's say in it.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::output::table;
use super::remote::{Server, cell};
use super::{Failure, Output};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the deployments an incident is linked to, how each is known, and every correction
    Links(One),
    /// Say which deployments it belongs to, and to no others; every number follows
    Link {
        #[command(flatten)]
        one: One,
        /// A deployment as `ID` or `ID@SOURCE`; may be given several times
        #[arg(long = "deployment", value_name = "ID[@SOURCE]")]
        deployments: Vec<String>,
        /// The newest deployment of this version
        #[arg(long = "version")]
        versions: Vec<String>,
        /// The newest deployment of this commit
        #[arg(long = "commit")]
        commits: Vec<String>,
        /// It belongs to no deployment
        #[arg(long, conflicts_with_all = ["deployments", "versions", "commits"])]
        none: bool,
        /// Why, for those who read it later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take the correction back: events and DevPulse's own conclusion count again
    Unlink(One),
}

#[derive(Debug, Args)]
pub struct One {
    /// The incident's id
    id: String,
    /// Its source, where several sources have an incident of this id
    #[arg(long)]
    source: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// # Errors
/// The server cannot be reached, or refuses.
pub async fn run(command: Command, output: Output) -> Result<(), Failure> {
    let (method, one, body) = match command {
        Command::Links(one) => (Method::GET, one, None),
        Command::Unlink(one) => (Method::DELETE, one, None),
        Command::Link { one, deployments, versions, commits, none, reason } => {
            let by_id = deployments.iter().map(|name| named(name));
            let by_version = versions.iter().map(|version| json!({"version": version}));
            let by_commit = commits.iter().map(|commit| json!({"commit": commit}));
            let named: Vec<Value> = by_id.chain(by_version).chain(by_commit).collect();
            if named.is_empty() && !none {
                let detail = "name the deployments with --deployment, --version or --commit, or say --none";
                return Err(Failure::Refused(detail.to_owned()));
            }
            (Method::PUT, one, Some(json!({"deployments": named, "reason": reason})))
        }
    };
    let (path, query) = (["incidents", &one.id, "links"], [("source", one.source.as_deref())]);
    let links = one.server.call(method, &path, &query, body.as_ref()).await?;
    output.show(&links, || page(&links))
}

fn named(name: &str) -> Value {
    match name.split_once('@') {
        Some((id, source)) => json!({"id": id, "source": source}),
        None => json!({"id": name}),
    }
}

fn page(links: &Value) -> String {
    let list = |name: &str| links.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = vec![format!("Incident {} of {}", cell(links, "/incident/id"), cell(links, "/incident/source"))];
    let columns = ["/deployment/id", "/deployment/source", "/deployment/version", "/deployment/environment", "/kind"];
    let rows: Vec<Vec<String>> =
        list("links").iter().map(|link| columns.map(|column| cell(link, column)).to_vec()).collect();
    if rows.is_empty() {
        lines.push("is linked to no deployment".to_owned());
        let why = ["/unlinked/reason", "/unlinked/fix"].map(|at| links.pointer(at).and_then(Value::as_str));
        lines.extend(why.into_iter().flatten().map(str::to_owned));
    } else {
        lines.push(table(&["deployment", "source", "version", "environment", "known by"], &rows));
    }
    for said in list("corrections") {
        let what = match said.get("deployments") {
            Some(Value::Array(named)) if named.is_empty() => "said that it belongs to no deployment".to_owned(),
            Some(Value::Array(named)) => {
                let names = ["/id", "/version", "/commit"];
                let name = |named: &Value| names.iter().map(|at| cell(named, at)).find(|name| name != "-");
                format!("linked it to {}", named.iter().filter_map(name).collect::<Vec<_>>().join(", "))
            }
            _ => "took the correction back".to_owned(),
        };
        let reason = said.get("reason").and_then(Value::as_str).map(|reason| format!(": {reason}"));
        let (at, actor) = (cell(&said, "/at"), cell(&said, "/actor"));
        lines.push(format!("{at}  {actor} {what}{}", reason.unwrap_or_default()));
    }
    lines.join("\n")
}
