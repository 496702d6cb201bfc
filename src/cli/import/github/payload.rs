//! What GitHub's REST API says, in the words of its webhooks: the same facts, so that nothing
//! counts twice.

use serde_json::{Value, json};

use crate::time::Timestamp;

/// GitHub lists no more commits of a pull request.
const MAX_COMMITS: usize = 250;

/// The repository, as every payload names it.
pub struct Repository {
    pub name: String,
    pub default_branch: String,
}

/// A line of the import, and what it is called when it is refused.
pub type Line = (String, Value);

impl Repository {
    fn line(&self, what: String, event: &str, mut payload: Value, pushed_at: Option<i64>) -> Line {
        let mut repository = json!({"full_name": self.name, "default_branch": self.default_branch});
        set(&mut repository, "pushed_at", pushed_at.into());
        set(&mut payload, "repository", repository);
        (what, json!({"event": event, "payload": payload}))
    }

    /// Commits of the main line, of which it is not known which pushes brought them.
    pub fn commits(&self, commits: &[Value]) -> Line {
        let listed: Vec<Value> = commits.iter().map(pushed_commit).collect();
        let payload = json!({"ref": format!("refs/heads/{}", self.default_branch), "commits": listed});
        self.line(format!("commits from {}", text(commits.first(), "/sha")), "push", payload, None)
    }

    /// A pull request with its commits.
    pub fn pull_request(&self, pull: &Value, commits: &[Value]) -> Line {
        let action = if text(Some(pull), "/state") == "closed" { "closed" } else { "opened" };
        let mut known = pull.clone();
        if commits.len() < MAX_COMMITS {
            set(&mut known, "commits", commits.len().into());
        }
        let payload = json!({"action": action, "pull_request": known, "commits": commits});
        self.line(format!("pull request {}", number(pull)), "pull_request", payload, None)
    }

    pub fn review(&self, pull: &Value, review: &Value) -> Line {
        let dismissed = text(Some(review), "/state").eq_ignore_ascii_case("dismissed");
        let action = if dismissed { "dismissed" } else { "submitted" };
        let payload = json!({"action": action, "review": review, "pull_request": pull});
        self.line(format!("a review of pull request {}", number(pull)), "pull_request_review", payload, None)
    }

    /// The push that brought a pull request to the main line; `reached`: the newest commits of the
    /// main line as they were with it. `None` where it went elsewhere, or nowhere.
    pub fn landing(&self, pull: &Value, own: &[Value], reached: &[Value]) -> Option<Line> {
        let merged_at = Timestamp::parse(text(Some(pull), "/merged_at")).ok()?;
        let became = reached.first()?;
        let brought: Vec<&Value> = match parents(became) {
            2.. => own.iter().chain([became]).collect(),
            _ => rebased(own, reached).unwrap_or_else(|| vec![became]),
        };
        // Where the main line was before: the first parent of a merge, and of the oldest that was brought.
        let oldest = if parents(became) > 1 { became } else { *brought.first()? };
        let payload = json!({
            "ref": format!("refs/heads/{}", self.default_branch), "after": text(Some(became), "/sha"),
            "before": oldest.pointer("/parents/0/sha"),
            "commits": brought.into_iter().map(pushed_commit).collect::<Vec<_>>(),
        });
        let what = format!("the commits of pull request {}", number(pull));
        Some(self.line(what, "push", payload, Some(merged_at.seconds())))
    }

    /// A deployment and its statuses; `run` is the workflow run that made it.
    pub fn deployment(&self, deployment: &Value, statuses: &[Value], run: Option<&Value>) -> Vec<Line> {
        let what = format!("deployment {}", text_of(deployment.get("id")));
        let mut payload = json!({"action": "created", "deployment": deployment, "workflow_run": run});
        let mut lines = vec![self.line(what.clone(), "deployment", payload.clone(), None)];
        // GitHub lists the newest first.
        for status in statuses.iter().rev() {
            set(&mut payload, "deployment_status", status.clone());
            lines.push(self.line(format!("a status of {what}"), "deployment_status", payload.clone(), None));
        }
        lines.extend(run.map(|run| self.run(run)));
        lines
    }

