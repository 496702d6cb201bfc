//! A git repository of its own, made with the real git.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub struct Repository(TempDir);

impl Repository {
    /// Empty, on the branch `main`.
    pub fn new() -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        new.git(&["init", "-q", "-b", "main"], "2026-01-05T10:00:00Z");
        new
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs git at a time, and gives what it prints.
    #[track_caller]
    pub fn git(&self, arguments: &[&str], at: &str) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.path()).args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
        let output = command.env("GIT_AUTHOR_DATE", at).env("GIT_COMMITTER_DATE", at).output().unwrap();
        assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit that changes one file; its hash.
    pub fn commit(&self, file: &str, at: &str) -> String {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, at).unwrap();
        self.git(&["add", "."], at);
        self.git(&["commit", "-q", "-m", file], at);
        self.head()
    }

    /// So many commits on `main` at one moment, given in seconds since 1970, all of them at once.
    #[track_caller]
    pub fn commits(&self, n: usize, at: u64) {
        let head = self.head();
        let commit = |i| {
            let from = if i == 0 { format!("from {head}\n") } else { String::new() };
            format!("commit refs/heads/main\ncommitter a <a@example.com> {at} +0000\ndata 1\nx\n{from}\n")
        };
        let stream: String = (0..n).map(commit).collect();
        let mut command = Command::new("git");
        command.current_dir(self.path()).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
        let mut git = command.spawn().unwrap();
        git.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
        assert!(git.wait().unwrap().success());
    }

    /// A merge commit of a branch; its hash.
    pub fn merge(&self, branch: &str, at: &str) -> String {
        self.git(&["merge", "-q", "--no-ff", "-m", &format!("Merge {branch}"), branch], at);
        self.head()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"], "2026-01-05T10:00:00Z")
    }

    /// `git clone` with these options into a folder.
    pub fn clone_to(&self, folder: &Path, options: &[&str]) -> PathBuf {
        let path = folder.join("clone.git");
        let url = format!("file://{}", self.path().display());
        let clone = [&["clone", "-q"], options, &[&url, path.to_str().unwrap()]].concat();
        self.git(&clone, "2026-01-05T10:00:00Z");
        path
    }
}
