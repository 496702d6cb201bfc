//! The configuration as a whole: defaults, documentation, errors with their places.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;

use super::reader::{Reading, Section, Variables};
use super::tree::{self, Node, Value};
use super::*;

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn secrets() -> Variables {
    variables(&[
        ("GITHUB_WEBHOOK_SECRET", "g"),
        ("PAGERDUTY_WEBHOOK_SECRET", "p"),
        ("GITLAB_WEBHOOK_SECRET", "l"),
        ("JENKINS_WEBHOOK_SECRET", "j"),
        ("AZURE_DEVOPS_WEBHOOK_SECRET", "a"),
        ("BITBUCKET_WEBHOOK_SECRET", "b"),
        ("CIRCLECI_WEBHOOK_SECRET", "c"),
        ("OPSGENIE_WEBHOOK_SECRET", "o"),
        ("ARGOCD_WEBHOOK_SECRET", "a"),
        ("FLUX_WEBHOOK_SECRET", "f"),
        ("SLACK_TOKEN", "xoxb"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x"),
        ("HOOK_SECRET", "h"),
    ])
}

fn errors(text: &str) -> String {
    parse("devpulse.yaml", text, &secrets()).unwrap_err().render()
}

fn loaded(name: &str, text: &str) -> Config {
    parse(name, text, &secrets()).unwrap_or_else(|error| panic!("{}", error.render())).config
}

/// The examples of the embedded defaults as a file: the lines that begin with `#:`, joined.
fn example() -> String {
    let hook = "${file:/run/secrets/hook}";
    let lines = DEFAULTS.lines().filter_map(|line| line.strip_prefix("#:"));
    let text = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
    assert!(text.contains(hook));
    text.replace(hook, "hook")
}

#[test]
fn the_defaults_load() {
    let Loaded { config, warnings } = parse("defaults", "", &Variables::new()).unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:8080");
    assert_eq!(config.database.url.expose_secret(), "sqlite://devpulse-data/devpulse.db");
    assert_eq!(config.burn_alerts.len(), 4);
    assert_eq!(config.environments.len(), 4);
    assert!(config.smtp.is_none() && config.route.is_none() && warnings.is_empty());
    // The file itself is a valid configuration.
    parse("default.yaml", DEFAULTS, &Variables::new()).unwrap();
}

/// Keys of list items and optional sections that have a default.
const OPTIONAL: [&str; 26] = [
    "service_label",
    "environment_label",
    "time_zone",
    "week_starts_on",
    "window",
    "incident_labels",
    "deployment_workflows",
    "deployment_jobs",
    "deployment_stages",
    "deployment_statuses",
    "main_branches",
    "default_environment",
    "api_url",
    "timeout",
    "group_by",
    "false_rollback_budget",
    "bake_time",
    "baseline_window",
    "material_burn",
    "material_budget_share",
    "target_min_requests",
    "cooldown",
    "max_rollbacks",
    "max_rollbacks_window",
    "approval_timeout",
    "verify_timeout",
];

#[test]
fn the_examples_load_and_show_the_defaults_of_optional_keys() {
    let full = loaded("example", &example());
    let optional = |line: &&str| OPTIONAL.contains(&line.trim_start().split(':').next().unwrap_or_default());
    let bare = example().lines().filter(|line| !optional(line)).collect::<Vec<_>>().join("\n");
    let bare = loaded("bare", &bare);
    let shown = |config: &Config| format!("{:#?} {:#?}", config.rollback, config.sources);
    assert_eq!(shown(&full), shown(&bare));
    assert_eq!(format!("{:?}", full.receivers), format!("{:?}", bare.receivers));
    assert_eq!(format!("{:?}", full.slos), format!("{:?}", bare.slos));
    assert_eq!(full.teams[0].time_zone, bare.teams[0].time_zone);
}

#[test]
fn every_key_is_documented() {
    fn keys(node: &Node, path: &str, into: &mut BTreeSet<String>) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                    keys(&entry.node, &path, into);
                    into.insert(path);
                }
            }
            Value::List(items) => items.iter().for_each(|item| keys(item, &format!("{path}[]"), into)),
            _ => {}
        }
    }
    let (variables, example) = (secrets(), example());
    let mut documented = BTreeSet::new();
    keys(&tree::parse(DEFAULTS).unwrap(), "", &mut documented);
    keys(&tree::parse(&example).unwrap(), "", &mut documented);
    let reading = Reading::new(&variables);
    let (file, defaults) = (tree::parse(&example).unwrap(), tree::parse(DEFAULTS).unwrap());
    load::read(&Section::root(&reading, &file, &defaults).unwrap()).unwrap();
    let known = reading.known.into_inner();
    let missing: Vec<_> = known.difference(&documented).collect();
    assert!(missing.is_empty(), "not in default.yaml: {missing:?}");
    assert!(known.contains("rollback.policies[].executor.haproxy.map.backend") && known.len() > 80, "{}", known.len());
}

