//! The `git` program, asked about clones on this machine.
//!
//! Names of commits come from outside: they follow `--end-of-options`, and what git may take in
//! time and answer in bytes is limited. It gets an environment of its own: no prompts, no hooks,
//! none of DevPulse's secrets.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, sink};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::time::{Timestamp, short};

/// What follows is no option of git's, whatever it begins with.
pub const END_OF_OPTIONS: &str = "--end-of-options";
/// Begins what is said of a commit; no path in a repository begins with it.
const COMMIT: char = '/';
/// Bytes that are kept of what git complains about.
const MAX_SAID: u64 = 2_000;
/// For what git has to take away before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// What git and the ssh it starts need of the environment; nothing else is handed on.
const INHERITED: [&str; 14] = [
    "PATH",
    "HOME",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// A clone's own configuration must not make git run other programs when it is read.
const HARMLESS: [&str; 6] =
    ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false"];

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git does not run: {0}")]
    Start(#[from] std::io::Error),
    #[error("git {asked}: {said}")]
    Refused { asked: String, said: String },
    #[error("git {asked} takes longer than {}", short(*.limit))]
    Slow { asked: String, limit: Duration },
    #[error("git {asked} answers with more than {limit} bytes")]
    Long { asked: String, limit: u64 },
}

/// What one call may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub time: Duration,
    pub bytes: u64,
}

/// A clone.
pub struct Git<'a> {
    place: Place<'a>,
    limits: Limits,
}

enum Place<'a> {
    /// The repository that a folder is in, as the person at the terminal would ask it.
    Around(&'a Path),
    /// This git directory and none above it, with nobody's settings but its own.
    Exactly { path: &'a Path, directory: PathBuf },
}

/// A commit with its times. Git dates what has no readable time to 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub sha: String,
    pub authored_at: Option<Timestamp>,
    pub committed_at: Option<Timestamp>,
    /// What it touched, where that was asked for; of a rename both names.
    pub paths: Vec<String>,
}

/// What is wanted of the commits between two.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// At most so many, newest first; all of them without it.
    pub most: Option<usize>,
    /// Only those that touch one of git's pathspecs; all of them without any.
    pub pathspecs: &'a [String],
    pub paths: bool,
}

/// The git directory of a clone, bare or with a work tree; `None` where there is none.
pub fn directory(path: &Path) -> Option<PathBuf> {
    let inside = path.join(".git");
    if inside.is_file() {
        // A work tree whose git directory is elsewhere: git follows what the file says.
        return Some(inside);
    }
    let is_git = |folder: &PathBuf| folder.join("HEAD").is_file() && folder.join("objects").is_dir();
    [inside, path.to_owned()].into_iter().find(is_git)
}

impl<'a> Git<'a> {
    pub const fn around(path: &'a Path, limits: Limits) -> Self {
        Self { place: Place::Around(path), limits }
    }

    /// `None` where there is no clone.
    pub fn exactly(path: &'a Path, limits: Limits) -> Option<Self> {
        Some(Self { place: Place::Exactly { path, directory: directory(path)? }, limits })
    }

    /// # Errors
    /// git does not run, refuses, or goes beyond its limits.
    pub async fn ask<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, GitError> {
        let command = match &self.place {
            Place::Around(path) => {
                let mut command = Command::new("git");
                command.arg("-C").arg(path);
                command
            }
            Place::Exactly { directory, .. } => {
                let mut command = alone();
                command.arg("--git-dir").arg(directory);
                command
            }
        };
        self.run(command, arguments).await
    }

    /// Brings the clone up to date with its own remote. Git does so only for a clone that belongs
    /// to whom DevPulse runs as: a clone's configuration says what a fetch runs.
    ///
    /// # Errors
    /// As of [`Self::ask`].
    pub async fn fetch(&self) -> Result<(), GitError> {
        let mut command = alone();
        let (Place::Around(path) | Place::Exactly { path, .. }) = &self.place;
        command.arg("-C").arg(path);
        // One byte a second, or it is given up.
        command.args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=30"]);
        let arguments = ["fetch", "--quiet", "--no-recurse-submodules", "--no-auto-maintenance"];
        self.run(command, &arguments).await.map(|_| ())
    }

