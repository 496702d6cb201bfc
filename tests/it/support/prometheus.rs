//! A real Prometheus that scrapes one target every second.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, Client, client};
use super::process::Process;
use super::{ports, wait};

pub struct Prometheus {
    _process: Process,
    _folder: TempDir,
    port: u16,
    client: Client,
}

impl Prometheus {
    pub async fn start(target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, port) = (folder.path().to_path_buf(), ports::free());
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: devpulse, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        std::fs::write(path.join("prometheus.yml"), config).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", path.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", path.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &mut command, path.join("prometheus.log"));
        let started = Self { _process: process, _folder: folder, port, client: client() };
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        wait::until("Prometheus to be ready", Duration::from_secs(30), async || {
            started.client.get(&ready).send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        started
    }

    /// The samples of an instant query: labels and value of each series.
    pub async fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let base = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let url = url::Url::parse_with_params(&base, [("query", expression)]).unwrap();
        let answer = Answer::of(self.client.get(url).send().await.unwrap()).await.ok();
        let samples = answer["data"]["result"].as_array().unwrap();
        samples.iter().map(|s| (s["metric"].clone(), s["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }
}
