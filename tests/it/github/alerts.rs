//! Issues that are incidents, alerts that are findings, releases that are deployments.

use devpulse::event::{DeploymentOutcome, FindingKind, FindingSeverity, FindingStatus, IncidentStatus};
use serde_json::json;

use super::{NOW, Setup, examples_of, time};

#[test]
fn releases_are_deployments_where_the_configuration_says_so() {
    let mut setup = Setup::new();
    let of = |action: &str| examples_of("release").into_iter().find(|body| body["action"] == action).unwrap();
    assert!(setup.skipped("release", &of("published")).contains("sources.github.releases"));
    setup.github.releases = Some("prod".to_owned());
    let published = setup.deployment("release", &of("published"));
    assert_eq!((published.key.id.as_str(), published.version.as_deref()), ("release/17372790", Some("0.0.1")));
    assert_eq!((published.environment.as_str(), published.outcome), ("production", DeploymentOutcome::Succeeded));
    assert_eq!((published.time, published.commit), (time("2019-05-15T15:20:53Z"), None), "a branch is no commit");
    let mut of_commit = of("released");
    of_commit["release"]["target_commitish"] = json!("f95f852bd8fca8fcc58a9a2d6c842781e32a215e");
    assert!(setup.deployment("release", &of_commit).commit.is_some());
    of_commit["release"]["prerelease"] = json!(true);
    assert!(setup.skipped("release", &of_commit).contains("not out yet"));
    assert!(setup.skipped("release", &of("deleted")).contains("nothing to anybody"));
}

#[test]
fn alerts_are_findings() {
    let setup = Setup::new().with_services(&[("shop", &["src/**"]), ("web", &["package.json"])]);
    let of = |event: &str, action: &str| examples_of(event).into_iter().find(|b| b["action"] == action).unwrap();
    let mut created = of("code_scanning_alert", "created");
    let found = setup.finding("code_scanning_alert", &created);
    assert_eq!((found.kind, found.status, found.key.id.as_str()), (FindingKind::Code, FindingStatus::Open, "code/10"));
    assert_eq!((found.rule.as_deref(), found.tool.as_deref()), (Some("java/sql-injection"), Some("CodeQL")));
    assert_eq!((found.severity, found.time), (Some(FindingSeverity::High), time("2021-02-11T03:10:43Z")));
    created["alert"]["rule"]["security_severity_level"] = json!("critical");
    assert_eq!(setup.finding("code_scanning_alert", &created).severity, Some(FindingSeverity::Critical));
    let fixed = setup.finding("code_scanning_alert", &of("code_scanning_alert", "fixed"));
    assert_eq!((fixed.status, fixed.time, fixed.service.as_deref()), (FindingStatus::Fixed, NOW, Some("shop")));
    let dismissed = setup.finding("code_scanning_alert", &of("code_scanning_alert", "closed_by_user"));
    assert_eq!((dismissed.status, dismissed.closed_at), (FindingStatus::Dismissed, Some(time("2021-02-11T02:59:08Z"))));

    let dependency = setup.finding("dependabot_alert", &of("dependabot_alert", "fixed"));
    assert_eq!((dependency.kind, dependency.package.as_deref()), (FindingKind::Dependency, Some("pip/ansible")));
    assert_eq!(
        (dependency.severity, dependency.rule.as_deref()),
        (Some(FindingSeverity::Medium), Some("GHSA-8f4m-hccc-8qph"))
    );

    // Fields as docs.github.com has them, "secret_scanning_alert".
    let mut leaked = json!({"action": "created", "repository": created["repository"], "alert": {
        "number": 42, "state": "open", "created_at": "2026-01-05T10:00:00Z", "updated_at": "2026-01-05T10:00:00Z",
        "html_url": "https://github.com/Codertocat/Hello-World/security/secret-scanning/42",
        "secret_type": "mailchimp_api_key", "secret_type_display_name": "Mailchimp API Key", "secret": "hunter2"}});
    let found = setup.finding("secret_scanning_alert", &leaked);
    assert_eq!((found.status, found.rule.as_deref()), (FindingStatus::Open, Some("mailchimp_api_key")));
    assert!(!format!("{:?}", setup.parse("secret_scanning_alert", &leaked)).contains("hunter2"), "it is kept nowhere");
    for (resolution, status) in [("revoked", FindingStatus::Fixed), ("false_positive", FindingStatus::Dismissed)] {
        leaked["alert"]["state"] = json!("resolved");
        leaked["alert"]["resolution"] = json!(resolution);
        assert_eq!(setup.finding("secret_scanning_alert", &leaked).status, status);
    }
    assert_eq!(setup.pointer("dependabot_alert", &json!({"action": "created"})), "/alert");
}

#[test]
fn labelled_issues_are_incidents() {
    let setup = Setup::new();
    let examples = examples_of("issues");
    let of = |action: &str| examples.iter().find(|body| body["action"] == action).unwrap().clone();
    let opened = setup.incidents(&of("opened"));
    assert_eq!(opened[0].status, IncidentStatus::Opened);
    assert_eq!((opened[0].key.id.as_str(), opened[0].time), ("1", time("2019-05-15T15:20:18Z")));
    assert!(opened[0].url.as_ref().unwrap().starts_with("https://github.com/"));
    let unlabeled = setup.incidents(&{
        let mut body = of("unlabeled");
        body["issue"]["labels"] = json!([]);
        body
    });
    assert_eq!(unlabeled[0].status, IncidentStatus::Withdrawn);
    assert_eq!(unlabeled[0].attributes["resolution"], "unlabeled");
    assert_eq!(setup.incidents(&of("reopened"))[0].status, IncidentStatus::Reopened);
    let deleted = &setup.incidents(&of("deleted"))[0];
    assert_eq!((deleted.status, deleted.time), (IncidentStatus::Withdrawn, NOW), "GitHub does not say when");
    let mut closed = of("deleted");
    closed["action"] = json!("closed");
    assert_eq!(setup.incidents(&closed)[0].time, time("2021-07-05T18:07:10Z"));
    // Labelled after it was closed: opened and resolved in one.
    closed["action"] = json!("labeled");
    closed["label"] = json!({"name":"bug"});
    let story = setup.incidents(&closed);
    assert_eq!(
        story.iter().map(|event| event.status).collect::<Vec<_>>(),
        [IncidentStatus::Opened, IncidentStatus::Resolved, IncidentStatus::Resolved]
    );
    assert!(setup.skipped("issues", &of("edited")).contains("nothing"));
    assert!(setup.skipped("issues", &of("pinned")).contains("incident_labels"));
}
