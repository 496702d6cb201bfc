//! The real binary, `devpulse serve`, on a free port.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, Client, client};
use super::process::Process;
use super::{ports, wait};

/// How long a start may take: debug builds on a busy machine included.
const START: Duration = Duration::from_secs(30);

pub struct DevPulse {
    process: Process,
    folder: TempDir,
    database: String,
    port: u16,
    client: Client,
    bearer: Option<String>,
}

impl DevPulse {
    /// Starts DevPulse on the database at `url` with this configuration; its address and its
    /// database come from the environment. Returns when it is ready.
    pub async fn start(url: &str, configuration: &str) -> Self {
        let started = Self::spawn(url, configuration);
        started.ready().await;
        started
    }

    /// As [`DevPulse::start`], without waiting.
    pub fn spawn(url: &str, configuration: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ports::free());
        std::fs::write(folder.path().join("devpulse.yaml"), configuration).unwrap();
        let process = launch(folder.path(), url, port);
        Self { process, folder, database: url.to_owned(), port, client: client(), bearer: None }
    }

    pub async fn ready(&self) {
        let ready = self.url("/-/ready");
        wait::until("DevPulse to be ready", START, async || {
            self.client.get(&ready).send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the killed program again with the same configuration, port and database.
    pub async fn restart(&mut self) {
        self.process = launch(self.folder.path(), &self.database, self.port);
        self.ready().await;
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn configuration(&self) -> PathBuf {
        self.folder.path().join("devpulse.yaml")
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Every item of a list endpoint, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), String::new());
        let separator = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{next}")).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(cursor) => next = format!("{separator}cursor={cursor}"),
                None => return items,
            }
        }
    }

    /// From now on every request carries this key.
    pub fn use_key(&mut self, bearer: &str) {
        self.bearer = Some(bearer.to_owned());
    }

    /// Runs another command of the binary on the same configuration and database.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = command(self.folder.path(), &self.database, self.port);
        command.args(arguments).arg("--config").arg("devpulse.yaml").output().unwrap()
    }

    /// Runs a command of the binary that talks to this server, and gives what it prints.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let mut command = command(self.folder.path(), &self.database, self.port);
        let output = command.args(arguments).args(["--server", &self.url("/")]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let request = self.client.request(method.parse().unwrap(), self.url(path));
        match &self.bearer {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    /// GET, as JSON; panics unless the answer is a 2xx.
    pub async fn get(&self, path: &str) -> Value {
        self.send(self.request("GET", path)).await.ok()
    }

    /// GET, as text.
    pub async fn text(&self, path: &str) -> String {
        self.send(self.request("GET", path)).await.text
    }

    /// Posts one event or an array of them, each of which must be accepted or a duplicate.
    pub async fn post_events(&self, events: &Value) -> Value {
        let receipt = self.send(self.request("POST", "/api/v1/events").json(events)).await.ok();
        assert_eq!(receipt["invalid"], 0, "{receipt:#}");
        receipt
    }
}

fn command(folder: &Path, database: &str, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devpulse"));
    command.current_dir(folder);
    command.env("DEVPULSE_SERVER_LISTEN", format!("127.0.0.1:{port}")).env("DEVPULSE_DATABASE_URL", database);
    command
}

fn launch(folder: &Path, database: &str, port: u16) -> Process {
    let mut command = command(folder, database, port);
    command.args(["serve", "--config", "devpulse.yaml"]);
    Process::start("devpulse", &mut command, folder.join("devpulse.log"))
}
