//! `devpulse import git`: tags, or the commits of a branch, as deployments of the past.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::sender::{Door, Sent};
use super::{Sender, Target, progress};
use crate::cli::Failure;
use crate::event::ChangeRef;
use crate::git::{Commit, END_OF_OPTIONS, Git, GitError, Limits, Wanted};

/// Commits that one message of a deployment may name.
const MAX_CHANGES: usize = 5_000;
const LIMITS: Limits = Limits { time: Duration::from_mins(10), bytes: 1 << 30 };

#[derive(Debug, Args)]
pub struct Options {
    /// The repository's folder
    path: PathBuf,
    /// What was deployed; the folder's name without it
    #[arg(long)]
    service: Option<String>,
    /// The repository's name, such as `acme/checkout`; that of its remote `origin` without it
    #[arg(long)]
    repository: Option<String>,
    #[arg(long, default_value = "production")]
    environment: String,
    /// What was a deployment: `tags=PATTERN`, or `branch=NAME` for every commit and merge on it
    #[arg(long, default_value = "tags=v*")]
    deployments: String,
    /// Only commits that touch these paths (git's pathspecs); for one service of many in a repository
    #[arg(long = "path")]
    paths: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// A point of the history that was deployed.
struct Point {
    name: String,
    commit: String,
    at: String,
}

/// # Errors
/// git does not run, there is nothing to import, or the server refuses.
pub async fn run(options: Options) -> Result<Sent, Failure> {
    let repository = Repository(Git::around(&options.path, LIMITS));
    let name = match &options.repository {
        Some(name) => name.clone(),
        None => repository.name().await?,
    };
    let service = options.service.clone().unwrap_or_else(|| name.rsplit('/').next().unwrap_or(&name).to_owned());
    let points = match options.deployments.split_once('=') {
        Some(("tags", pattern)) => repository.tags(pattern).await?,
        Some(("branch", branch)) => repository.branch(branch).await?,
        _ => return Err(Failure::Refused("--deployments is `tags=PATTERN` or `branch=NAME`".to_owned())),
    };
    if points.is_empty() {
        return Err(Failure::Refused(format!("{} names nothing in this repository", options.deployments)));
    }
    let bar = progress(points.len(), "deployments");
    let mut sender = Sender::new(&options.target.server, Door::Events);
    let mut before: Option<&Point> = None;
    for point in &points {
        let changes = match before {
            // What was there before the first deployment is not known.
            None => Vec::new(),
            Some(before) => repository.changes(&before.commit, &point.commit, &name, &options.paths).await?,
        };
        for changes in parts(&changes, MAX_CHANGES) {
            let event = json!({
                "type": "deployment", "source": format!("git/{name}"), "id": point.name, "time": point.at,
                "service": service, "environment": options.environment, "version": point.name, "commit": point.commit,
                "repository": name, "outcome": "succeeded", "changes": changes,
            });
            sender.send(point.name.clone(), &event).await?;
        }
        before = Some(point);
        bar.inc(1);
    }
    bar.finish_and_clear();
    sender.finish().await
}

/// Messages of one deployment are put together: what is too much for one is said in several.
fn parts<T>(changes: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    // A deployment without changes is a message too.
    changes.is_empty().then_some(changes).into_iter().chain(changes.chunks(most))
}

struct Repository<'a>(Git<'a>);

impl Repository<'_> {
    async fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.0.ask(arguments).await.map_err(|error| refused(&error))
    }

    /// `acme/checkout` of `git@host:acme/checkout.git`, else the name of the folder.
    async fn name(&self) -> Result<String, Failure> {
        if let Ok(url) = self.git(&["remote", "get-url", "origin"]).await
            && let Some(name) = name_of(&url)
        {
            return Ok(name);
        }
        let top = self.git(&["rev-parse", "--absolute-git-dir"]).await?;
        let folder = Path::new(top.trim().trim_end_matches("/.git")).file_name();
        Ok(folder
            .map_or_else(|| "repository".to_owned(), |name| name.to_string_lossy().trim_end_matches(".git").to_owned()))
    }

    /// Oldest first.
    async fn tags(&self, pattern: &str) -> Result<Vec<Point>, Failure> {
        let format = "--format=%(refname:short)%09%(objectname)%09%(*objectname)%09%(creatordate:iso-strict)";
        let refs = format!("refs/tags/{pattern}");
        let listed = self.git(&["for-each-ref", "--sort=creatordate", format, &refs]).await?;
        Ok(listed.lines().filter_map(tag).collect())
    }

    /// Every commit on the first-parent line of a branch, oldest first.
    async fn branch(&self, branch: &str) -> Result<Vec<Point>, Failure> {
        let listed = self
            .git(&["log", "--first-parent", "--reverse", "--format=%H%x09%cI", END_OF_OPTIONS, branch, "--"])
            .await?;
        let point = |line: &str| {
            let (commit, at) = line.split_once('\t')?;
            Some(Point { name: commit.chars().take(12).collect(), commit: commit.to_owned(), at: at.to_owned() })
        };
        Ok(listed.lines().filter_map(point).collect())
    }

    async fn changes(&self, from: &str, to: &str, name: &str, paths: &[String]) -> Result<Vec<ChangeRef>, Failure> {
        let wanted = Wanted { most: None, pathspecs: paths, paths: false };
        let commits = self.0.between(from, to, wanted).await.map_err(|error| refused(&error))?;
        let change = |commit: Commit| ChangeRef {
            repository: name.to_owned(),
            sha: commit.sha,
            authored_at: commit.authored_at,
            committed_at: commit.committed_at,
        };
        Ok(commits.into_iter().map(change).collect())
    }
}

fn refused(error: &GitError) -> Failure {
    Failure::Refused(error.to_string())
}

fn tag(line: &str) -> Option<Point> {
    let [name, object, peeled, at] = *line.split('\t').collect::<Vec<_>>() else { return None };
    let commit = if peeled.is_empty() { object } else { peeled };
    Some(Point { name: name.to_owned(), commit: commit.to_owned(), at: at.to_owned() })
}

fn name_of(url: &str) -> Option<String> {
    let path = url.trim().trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']);
    let (name, owner) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !owner.is_empty()).then(|| format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_lost_between_messages() {
        let split = |changes: &[u8]| parts(changes, 2).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(split(&[1, 2, 3, 4, 5]), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(split(&[1, 2]), [[1, 2]]);
        assert_eq!(split(&[]), [Vec::<u8>::new()]);
    }

    #[test]
    fn remotes_have_names() {
        for url in
            ["git@github.com:acme/checkout.git", "https://github.com/acme/checkout", "ssh://git@h:22/acme/checkout/"]
        {
            assert_eq!(name_of(url).as_deref(), Some("acme/checkout"), "{url}");
        }
    }
}