#[test]
fn variables_go_before_the_file() {
    let variables = variables(&[
        ("DEVPULSE_DATABASE_URL", "postgres://u:p@h/d"),
        ("DEVPULSE_SERVER_WORKERS", "3"),
        ("DEVPULSE_SERVER_METRICS_PUBLIC", "true"),
        ("DEVPULSE_DORA_WINDOWS", "7d, 14d"),
        ("DEVPULSE_SMTP_URL", "smtp://mail:25"),
        ("DEVPULSE_SMTP_FROM", "a@example.com"),
        ("DEVPULSE_SERVER_LISTN", "x"),
    ]);
    let loaded = parse("f", "server: {workers: 2}\ndatabase: {url: 'sqlite://x'}", &variables).unwrap();
    assert_eq!(loaded.config.database.url.expose_secret(), "postgres://u:p@h/d");
    assert_eq!(loaded.config.server.workers, 3);
    assert!(loaded.config.server.metrics_public);
    assert_eq!(loaded.config.dora.windows.len(), 2);
    assert_eq!(loaded.config.smtp.unwrap().from, "a@example.com");
    assert_eq!(loaded.warnings, ["DEVPULSE_SERVER_LISTN sets no key; did you mean `DEVPULSE_SERVER_LISTEN`?"]);
}

#[test]
fn a_wrong_variable_is_named() {
    let wrong = variables(&[("DEVPULSE_SERVER_WORKERS", "many"), ("DEVPULSE_SMTP_URL", "mail:25")]);
    insta::assert_snapshot!(parse("f", "", &wrong).unwrap_err().render());
}

#[test]
fn syntax_errors_have_a_place() {
    insta::assert_snapshot!("unclosed", errors("server: {listen: \"127.0.0.1:80\nslos: []\n"));
    insta::assert_snapshot!("duplicate_key", errors("slos: []\nteams: []\nslos: []\n"));
    insta::assert_snapshot!("bad_indentation", errors("server:\n  listen: x:1\n workers: 2\n"));
    insta::assert_snapshot!("no_map", errors("- a\n- b\n"));
}

#[test]
fn wrong_values_are_all_told_at_once() {
    insta::assert_snapshot!(errors(
        r#"
server: {listen: 8080, worker: 2, client_timeout: 5, shutdown_timeout: 5 minutes}
database: {url: "mysql://x", connections: 0}
retention: {ten_seconds: 9d}
telemetry: {log_format: jsn, otlp_endpoint: "localhost:4318"}
dora: {windows: 7d, benchmark_edition: 2022}
slo: []
teams: [{name: t, time_zone: Europe/Berln, week_starts_on: 1}, {name: t}]
"#
    ));
}

