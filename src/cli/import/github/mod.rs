//! `devpulse import github`: deployments, pull requests, the main line and releases of the past.

mod payload;
mod progress;
mod rest;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::sender::{Door, Sent};
use super::{Sender, Target, progress as bar};
use crate::cli::Failure;
use crate::time::{Clock, Timestamp};
use payload::{Repository, text};
use progress::{Place, Progress};
use rest::Rest;

const PAGE: &str = "100";
/// What the bar says of each list.
const PAGES_OF: [(&str, &str); 4] = [
    ("commits", "pages of commits"),
    ("pulls", "pages of pull requests"),
    ("deployments", "pages of deployments"),
    ("releases", "pages of releases"),
];
/// Statuses follow a deployment for a while.
const STATUSES_LATE: Duration = Duration::from_secs(24 * 3_600);

#[derive(Debug, Args)]
pub struct Options {
    /// OWNER/NAME
    repository: String,
    /// GitHub's REST API; that of a GitHub Enterprise Server ends in /api/v3
    #[arg(long, default_value = "https://api.github.com")]
    api_url: Url,
    /// A token that may read the repository; better given as a variable than on the command line
    #[arg(long, env = "GITHUB_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// A file with the token; it goes before the variable
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Only what happened since, such as 2026-01-05T00:00:00Z; without it everything, or what is new since the last import
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Releases, too: deployments where `sources.github.releases` names their environment
    #[arg(long)]
    releases: bool,
    /// Where it is kept how far the import is; devpulse-import-OWNER-NAME.json without it
    #[arg(long)]
    state: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .map_err(|_| "must be an RFC 3339 time with an offset, such as 2026-01-05T00:00:00Z".to_owned())
}

impl Options {
    fn token(&self) -> Result<Option<SecretString>, Failure> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let read = std::fs::read_to_string(path);
        let token = read.map_err(|error| Failure::Refused(format!("{}: {error}", path.display())))?;
        Ok(Some(token.trim().into()))
    }
}

/// # Errors
/// GitHub or the server cannot be reached, or refuses.
pub async fn run(options: Options) -> Result<Sent, Failure> {
    let Some((owner, name)) = options.repository.split_once('/').filter(|(_, name)| !name.contains('/')) else {
        return Err(Failure::Refused(format!("`{}` is not OWNER/NAME", options.repository)));
    };
    let rest = Rest::new(options.api_url.clone(), options.token()?)?;
    let path = options.state.clone().unwrap_or_else(|| format!("devpulse-import-{owner}-{name}.json").into());
    let of = format!("{} {} to {}", options.api_url, options.repository, options.target.server.address());
    let progress = Progress::open(path, of, options.since, Clock::system().now())?;
    let sender = Sender::new(&options.target.server, Door::GitHub);
    let repository = Repository { name: options.repository.clone(), default_branch: String::new() };
    let mut import = Import { path: ["repos", owner, name], rest, progress, sender, repository, runs: BTreeMap::new() };
    import.introduce().await?;
    import.list("commits").await?;
    import.list("pulls").await?;
    import.list("deployments").await?;
    if options.releases {
        import.list("releases").await?;
    }
    let sent = import.sender.finish().await?;
    import.progress.finish(sent.refused.is_empty())?;
    Ok(sent)
}

struct Import<'a> {
    /// The repository's place in the API.
    path: [&'a str; 3],
    rest: Rest,
    progress: Progress,
    sender: Sender<'a>,
    repository: Repository,
    /// Workflow runs by their ids; `None` where GitHub has forgotten one.
    runs: BTreeMap<String, Option<Value>>,
}

