//! A PostgreSQL server of a test's own, to be stopped and started at will.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::ports;

pub struct PrivatePostgres {
    folder: TempDir,
    port: u16,
    programs: PathBuf,
}

impl PrivatePostgres {
    pub fn start() -> Self {
        let started = Self { folder: tempfile::tempdir().unwrap(), port: ports::free(), programs: programs() };
        if is_root() {
            let own = Command::new("chown").arg("postgres").arg(started.folder.path()).status();
            assert!(own.unwrap().success(), "cannot give the folder to the user postgres");
        }
        started.run("initdb", &["-U", "postgres", "-A", "trust", "-N", "-D", &started.data()]);
        started.go();
        started
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// As a crash would: no goodbye to anyone, recovery from the log at the next start.
    pub fn stop(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    /// Starts the server (again) and waits until it takes connections.
    pub fn go(&self) {
        let folder = self.folder.path().display();
        let options = format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}", self.port);
        self.run("pg_ctl", &["-D", &self.data(), "-o", &options, "-l", &format!("{folder}/server.log"), "-w", "start"]);
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    /// PostgreSQL refuses to run as root.
    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let status =
            command.args(arguments).current_dir(self.folder.path()).stdout(std::process::Stdio::null()).status();
        assert!(status.unwrap().success(), "{command:?} failed");
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let running = Path::new(&self.data()).join("postmaster.pid").exists();
        if running {
            self.stop();
        }
    }
}

pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// Where Debian keeps the newest installed server's programs, else wherever PATH finds them.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.pop().unwrap_or_default()
}
