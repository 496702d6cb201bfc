//! Bodies as GitHub sends them (npm `@octokit/webhooks-examples`), adapted and signed.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::devpulse::DevPulse;
use super::http::Answer;

/// All examples of the package: `[{name, examples: […]}]`.
pub fn examples() -> Vec<Value> {
    let path = std::env::var("DEVPULSE_TEST_OCTOKIT").expect(
        "DEVPULSE_TEST_OCTOKIT is not set (the path of api.github.com/index.json of npm \
         @octokit/webhooks-examples): run the tests with `make test`",
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A `deployment_status` of success, its fields set to this deployment.
pub struct DeploymentStatus<'a> {
    pub id: u64,
    pub repository: &'a str,
    pub sha: &'a str,
    pub version: &'a str,
    pub at: String,
}

impl DeploymentStatus<'_> {
    pub fn body(&self) -> Value {
        let events = examples();
        let named = events.iter().find(|event| event["name"] == "deployment_status").unwrap();
        let succeeded = |body: &&Value| body["deployment_status"]["state"] == "success";
        let mut body = named["examples"].as_array().unwrap().iter().find(succeeded).unwrap().clone();
        body["repository"]["full_name"] = json!(self.repository);
        body["repository"]["name"] = json!(self.repository.rsplit('/').next().unwrap());
        let deployment = &mut body["deployment"];
        deployment["id"] = json!(self.id);
        deployment["sha"] = json!(self.sha);
        deployment["ref"] = json!(self.version);
        deployment["payload"] = json!({"version": self.version});
        deployment["created_at"] = json!(self.at);
        deployment["updated_at"] = json!(self.at);
        let status = &mut body["deployment_status"];
        status["id"] = json!(self.id + 1);
        status["created_at"] = json!(self.at);
        status["updated_at"] = json!(self.at);
        body
    }
}

/// `X-Hub-Signature-256` of a body.
pub fn signature(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex_signature(secret, body))
}

/// HMAC-SHA-256, as hexadecimal digits.
pub fn hex_signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Delivers a body as GitHub would: signed, with a delivery id of its own.
pub async fn deliver(devpulse: &DevPulse, event: &str, body: &Value, secret: &str) -> Answer {
    let body = serde_json::to_vec(body).unwrap();
    let request = devpulse
        .request("POST", "/api/v1/webhooks/github")
        .header("content-type", "application/json")
        .header("x-github-event", event)
        .header("x-github-delivery", uuid::Uuid::new_v4().to_string())
        .header("x-hub-signature-256", signature(secret, &body))
        .body(body);
    devpulse.send(request).await
}

/// The pushes, pull requests and reviews of a repository; the bodies have the fields of GitHub's
/// (docs.github.com, "Webhook events and payloads") that are read. Times are days of January 2026,
/// such as `02T09:00`; commits have short names.
pub struct PullRequests<'a> {
    pub repository: &'a str,
}

fn time(day: &str) -> String {
    format!("2026-01-{day}:00Z")
}

pub fn sha(name: &str) -> String {
    format!("{name:0>40}")
}

impl PullRequests<'_> {
    fn repository(&self, pushed: Option<&str>) -> Value {
        let name = self.repository.rsplit('/').next().unwrap();
        let mut repository = json!({"full_name": self.repository, "name": name, "default_branch": "main"});
        if let Some(day) = pushed {
            let at: chrono::DateTime<chrono::Utc> = time(day).parse().unwrap();
            repository["pushed_at"] = json!(at.timestamp());
        }
        repository
    }

    pub fn push(
        &self,
        branch: &str,
        before: Option<&str>,
        head: &str,
        commits: &[(&str, &str)],
        at: &str,
    ) -> (&'static str, Value) {
        let listed = |(name, written): &(&str, &str)| {
            json!({"id": sha(name), "message": *name, "timestamp": time(written), "distinct": true,
                "added": [], "removed": [], "modified": ["src/main.rs"]})
        };
        let commits: Vec<Value> = commits.iter().map(listed).collect();
        let body = json!({
            "ref": format!("refs/heads/{branch}"), "before": before.map_or_else(|| "0".repeat(40), sha), "after": sha(head),
            "created": before.is_none(), "deleted": false, "forced": false, "head_commit": commits.last(),
            "commits": commits, "repository": self.repository(Some(at)),
        });
        ("push", body)
    }

    pub fn forced(
        &self,
        branch: &str,
        before: &str,
        head: &str,
        commits: &[(&str, &str)],
        at: &str,
    ) -> (&'static str, Value) {
        let (event, mut body) = self.push(branch, Some(before), head, commits, at);
        body["forced"] = json!(true);
        (event, body)
    }

    fn request(&self, number: u64, head: (&str, &str), commits: u64, opened: &str, updated: &str) -> Value {
        json!({
            "number": number, "state": "open", "merged": false, "merged_at": null, "closed_at": null,
            "merge_commit_sha": sha("test-merge"), "user": {"login": "Author", "type": "User"}, "commits": commits,
            "created_at": time(opened), "updated_at": time(updated), "base": {"ref": "main"},
            "head": {"ref": head.0, "sha": sha(head.1), "repo": {"full_name": self.repository}},
        })
    }

    pub fn pull(
        &self,
        action: &str,
        number: u64,
        head: (&str, &str),
        commits: u64,
        opened: &str,
        updated: &str,
    ) -> (&'static str, Value) {
        let mut request = self.request(number, head, commits, opened, updated);
        if action == "closed" {
            request["state"] = json!("closed");
            request["closed_at"] = json!(time(updated));
        }
        ("pull_request", json!({"action": action, "pull_request": request, "repository": self.repository(None)}))
    }

    pub fn merged(
        &self,
        number: u64,
        head: (&str, &str),
        commits: u64,
        became: &str,
        at: &str,
    ) -> (&'static str, Value) {
        let (event, mut body) = self.pull("closed", number, head, commits, "03T09:30", at);
        let request = &mut body["pull_request"];
        request["merged"] = json!(true);
        request["merged_at"] = json!(time(at));
        request["merge_commit_sha"] = json!(sha(became));
        (event, body)
    }

    pub fn review(&self, number: u64, id: u64, reviewer: &str, state: &str, at: &str) -> (&'static str, Value) {
        let action = if state == "dismissed" { "dismissed" } else { "submitted" };
        let kind = if reviewer.ends_with("[bot]") { "Bot" } else { "User" };
        let request = self.request(number, ("feature", "c2"), 2, "03T09:30", at);
        let review =
            json!({"id": id, "state": state, "submitted_at": time(at), "user": {"login": reviewer, "type": kind}});
        let repository = self.repository(None);
        let body = json!({"action": action, "review": review, "pull_request": request, "repository": repository});
        ("pull_request_review", body)
    }

    /// GitHub repeats when the review was submitted.
    pub fn dismissed(&self, number: u64, id: u64, reviewer: &str, at: &str) -> (&'static str, Value) {
        self.review(number, id, reviewer, "dismissed", at)
    }

    pub fn deployed(&self, id: u64, head: &str, at: &str) -> (&'static str, Value) {
        let status = DeploymentStatus { id, repository: self.repository, sha: &sha(head), version: head, at: time(at) };
        ("deployment_status", status.body())
    }
}
