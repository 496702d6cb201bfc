//! What reviewers would otherwise have to watch for: who may use whom, both back ends alike,
//! dashboards and alerts on metrics that exist, files of a size one can read.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

#[path = "tidy/dashboards.rs"]
mod dashboards;
#[path = "tidy/rust.rs"]
mod rust;
#[path = "tidy/sql.rs"]
mod sql;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 450;
const MAX_COLUMNS: usize = 16;

/// A part uses the parts of the layers above it in this list (`config::model` is the configuration
/// as plain values, without its loading). The last layer wires: its parts may use one another.
const LAYERS: &[&[&str]] = &[
    &["num"],
    &["time"],
    &["config::model", "event"],
    &["dora", "slo"],
    &["alert"],
    &["rollback"],
    &["git", "outbound"],
    &["config", "ingest", "notify", "rollback::executor", "store"],
    &["app", "cli", "http", "telemetry", "worker"],
];

/// Within a layer nobody uses anybody, but for these: (user, used).
const ALSO: &[(&str, &str)] = &[("ingest", "store"), ("store", "ingest::committer")];

/// Parts that compute and do nothing else: no clock, no database, no network, no waiting.
const PURE: &[&str] = &["num", "config::model", "event", "dora", "slo", "alert", "rollback"];
const IMPURE_WORDS: &[&str] =
    &["tokio", "diesel", "diesel_async", "reqwest", "actix_web", "async", "Clock", "std::fs", "std::net", "std::env"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder of the repository, as (path from the root, text); binary files left out.
fn files_in(folder: &str) -> Vec<(String, String)> {
    let mut pending: Vec<PathBuf> = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let name = path.strip_prefix(root()).unwrap().to_str().expect("names are UTF-8").replace('\\', "/");
            found.push((name, text));
        }
    }
    assert!(!found.is_empty(), "{folder} is empty or missing");
    found.sort();
    found
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

fn rust_files(folder: &str) -> Vec<(String, String)> {
    files_in(folder).into_iter().filter(|(name, _)| has_extension(name, "rs")).collect()
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The part a path belongs to: `slo::burn::rate` is of slo, `rollback::executor::x` is its own.
fn part_of(path: &str) -> Option<&'static str> {
    let parts = LAYERS.iter().flat_map(|layer| layer.iter().copied());
    let holds = |part: &str| path == part || path.strip_prefix(part).is_some_and(|rest| rest.starts_with("::"));
    // `config` hands the model's types on: `crate::config::Slo`.
    let of_model = path.strip_prefix("config::").is_some_and(|rest| rest.starts_with(char::is_uppercase));
    if of_model {
        return Some("config::model");
    }
    parts.filter(|part| holds(part)).max_by_key(|part| part.len())
}

/// `src/rollback/executor/mod.rs` is the module `rollback::executor`.
fn module_of(file: &str) -> String {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

fn layer_of(part: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&part)).expect("parts come from the list")
}

fn may_use(part: &str, path: &str, used: &str) -> bool {
    let top = LAYERS.len() - 1;
    let excepted =
        |(who, what): &(&str, &str)| *who == part && (path == *what || path.starts_with(&format!("{what}::")));
    part == used || layer_of(used) < layer_of(part) || layer_of(part) == top || ALSO.iter().any(excepted)
}

/// What is wrong with the dependencies and the purity of one file.
fn dependency_problems(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    if ["lib", "main"].contains(&module.as_str()) {
        return Vec::new();
    }
    let Some(part) = part_of(&module) else {
        return vec![format!("{file}: no layer of tests/tidy.rs names this module")];
    };
    let code = rust::without_tests(&rust::code_of(source));
    let mut problems = Vec::new();
    for path in rust::crate_paths(&code) {
        match part_of(&path) {
            Some(used) if may_use(part, &path, used) => {}
            Some(used) => problems.push(format!("{file}: {part} may not use {used} (crate::{path})")),
            None => problems.push(format!("{file}: crate::{path} is in no layer")),
        }
    }
    let depth = module.split("::").count();
    if code.contains(&"super::".repeat(depth)) {
        problems.push(format!("{file}: super:: reaches the crate's root; write crate::"));
    }
    if PURE.contains(&part) {
        let impure = IMPURE_WORDS.iter().filter(|word| rust::mentions(&code, word));
        problems.extend(impure.map(|word| format!("{file}: {part} is pure and may not mention {word}")));
    }
    problems
}

#[test]
fn dependencies_point_one_way() {
    let files = rust_files("src");
    // A file of tests alone may use what it likes.
    let files = files.iter().filter(|(name, _)| !name.ends_with("tests.rs"));
    let problems: Vec<String> = files.flat_map(|(name, text)| dependency_problems(name, text)).collect();
    assert_none(&problems);
}