impl Import<'_> {
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        self.rest.url(&[&self.path, path].concat(), query)
    }

    /// Learns the name that the repository has now, and its default branch.
    async fn introduce(&mut self) -> Result<(), Failure> {
        let body = self.rest.get(&self.url(&[], &[])?).await?.body;
        let (name, branch) = (text(Some(&body), "/full_name"), text(Some(&body), "/default_branch"));
        if name.is_empty() || branch.is_empty() {
            return Err(Failure::Refused(
                "GitHub does not name the repository's default branch: is --api-url right?".to_owned(),
            ));
        }
        self.repository = Repository { name: name.to_owned(), default_branch: branch.to_owned() };
        Ok(())
    }

    /// Sends a list page by page, from where it was interrupted.
    async fn list(&mut self, list: &'static str) -> Result<(), Failure> {
        let since = self.progress.running.since;
        let mut next = match self.progress.place(list) {
            Place::Done => return Ok(()),
            // What moves to the front of a list sorted by its last change would be missed.
            Place::Page(page) if since.is_none() || list != "pulls" => Url::parse(&page).ok(),
            Place::Page(_) | Place::Beginning => None,
        };
        if next.is_none() {
            next = Some(self.beginning(list, since)?);
        }
        self.rest.bar = bar(1, PAGES_OF.iter().find(|pages| pages.0 == list).map_or("pages", |pages| pages.1));
        while let Some(url) = next {
            let mut page = self.rest.get(&url).await?;
            if let Some(pages) = page.pages {
                self.rest.bar.set_length(pages);
            }
            next = page.next.take();
            let items = page.into_items();
            if items.last().is_some_and(|last| is_before(list, last, since)) {
                next = None;
            }
            self.send(list, &items, since).await?;
            self.sender.flush().await?;
            // What was refused is to be sent again once the reason is gone.
            if !self.sender.was_refused() {
                self.progress.note(list, next.as_ref().map(ToString::to_string))?;
            }
            self.rest.bar.inc(1);
        }
        self.rest.bar.finish_and_clear();
        Ok(())
    }

    fn beginning(&self, list: &str, since: Option<Timestamp>) -> Result<Url, Failure> {
        let after = since.map(|since| since.to_string());
        let mut query = vec![("per_page", PAGE)];
        match (list, &after) {
            ("commits", after) => {
                query.push(("sha", &self.repository.default_branch));
                query.extend(after.as_deref().map(|after| ("since", after)));
            }
            // Pages that stay as they are while the import goes on.
            ("pulls", None) => query.extend([("state", "all"), ("sort", "created"), ("direction", "asc")]),
            ("pulls", Some(_)) => query.extend([("state", "all"), ("sort", "updated"), ("direction", "desc")]),
            _ => {}
        }
        self.url(&[list], &query)
    }

    async fn send(&mut self, list: &str, items: &[Value], since: Option<Timestamp>) -> Result<(), Failure> {
        if list == "commits" && !items.is_empty() {
            let (what, line) = self.repository.commits(items);
            return self.sender.send(what, &line).await;
        }
        for item in items.iter().filter(|item| !is_before(list, item, since)) {
            let lines = match list {
                "pulls" => self.pull_request(item).await?,
                "deployments" => self.deployment(item).await?,
                _ => vec![self.repository.release(item)],
            };
            for (what, line) in lines {
                self.sender.send(what, &line).await?;
            }
        }
        Ok(())
    }

    async fn pull_request(&mut self, pull: &Value) -> Result<Vec<payload::Line>, Failure> {
        let number = pull.get("number").map(ToString::to_string).unwrap_or_default();
        let commits = self.rest.all(self.url(&["pulls", &number, "commits"], &[("per_page", PAGE)])?).await?;
        let reviews = self.rest.all(self.url(&["pulls", &number, "reviews"], &[("per_page", PAGE)])?).await?;
        let mut lines = vec![self.repository.pull_request(pull, &commits)];
        lines.extend(reviews.iter().map(|review| self.repository.review(pull, review)));
        let merged = !text(Some(pull), "/merged_at").is_empty();
        if merged && text(Some(pull), "/base/ref") == self.repository.default_branch {
            let became = text(Some(pull), "/merge_commit_sha");
            // One more than were written: it, and where the main line was before.
            let wanted = (commits.len() + 1).min(100).to_string();
            let url = self.url(&["commits"], &[("sha", became), ("per_page", &wanted)])?;
            let reached = self.rest.find(&url).await?.map(rest::Page::into_items).unwrap_or_default();
            lines.extend(self.repository.landing(pull, &commits, &reached));
        }
        Ok(lines)
    }

    async fn deployment(&mut self, deployment: &Value) -> Result<Vec<payload::Line>, Failure> {
        let id = deployment.get("id").map(ToString::to_string).unwrap_or_default();
        let statuses = self.rest.all(self.url(&["deployments", &id, "statuses"], &[("per_page", PAGE)])?).await?;
        let run = statuses.iter().find_map(|status| {
            ["/log_url", "/target_url"].into_iter().find_map(|field| run_of(text(Some(status), field)))
        });
        let run = match run {
            Some(id) => self.run(id).await?,
            None => None,
        };
        Ok(self.repository.deployment(deployment, &statuses, run.as_ref()))
    }

    /// The workflow run that made a deployment: the server knows which of the two counts.
    async fn run(&mut self, id: &str) -> Result<Option<Value>, Failure> {
        if let Some(known) = self.runs.get(id) {
            return Ok(known.clone());
        }
        let url = self.url(&["actions", "runs", id], &[])?;
        let run = self.rest.find(&url).await?.map(|page| page.body);
        self.runs.insert(id.to_owned(), run.clone());
        Ok(run)
    }
}

/// Whether an item of a list, newest first, is older than what is wanted.
fn is_before(list: &str, item: &Value, since: Option<Timestamp>) -> bool {
    let Some(since) = since else { return false };
    let (field, since) = match list {
        "pulls" => ("/updated_at", since),
        "deployments" => ("/created_at", since.minus(STATUSES_LATE)),
        "releases" => ("/created_at", since),
        // GitHub leaves older commits out by itself.
        _ => return false,
    };
    Timestamp::parse(text(Some(item), field)).is_ok_and(|at| at < since)
}

/// The id in `https://github.com/acme/checkout/actions/runs/42/job/7`.
fn run_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("/actions/runs/")?;
    let id = rest.split(['/', '?', '#']).next()?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_by_the_urls_of_statuses() {
        assert_eq!(run_of("https://github.com/acme/checkout/actions/runs/42/job/7"), Some("42"));
        assert_eq!(run_of("https://github.com/acme/checkout/actions/runs/42"), Some("42"));
        assert_eq!(run_of("https://ci.example.com/42"), None);
    }
}