    /// Whether its history was cut off somewhere, so that ranges cannot be trusted.
    ///
    /// # Errors
    /// As of [`Self::ask`].
    pub async fn is_shallow(&self) -> Result<bool, GitError> {
        Ok(self.ask(&["rev-parse", "--is-shallow-repository"]).await?.trim() == "true")
    }

    /// # Errors
    /// git does not run.
    pub async fn has_commit(&self, sha: &str) -> Result<bool, GitError> {
        let commit = format!("{sha}^{{commit}}");
        match self.ask(&["rev-parse", "--verify", "--quiet", END_OF_OPTIONS, &commit]).await {
            Ok(_) => Ok(true),
            Err(GitError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The commits that are reachable from `to` and not from `from`, without merge commits: those
    /// are not changes.
    ///
    /// # Errors
    /// As of [`Self::ask`]; git refuses commits that it does not have.
    pub async fn between(&self, from: &str, to: &str, wanted: Wanted<'_>) -> Result<Vec<Commit>, GitError> {
        let range = format!("{from}..{to}");
        let most = wanted.most.map(|most| format!("--max-count={most}"));
        let format = format!("--format={COMMIT}%H%x09%at%x09%ct");
        let mut arguments = vec!["log", "-z", "--no-merges", &format];
        arguments.extend(most.as_deref());
        if wanted.paths {
            arguments.extend(["--name-only", "--no-renames", "--no-ext-diff", "--no-textconv"]);
        }
        arguments.extend([END_OF_OPTIONS, &range, "--"]);
        arguments.extend(wanted.pathspecs.iter().map(String::as_str));
        Ok(commits(&self.ask(&arguments).await?))
    }

    async fn run<S: AsRef<OsStr>>(&self, mut command: Command, arguments: &[S]) -> Result<String, GitError> {
        let asked = || arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        command.args(arguments).env("GIT_TERMINAL_PROMPT", "0").kill_on_drop(true).process_group(0);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (answer, said) = (child.stdout.take(), child.stderr.take());
        let group = child.id();
        let work = async {
            let (answer, said) = tokio::join!(head_of(answer, self.limits.bytes), all_of(said));
            Ok::<_, std::io::Error>((answer?, said?, child.wait().await?))
        };
        let Ok(done) = timeout(self.limits.time, work).await else {
            end(group, &mut child).await;
            return Err(GitError::Slow { asked: asked(), limit: self.limits.time });
        };
        let (answer, said, status) = done?;
        let Some(answer) = answer else { return Err(GitError::Long { asked: asked(), limit: self.limits.bytes }) };
        if !status.success() {
            let said = without_names(String::from_utf8_lossy(&said).trim());
            return Err(GitError::Refused { asked: asked(), said });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Git with nobody's settings and without DevPulse's environment.
fn alone() -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .args(HARMLESS)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1");
    command
}

/// Ends git and whatever it started, such as ssh. Asked to end, it takes away what it has half written.
async fn end(group: Option<u32>, git: &mut Child) {
    let group = group.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    for signal in [Signal::TERM, Signal::KILL] {
        if group.is_none_or(|group| kill_process_group(group, signal).is_err())
            || timeout(GRACE, git.wait()).await.is_ok()
        {
            break;
        }
    }
    // What outlived git itself.
    group.map(|group| kill_process_group(group, Signal::KILL));
}

/// A remote's URL may hold a name and a password, which must not get into logs.
fn without_names(said: &str) -> String {
    let mut parts = said.split("//");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c == '/' || c == '\'' || c == '"' || c.is_whitespace()).unwrap_or(part.len());
        let (host, rest) = part.split_at(end);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        clean.extend(["//", host, rest]);
    }
    clean
}

/// `None` where there is more than `limit`; then git finds nobody that reads on, and ends.
async fn head_of(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(limit.saturating_add(1)).read_to_end(&mut bytes).await?;
    }
    Ok((u64::try_from(bytes.len()).is_ok_and(|length| length <= limit)).then_some(bytes))
}

/// The beginning of a stream, which is read to its end.
async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(MAX_SAID).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut stream, &mut sink()).await?;
    }
    Ok(bytes)
}