#[test]
fn a_wrong_dependency_is_found() {
    let wrong = |file: &str, source: &str| dependency_problems(file, source).len();
    assert_eq!(wrong("src/slo/burn.rs", "use crate::event::SeriesKey;\nuse crate::config::Slo;"), 0);
    assert_eq!(wrong("src/event/mod.rs", "use crate::slo::Burn;"), 1, "upwards");
    assert_eq!(wrong("src/slo/mod.rs", "use crate::{num, dora::Rate};"), 1, "sideways");
    assert_eq!(wrong("src/store/facts.rs", "use crate::http::Problem;"), 1, "nobody uses http");
    assert_eq!(wrong("src/http/mod.rs", "use crate::worker::evaluate;"), 0, "the top wires");
    assert_eq!(wrong("src/store/facts.rs", "use crate::ingest::committer::Fact;"), 0, "excepted");
    assert_eq!(wrong("src/store/facts.rs", "use crate::ingest::parse;"), 1, "no more than excepted");
    assert_eq!(wrong("src/rollback/plan.rs", "use crate::rollback::executor::Executor;"), 1, "pure uses no executor");
    assert_eq!(wrong("src/rollback/executor/mod.rs", "use crate::rollback::plan; use tokio::net;"), 0);
    assert_eq!(wrong("src/dora/mod.rs", "use crate::config::load;"), 1, "the model only");
    assert_eq!(wrong("src/dora/mod.rs", "use super::store::Store;"), 1, "not by the back door");
    assert_eq!(wrong("src/dora/mod.rs", "use crate::time::Clock;"), 1, "a clock");
    assert_eq!(wrong("src/dora/mod.rs", "// tokio and Clock\npub async fn x() { tokio::spawn() }"), 2, "waiting");
    assert_eq!(wrong("src/surprise.rs", ""), 1, "a module that no layer names");
}

#[test]
fn both_back_ends_have_the_same_tables() {
    let mut tables = Vec::new();
    let mut names = Vec::new();
    for back_end in ["postgres", "sqlite"] {
        let files = files_in(&format!("migrations/{back_end}"));
        let mut state = sql::Tables::new();
        for (name, text) in files.iter().filter(|(name, _)| name.ends_with("/up.sql")) {
            let before = state.clone();
            sql::apply(&mut state, text);
            let mut undone = state.clone();
            let down = name.replace("/up.sql", "/down.sql");
            let (_, down) = files.iter().find(|(name, _)| *name == down).unwrap_or_else(|| panic!("{down} is missing"));
            sql::apply(&mut undone, down);
            assert_eq!(undone, before, "{name} is not undone by its down.sql");
        }
        tables.push(state);
        names.push(files.iter().map(|(name, _)| name.replace(back_end, "")).collect::<BTreeSet<_>>());
    }
    assert_eq!(names[0], names[1], "each migration is there for both back ends");
    assert_eq!(tables[0], tables[1], "both back ends have the same tables, columns and constraints");
    let columns = sql::columns(&tables[0]);
    let schema = std::fs::read_to_string(root().join("src/store/schema.rs")).unwrap();
    assert_eq!(columns, sql::diesel_tables(&schema), "src/store/schema.rs mirrors the migrations");
    for (table, columns) in columns {
        assert!(columns.len() <= MAX_COLUMNS, "{table} has {} columns of at most {MAX_COLUMNS}", columns.len());
    }
}

/// The names of DevPulse's metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts = text.match_indices("devpulse_").map(|(at, _)| at).filter(|at| !text[..*at].ends_with(is_part));
    starts.map(|at| text[at..].split(|c| !is_part(c)).next().unwrap_or("")).collect()
}

/// Those of `used` that no string of the source is: a histogram's series carry suffixes.
fn unknown_metrics<'a>(used: &BTreeSet<&'a str>, source: &str) -> Vec<&'a str> {
    let exists = |name: &str| source.contains(&format!("\"{name}\""));
    let known = |name: &str| {
        exists(name) || ["_bucket", "_sum", "_count"].iter().any(|s| name.strip_suffix(s).is_some_and(exists))
    };
    used.iter().copied().filter(|name| !known(name)).collect()
}

#[test]
fn dashboards_and_alerts_use_metrics_that_exist() {
    let source: String = rust_files("src").into_iter().map(|(_, text)| text).collect();
    let mut problems = Vec::new();
    for folder in ["dashboards", "alerts"] {
        for (name, text) in files_in(folder) {
            let unknown = unknown_metrics(&metrics_in(&text), &source);
            problems.extend(unknown.iter().map(|metric| format!("{name}: no code exports {metric}")));
        }
    }
    assert_none(&problems);
}

#[test]
fn a_metric_that_nobody_exports_is_found() {
    let used =
        metrics_in("rate(devpulse_a_seconds_bucket[5m]) > devpulse_b{x=\"1\"} and my_devpulse_c or devpulse_d_sum");
    assert_eq!(used, BTreeSet::from(["devpulse_a_seconds_bucket", "devpulse_b", "devpulse_d_sum"]));
    let source = "histogram!(\"devpulse_a_seconds\"); gauge!(\"devpulse_b_ratio\"); \"devpulse_d_sum\"";
    assert_eq!(unknown_metrics(&used, source), ["devpulse_b"]);
}

