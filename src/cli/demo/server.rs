//! The demo's server: this very binary as `devpulse serve`, on SQLite in a temporary folder.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::DemoError;
use super::api::Api;
use super::listener::SECRET;

const START: Duration = Duration::from_secs(20);

/// A running server; dropped, it is stopped and its data removed.
pub struct Server {
    process: Child,
    folder: Folder,
    api: Api,
}

impl Server {
    pub async fn start(port: u16, listener: u16) -> Result<Self, DemoError> {
        let folder = Folder::new()?;
        let port = free_port(port)?;
        std::fs::write(folder.path("devpulse.yaml"), configuration(&folder.0, port, listener))?;
        let log = File::create(folder.path("devpulse.log"))?;
        let process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("--config")
            .arg(folder.path("devpulse.yaml"))
            .env_remove("DEVPULSE_DATABASE_URL")
            .env_remove("DEVPULSE_SERVER_LISTEN")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut server = Self { process, folder, api: Api::new(format!("http://127.0.0.1:{port}"))? };
        server.become_ready().await?;
        Ok(server)
    }

    async fn become_ready(&mut self) -> Result<(), DemoError> {
        let deadline = Instant::now() + START;
        while !self.api.is_ready().await {
            if self.process.try_wait()?.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path("devpulse.log"))?;
                return Err(DemoError::Server { log });
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    pub fn url(&self) -> &str {
        self.api.url()
    }

    pub fn configuration(&self) -> PathBuf {
        self.folder.path("devpulse.yaml")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, std::io::Error> {
        let path = std::env::temp_dir().join(format!("devpulse-demo-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `wanted` when it is free, else any.
fn free_port(wanted: u16) -> Result<u16, std::io::Error> {
    let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).or_else(|_| any())?;
    Ok(listener.local_addr()?.port())
}

/// One fast pair of burn windows, since a demo has no hour to wait for the default ones.
fn configuration(folder: &Path, port: u16, listener: u16) -> String {
    let database = folder.join("devpulse.db").display().to_string();
    format!(
        r#"# What `devpulse demo` runs on.
server: {{listen: "127.0.0.1:{port}"}}
database: {{url: "sqlite://{database}"}}
teams: [{{name: shop}}]
services: [{{name: checkout, team: shop, repository: acme/checkout}}]
slos:
  - {{name: checkout-availability, service: checkout, environment: production, objective: 0.999, window: 30d,
     indicator: {{availability: {{}}}}}}
  - {{name: checkout-latency, service: checkout, environment: production, objective: 0.99, window: 30d,
     indicator: {{latency: {{threshold: 300ms}}}}}}
burn_alerts:
  - {{long: 2m, short: 10s, budget_share: 0.0001, severity: page}}
# Nor two minutes to see whether the trouble comes back.
alerts: {{keep_firing_for: 0s}}
receivers:
  - name: terminal
    webhook: {{url: "http://127.0.0.1:{listener}/alerts", secret: "{SECRET}"}}
route: {{receiver: terminal, group_by: [service]}}
rollback:
  policies:
    - service: checkout
      environment: production
      mode: automatic
      executor: {{webhook: {{url: "http://127.0.0.1:{listener}/rollback", secret: "{SECRET}"}}}}
"#
    )
}
