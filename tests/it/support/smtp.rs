//! A real SMTP server (`aiosmtpd`) with an inbox to look into.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{ports, wait};

pub struct Smtp {
    _process: Process,
    folder: TempDir,
    pub port: u16,
}

impl Smtp {
    /// Runs under `DEVPULSE_TEST_PYTHON` (a Python that has `aiosmtpd`), else `python3`.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, port) = (folder.path().to_path_buf(), ports::free());
        let program = path.join("inbox.py");
        std::fs::write(&program, include_str!("smtp_inbox.py")).unwrap();
        let python = std::env::var("DEVPULSE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut command = Command::new(python);
        command.arg(program).arg(port.to_string()).arg(path.join("inbox.jsonl"));
        let mut process = Process::start("smtp inbox", &mut command, path.join("smtp.log"));
        wait::until("the SMTP server to listen", Duration::from_secs(20), async || {
            assert!(process.exited().is_none(), "the SMTP server stopped: {}", process.log());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { _process: process, folder, port }
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Every message so far: `from`, `to`, `headers` (names in lower case), `parts` by content type.
    pub fn messages(&self) -> Vec<Value> {
        let inbox: PathBuf = self.folder.path().join("inbox.jsonl");
        let text = std::fs::read_to_string(inbox).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