#[test]
fn dashboards_can_be_imported_and_their_queries_parse() {
    let mut wrong = Vec::new();
    for (name, text) in files_in("dashboards") {
        let dashboard = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        wrong.extend(dashboards::problems(&dashboard).iter().map(|what| format!("{name}: {what}")));
        let queries = dashboards::queries(&dashboard);
        assert!(!queries.is_empty(), "{name} asks nothing");
        let rules = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(rules.path(), dashboards::as_rules(&queries)).unwrap();
        let checked = std::process::Command::new("promtool").args(["check", "rules"]).arg(rules.path()).output();
        let checked = checked.expect("promtool runs: Debian's package prometheus has it");
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    assert_none(&wrong);
}

#[test]
fn colours_agree_with_the_bands_of_the_api() {
    let file = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let defaults = file("src/config/default.yaml");
    let (_, year) = defaults.split_once("benchmark_edition: \"").expect("there is a default edition");
    let mut dashboard = serde_json::from_str(&file("dashboards/devpulse.json")).unwrap();
    assert_none(&dashboards::wrong_colours(&dashboard, &year[..4]));
    let panels = dashboard["panels"].as_array_mut().unwrap();
    let panel = panels.iter_mut().find(|panel| panel["title"] == "Change lead time").unwrap();
    panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] = 7_200.into();
    assert!(!dashboards::wrong_colours(&dashboard, &year[..4]).is_empty(), "and the check itself fails when it should");
}

/// The links of a Markdown text that lead to files of the repository.
fn local_links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or(target)).collect()
}

#[test]
fn documents_lead_to_what_exists() {
    let mut documents = files_in("docs");
    documents.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].iter().flat_map(|name| files_in(name)));
    let mut problems = Vec::new();
    for (name, text) in documents.iter().filter(|(name, _)| has_extension(name, "md")) {
        let folder = root().join(name).parent().expect("a file is in a folder").to_owned();
        let broken = local_links(text).into_iter().filter(|link| !folder.join(link).exists());
        problems.extend(broken.map(|link| format!("{name}: {link} does not exist")));
    }
    let (_, map) = documents.iter().find(|(name, _)| name == "docs/ARCHITECTURE.md").expect("the map is there");
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("src/{}{}", path.file_name().unwrap().display(), if path.is_dir() { "/" } else { "" });
        let known = map.contains(&format!("`{name}`")) || ["src/lib.rs", "src/main.rs"].contains(&name.as_str());
        if !known {
            problems.push(format!("docs/ARCHITECTURE.md does not say what {name} is"));
        }
    }
    assert_none(&problems);
    let links = local_links("[a](b.md#c) [d](https://example.com) [e](#f) [g](../h)");
    assert_eq!(links, ["b.md", "../h"], "and the check itself sees what it should");
}

fn file_problems(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        problems.push(format!("{name}: {lines} lines of at most {MAX_LINES}: split it by purpose"));
    }
    // `tests.rs` beside a module says by its name what it is.
    if !text.starts_with("//! ") && !name.ends_with("tests.rs") {
        problems.push(format!("{name}: does not begin with a //! line that says its purpose"));
    }
    problems
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    let files = ["src", "tests", "benches"].iter().filter(|folder| root().join(folder).is_dir());
    let problems: Vec<String> =
        files.flat_map(|folder| rust_files(folder)).flat_map(|(name, text)| file_problems(&name, &text)).collect();
    assert_none(&problems);
    assert_eq!(
        file_problems("a.rs", &"x\n".repeat(MAX_LINES + 1)).len(),
        2,
        "and the check itself fails when it should"
    );
}

/// Left-overs of work in progress, and paths that exist on one machine only.
fn leftovers(text: &str) -> Vec<&'static str> {
    const WORDS: &[&str] = &[
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
    ];
    WORDS.iter().copied().filter(|word| text.contains(word)).collect()
}

#[test]
fn nothing_is_left_over() {
    let places = [
        "src",
        "tests",
        "benches",
        "migrations",
        "dashboards",
        "alerts",
        "deploy",
        "docs",
        ".ci",
        ".config",
        "Makefile",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.toml",
        "deny.toml",
        "docker-compose.yml",
        "devpulse.example.yaml",
    ];
    let present = places.iter().filter(|place| root().join(place).exists());
    let mut problems = Vec::new();
    for (name, text) in present.flat_map(|place| files_in(place)) {
        problems.extend(leftovers(&text).iter().map(|word| format!("{name}: contains {word}")));
    }
    assert_none(&problems);
    assert_eq!(leftovers(concat!("// TO", "DO later")).len(), 1, "and the check itself fails when it should");
}