#[test]
fn windows_must_hold_what_is_asked_of_them() {
    let shown = errors("ingest: {max_future: 2h}");
    assert!(shown.contains("ingest.max_future: must be at most 1h"), "{shown}");
    let slo = "services: [{name: a}]\nslos:\n  - {name: s, service: a, environment: production, objective: 0.99, window: 90d, indicator: {availability: {}}}";
    assert!(parse("f", slo, &secrets()).is_ok());
    let shown = errors(&format!("retention: {{hours: 30d}}\n{slo}"));
    assert!(shown.contains("devpulse.yaml:4:77: slos[0].window: must be at most `retention.hours` (30d)"), "{shown}");
}

#[test]
fn a_clone_that_is_not_there_is_a_warning_and_a_relative_one_an_error() {
    let shown = errors("repositories: [{name: a/b, path: shop.git}, {name: a/b, path: /x, fetch_every: 0s}]");
    for wrong in [
        "repositories[0].path: must be an absolute path",
        "repositories[1].name: `a/b` is used twice",
        "repositories[1].fetch_every: must be longer than zero",
    ] {
        assert!(shown.contains(wrong), "{shown}");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = format!("repositories: [{{name: a/b, path: {}, fetch_every: 1m}}]", folder.path().display());
    let Loaded { config, warnings } = parse("f", &text, &secrets()).unwrap();
    assert_eq!(config.repositories[0].fetch_every.map(|every| every.as_secs()), Some(60));
    assert!(
        warnings[0].starts_with("repositories[0].path: ") && warnings[0].contains("git clone --mirror"),
        "{warnings:?}"
    );
    // A bare repository, as git knows one.
    std::fs::create_dir(folder.path().join("objects")).unwrap();
    std::fs::write(folder.path().join("HEAD"), "ref: refs/heads/main\n").unwrap();
    assert!(parse("f", &text, &secrets()).unwrap().warnings.is_empty());
}

#[test]
fn alerts_wait_as_they_are_told() {
    let alerts = parse("f", "", &Variables::new()).unwrap().config.alerts;
    assert_eq!((alerts.pending_for.as_secs(), alerts.keep_firing_for.as_secs()), (0, 120));
    let own = loaded("f", "alerts: {pending_for: 1m, keep_firing_for: 0s, no_data_after: 0s}").alerts;
    assert_eq!((own.pending_for.as_secs(), own.keep_firing_for.as_secs(), own.no_data_after), (60, 0, None));
    assert_eq!(alerts.no_data_after.map(|after| after.as_secs()), Some(3_600));
}

#[test]
fn what_refers_to_nothing_is_refused() {
    insta::assert_snapshot!(errors(
        r#"
services: [{name: checkout, team: nobody}]
slos:
  - {name: a, service: chekout, environment: prod, objective: 1.0, indicator: {availability: {}}}
  - {name: a, service: checkout, environment: production, objective: 0.9, indicator: {latency: {threshold: 0s}}}
  - {name: c, service: checkout, environment: production, objective: 0.99, indicator: {}}
receivers:
  - {name: mail, email: {to: [nonsense]}}
  - {name: chat, slack: {token: x, webhook_url: "https://x"}}
  - {name: none}
  - {name: hook, webhook: {url: "ftp://x", secret: "very secret"}}
route: {receiver: mial, group_by: [servce]}
rollback:
  policies:
    - {service: checkout, environment: staging, mode: shadow}
    - {service: checkout, environment: production, mode: automatc}
    - {service: checkout, environment: production, mode: approve}
    - {service: checkout, environment: production, mode: off, executor: {haproxy: {socket: /run/h.sock, map: {path: m, key: k, backend: b}}}}
"#
    ));
}

#[test]
fn references_to_nowhere_have_a_place_and_secrets_are_masked() {
    let text = r#"
sources: {github: {secret: "${env:GITHUB_WEBHOOK_SECRE}"}}
receivers: [{name: a, webhook: {secret: "hush hush", url: nowhere, timeout: 1}}]
smtp: {url: "imap://user:hush@h", from: x@example.com}
"#;
    let shown = errors(text);
    assert!(!shown.contains("hush"), "{shown}");
    insta::assert_snapshot!(shown);
}

/// Wherever a secret stands by mistake.
#[test]
fn excerpts_show_no_value_that_may_be_a_secret() {
    for text in [
        "sources: {github: {secrt: hunter2}}",
        "sources: {github: {secrt: 20022002}}",
        "sources: {github: {secret: 20022002}}",
        "sources: {github: {secret: [hunter2, 20022002]}}",
        "sources: {github: {secret: {hunter2}}}",
        "sources:\n  github:\n    secret: hunter2\n    secret: hunter2\n",
        "sources:\n  github:\n    secrt: |\n      hunter2: x\n      20022002\n",
        "sources:\n  github:\n    secrt: \"a\n      hunter2: x\"\n",
        "sources:\n  github:\n    secret: 'hunter2\n",
        "sources:\n  github: {secret: hunter2\n",
        "sources: {github: {secret: *hunter2}}",
        "sources: {github: {secret: 'a${hunter2}'}}",
        "database: \"postgres://u:hunter2@h/d\"",
        "database: {\"postgres://u:hunter2@h/d\"}",
        "database_url: postgres://u:hunter2@h/d",
        "database: {url: 'mysql://u:hunter2@h/d'} # once postgres://u:hunter2@h",
        "smtp: {url: 'smtp://u:hunter2@mail:99999', from: a@example.com}",
        "server: {public_url: hunter2}",
        "receivers: [{name: a, slack: {webhook_uri: 'https://hooks.slack.com/services/T/B/hunter2'}}]",
        "receivers: [{name: a, webhook: {url: 'ftp://h/hunter2', secret: 'whsec_hunter2!'}}]",
        "rollback: {policies: [{executor: {webhook: {url: 'https://h/hunter2', secrets: hunter2}}}]}",
    ] {
        let error = parse("f", text, &secrets()).unwrap_err();
        let shown = format!(
            "{}\n{error}\n{}",
            error.render(),
            serde_json::to_string(&error.views().collect::<Vec<_>>()).unwrap()
        );
        assert!(!shown.contains("hunter2") && !shown.contains("20022002"), "{text}\n{shown}");
        assert!(shown.contains("f:"), "{shown}");
    }
}

#[test]
fn what_could_not_work_later_is_wrong_now() {
    insta::assert_snapshot!(errors(
        r#"
services: [{name: checkout}]
slos: [{name: a, service: checkout, environment: production, objective: 0.99, indicator: {availability: {}}}]
smtp: {url: "smtp://mail:99999", from: a@example.com}
receivers: [{name: hook, webhook: {url: "https://x", secret: "whsec_%%%"}}]
rollback:
  policies:
    - service: checkout
      environment: production
      mode: approve
      executor: {haproxy: {socket: "tcp:h:1", map: {path: "/etc/a map", key: "a;b", backend: checkout}}}
    - service: checkout
      environment: production
      mode: approve
      executor: {haproxy: {socket: "tcp:h:1", weight: {server: "a/b/{version}"}}}
    - service: checkout
      environment: production
      mode: approve
      executor: {webhook: {url: "https://x", secret: "whsec_%%%"}}
ingest: {max_decoded_bytes: 268435456}
"#
    ));
}

#[test]
fn the_reload_says_what_needs_a_restart() {
    let load = |text| parse("f", text, &Variables::new()).unwrap().config;
    let (old, new) =
        (load(""), load("server: {listen: '127.0.0.1:1', public_url: 'http://x'}\ndatabase: {url: 'sqlite://y'}"));
    assert_eq!(needs_restart(&old, &new), ["server.listen", "database.url"]);
    assert!(needs_restart(&old, &load("ingest: {max_items: 5}")).is_empty());
}