    fn run(&self, run: &Value) -> Line {
        let action = if text(Some(run), "/status") == "completed" { "completed" } else { "in_progress" };
        let payload = json!({"action": action, "workflow_run": run});
        self.line(format!("workflow run {}", text_of(run.get("id"))), "workflow_run", payload, None)
    }

    pub fn release(&self, release: &Value) -> Line {
        let payload = json!({"action": "published", "release": release});
        self.line(format!("release {}", text(Some(release), "/tag_name")), "release", payload, None)
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value);
    }
}

/// A text at a place, or nothing.
pub fn text<'v>(value: Option<&'v Value>, pointer: &str) -> &'v str {
    value.and_then(|value| value.pointer(pointer)?.as_str()).unwrap_or_default()
}

fn text_of(value: Option<&Value>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn number(pull: &Value) -> String {
    text_of(pull.get("number"))
}

fn parents(commit: &Value) -> usize {
    commit.get("parents").and_then(Value::as_array).map_or(0, Vec::len)
}

fn authored(commit: &Value) -> &str {
    text(Some(commit), "/commit/author/date")
}

fn pushed_commit(commit: &Value) -> Value {
    let detail = |pointer| commit.pointer(pointer).cloned().unwrap_or_default();
    json!({
        "id": commit.get("sha"), "message": detail("/commit/message"), "timestamp": authored(commit), "distinct": true,
        "author": {"date": detail("/commit/author/date")}, "committer": {"date": detail("/commit/committer/date")},
        "parents": commit.get("parents"),
    })
}

/// The commits on the main line that are those of the pull request, written again: as many, in
/// the same order, authored at the same times. `None`: they were squashed.
fn rebased<'v>(own: &[Value], reached: &'v [Value]) -> Option<Vec<&'v Value>> {
    let own: Vec<&Value> = own.iter().filter(|commit| parents(commit) < 2).collect();
    if own.len() < 2 {
        return None;
    }
    let mut chain = vec![reached.first()?];
    while chain.len() < own.len() {
        let parent = text(chain.last().copied(), "/parents/0/sha");
        chain.push(reached.iter().find(|commit| text(Some(commit), "/sha") == parent)?);
    }
    chain.reverse();
    let same = chain.iter().zip(&own).all(|(landed, own)| authored(landed) == authored(own));
    same.then_some(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(sha: &str, parents: &[&str], authored: &str) -> Value {
        let parents: Vec<Value> = parents.iter().map(|sha| json!({"sha": sha})).collect();
        let date = json!({"date": authored});
        json!({"sha": sha, "parents": parents, "commit": {"message": sha, "author": date, "committer": date}})
    }

    fn landed(own: &[Value], reached: &[Value]) -> (Vec<String>, String) {
        let repository = Repository { name: "acme/checkout".to_owned(), default_branch: "main".to_owned() };
        let pull = json!({"number": 7, "merged_at": "2026-01-05T10:00:00Z"});
        let (_, line) = repository.landing(&pull, own, reached).unwrap();
        let commits = line["payload"]["commits"].as_array().unwrap().clone();
        let names = commits.iter().map(|commit| commit["id"].as_str().unwrap().to_owned()).collect();
        (names, line["payload"]["before"].as_str().unwrap().to_owned())
    }

    #[test]
    fn what_a_pull_request_became_is_read_off_the_main_line() {
        let own = [commit("c1", &["m0"], "1"), commit("c2", &["c1"], "2")];
        let merge = [commit("m1", &["m0", "c2"], "9"), own[1].clone(), own[0].clone(), commit("m0", &[], "0")];
        assert_eq!(landed(&own, &merge), (vec!["c1".to_owned(), "c2".to_owned(), "m1".to_owned()], "m0".to_owned()));
        let rebase = [commit("r2", &["r1"], "2"), commit("r1", &["m0"], "1"), commit("m0", &[], "0")];
        assert_eq!(landed(&own, &rebase), (vec!["r1".to_owned(), "r2".to_owned()], "m0".to_owned()));
        let squash = [commit("s1", &["m0"], "9"), commit("m0", &[], "0")];
        assert_eq!(landed(&own, &squash), (vec!["s1".to_owned()], "m0".to_owned()));
    }
}
