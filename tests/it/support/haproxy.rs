//! Debian's HAProxy in front of the versions of a program; a map decides which one answers.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::versions::Version;
use super::{ports, wait};

pub struct HaProxy {
    _process: Process,
    folder: TempDir,
    pub port: u16,
}

impl HaProxy {
    /// Traffic goes to `versions[0]` at first; version X is the backend `be_X`.
    pub async fn start(versions: &[&Version]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ports::free());
        let path = folder.path().to_path_buf();
        std::fs::write(path.join("colors.map"), format!("color be_{}\n", versions[0].name)).unwrap();
        std::fs::write(path.join("haproxy.cfg"), configuration(&path, port, versions)).unwrap();
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(path.join("haproxy.cfg"));
        let process = Process::start("haproxy", &mut command, path.join("haproxy.log"));
        let started = Self { _process: process, folder, port };
        wait::until("HAProxy to answer on its socket", Duration::from_secs(10), async || started.try_ask("show info"))
            .await;
        started
    }

    pub fn socket(&self) -> String {
        format!("unix:{}", self.folder.path().join("admin.sock").display())
    }

    pub fn map(&self) -> String {
        self.folder.path().join("colors.map").display().to_string()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/pay", self.port)
    }

    /// The backend that the running HAProxy's map names now, asked at the socket.
    pub fn backend(&self) -> String {
        let entries = self.try_ask(&format!("show map {}", self.map())).unwrap();
        let entry = entries.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        entry.split_whitespace().last().unwrap_or_default().to_owned()
    }

    /// What a deployment does: sends the traffic to another backend.
    pub fn set(&self, backend: &str) {
        let answer = self.try_ask(&format!("set map {} color {backend}", self.map())).unwrap();
        assert_eq!(answer.trim(), "", "HAProxy refuses: {answer}");
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let mut socket = UnixStream::connect(self.folder.path().join("admin.sock")).ok()?;
        writeln!(socket, "{command}").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

fn configuration(folder: &Path, port: u16, versions: &[&Version]) -> String {
    let folder = folder.display();
    let mut text = format!(
        "global\n  stats socket {folder}/admin.sock mode 600 level admin\n\
         defaults\n  mode http\n  timeout connect 2s\n  timeout client 10s\n  timeout server 10s\n\
         frontend front\n  bind 127.0.0.1:{port}\n  use_backend %[str(color),map({folder}/colors.map)]\n"
    );
    for version in versions {
        let (name, port) = (&version.name, version.port);
        writeln!(text, "backend be_{name}\n  server one 127.0.0.1:{port}").unwrap();
    }
    text
}
