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