fn commits(text: &str) -> Vec<Commit> {
    let mut commits: Vec<Commit> = Vec::new();
    for part in text.split('\0') {
        if let Some(commit) = part.strip_prefix(COMMIT).and_then(commit) {
            commits.push(commit);
        } else if let (Some(commit), path) = (commits.last_mut(), part.strip_prefix('\n').unwrap_or(part))
            && !path.is_empty()
        {
            commit.paths.push(path.to_owned());
        }
    }
    commits
}

fn commit(line: &str) -> Option<Commit> {
    let mut parts = line.split('\t');
    let (sha, authored, committed) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Commit { sha: sha.to_owned(), authored_at: time(authored), committed_at: time(committed), paths: Vec::new() })
}

fn time(seconds: &str) -> Option<Timestamp> {
    let seconds: i64 = seconds.parse().ok().filter(|seconds| *seconds > 0)?;
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_told_from_paths() {
        let at = |seconds: i64| Some(Timestamp::from_micros(seconds * 1_000_000));
        let found = commits("/a1\t5\t6\0\nb/c\0\tweird\nname\0/b2\t0\t7\0/c3\tx\t8\0\nz\0");
        let commit = |sha: &str, authored_at, committed_at, paths: &[&str]| Commit {
            sha: sha.to_owned(),
            authored_at,
            committed_at,
            paths: paths.iter().map(ToString::to_string).collect(),
        };
        let expected = [
            commit("a1", at(5), at(6), &["b/c", "\tweird\nname"]),
            commit("b2", None, at(7), &[]),
            commit("c3", None, at(8), &["z"]),
        ];
        assert_eq!(found, expected);
        assert!(commits("").is_empty());
    }

    #[tokio::test]
    async fn what_takes_too_long_or_answers_too_much_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { time: Duration::from_secs(20), bytes: 5 };
        let long = Git::around(folder.path(), limits).ask(&["--version"]).await;
        assert!(matches!(long, Err(GitError::Long { limit: 5, .. })), "{long:?}");
        let hurry = Limits { time: Duration::from_millis(50), bytes: 5 };
        // Nobody else sleeps that long on this machine.
        let seconds = format!("300.{}", std::process::id());
        let wait = format!("alias.wait=!sleep {seconds}");
        let slow = Git::around(folder.path(), hurry).ask(&["-c", &wait, "wait"]).await;
        assert!(matches!(slow, Err(GitError::Slow { .. })), "{slow:?}");
        assert!(!runs(&format!("sleep\0{seconds}\0")), "what git started is ended with it");
        let wrong = Git::around(folder.path(), limits).ask(&["no-such-command"]).await.unwrap_err().to_string();
        assert!(wrong.starts_with("git no-such-command: git: 'no-such-command'"), "{wrong}");
    }

    fn runs(command: &str) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let ours = std::process::id().to_string();
        processes
            .filter(|process| process.file_name() != *ours)
            .any(|process| std::fs::read(process.path().join("cmdline")).is_ok_and(|line| line == command.as_bytes()))
    }

    #[test]
    fn names_and_passwords_of_remotes_are_not_told() {
        let said = "fatal: could not read Password for 'https://ghp_x@host.example': no\nhttps://a:b@c/d@e ssh://git@f";
        let clean = "fatal: could not read Password for 'https://host.example': no\nhttps://c/d@e ssh://f";
        assert_eq!(without_names(said), clean);
        assert_eq!(without_names("nothing to hide"), "nothing to hide");
    }

    #[tokio::test]
    async fn a_folder_inside_of_a_clone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { time: Duration::from_secs(20), bytes: 1_000 };
        Git::around(folder.path(), limits).ask(&["init", "-q"]).await.unwrap();
        let inside = folder.path().join("a");
        std::fs::create_dir(&inside).unwrap();
        assert!(Git::exactly(&inside, limits).is_none());
        assert!(!Git::exactly(folder.path(), limits).unwrap().is_shallow().await.unwrap());
    }
}
