//! Cases of the definitions, one by one, through handlers and a real database.

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use devpulse::http::auth::Scope;
use devpulse::http::routes;
use devpulse::store::Store;
use devpulse::time::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::support::alerting::config;
use crate::support::app;
use crate::support::db::on_both;

const CONFIGURATION: &str = r"
teams: [{name: payments, time_zone: Europe/Berlin, week_starts_on: sunday}]
services:
  - {name: checkout, team: payments, repository: acme/checkout}
  - {name: search}
  - {name: till}
";

/// Handlers on a store, with a clock that stands at the end of 2025.
struct Desk<C> {
    call: C,
}

async fn desk(store: &Store, yaml: &str) -> Desk<impl AsyncFn(TestRequest) -> (StatusCode, Value) + use<>> {
    let clock = Clock::manual(Timestamp::parse("2025-12-31T00:00:00Z").unwrap());
    let app = app::app(store, config(yaml), clock).await;
    Desk { call: app::serve(app, Scope::Admin, routes::configure).await }
}

impl<C: AsyncFn(TestRequest) -> (StatusCode, Value)> Desk<C> {
    async fn send(&self, events: Value) {
        let (status, receipt) = (self.call)(TestRequest::post().uri("/api/v1/events").set_json(events)).await;
        assert_eq!((status, &receipt["invalid"]), (StatusCode::OK, &json!(0)), "{receipt:#}");
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = (self.call)(TestRequest::get().uri(path)).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
        body
    }

    async fn metric(&self, metric: &str, query: &str) -> Value {
        self.get(&format!("/api/v1/dora?{query}")).await["metrics"][metric].clone()
    }
}

fn deployment(id: &str, version: &str, time: &str) -> Value {
    json!({"type": "deployment", "source": "ci", "id": id, "time": time, "service": "checkout", "environment": "production",
        "version": version, "commit": format!("c{version}"), "outcome": "succeeded"})
}

fn change(sha: &str, authored: &str, committed: &str) -> Value {
    json!({"type": "change", "source": "git", "id": sha, "time": committed, "repository": "acme/checkout", "sha": sha,
        "authored_at": authored, "committed_at": committed, "merged_at": committed})
}

fn incident(id: &str, status: &str, time: &str) -> Value {
    json!({"type": "incident", "source": "pager", "id": id, "time": time, "service": "checkout", "status": status})
}

#[expect(clippy::needless_pass_by_value, reason = "it is written where it is given")]
fn with(mut event: Value, fields: Value) -> Value {
    event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    event
}

const MARCH: &str = "from=2025-03-01T00:00:00Z&to=2025-04-01T00:00:00Z";

on_both! {
    /// Case 3: what came with V2 counts once, however often V2 goes back and forth.
    async fn a_roll_forward_does_not_count_its_changes_again(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        desk.send(json!([
            change("c1", "2025-03-02T08:00:00Z", "2025-03-02T08:00:00Z"), deployment("d1", "1", "2025-03-02T10:00:00Z"),
            change("c2", "2025-03-03T08:00:00Z", "2025-03-03T08:00:00Z"), deployment("d2", "2", "2025-03-03T10:00:00Z"),
            deployment("d3", "1", "2025-03-03T11:00:00Z"), deployment("d4", "2", "2025-03-03T12:00:00Z"),
            change("c3", "2025-03-04T08:00:00Z", "2025-03-04T08:00:00Z"), deployment("d5", "3", "2025-03-04T09:00:00Z"),
        ])).await;
        let lead = desk.metric("change_lead_time", &format!("service=checkout&percentile=mean&{MARCH}")).await;
        assert_eq!((&lead["n"], &lead["value"]), (&json!(2), &json!(1.5 * 3_600.0)));
        assert_eq!(lead["excluded"], json!({"first_deployment": 1, "nothing_new": 2}));
        // The same where the deployments name them.
        let named = |id: &str, version: &str, time: &str| with(deployment(id, version, time), json!({"service": "search",
            "changes": [{"repository": "acme/search", "sha": format!("s{version}"), "authored_at": "2025-03-05T08:00:00Z"}]}));
        desk.send(json!([named("s1", "1", "2025-03-05T09:00:00Z"), named("s2", "2", "2025-03-05T10:00:00Z"),
            named("s3", "1", "2025-03-05T11:00:00Z"), named("s4", "2", "2025-03-05T12:00:00Z")])).await;
        let lead = desk.metric("change_lead_time", &format!("service=search&{MARCH}")).await;
        assert_eq!((&lead["n"], &lead["excluded"]), (&json!(2), &json!({"deployed_before": 2})));
    }

    /// CI systems abbreviate hashes; whatever is heard of first.
    async fn a_deployment_may_abbreviate_its_commits(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        // Commits of one repository begin differently; those of another are others.
        let sha = |of: &str, n: u8| format!("{n}{:x}cdef01{n:032x}", of.len());
        let short = |of: &str, n: u8, length: usize| sha(of, n)[..length].to_owned();
        let of = |service: &str, event: Value| with(event, json!({"service": service}));
        let deployed = |service: &str, n: u8, length: usize, time: &str| {
            let event = with(deployment(&format!("{service}-{n}"), &n.to_string(), time), json!({"commit": short(service, n, length)}));
            of(service, event)
        };
        let merged = |repository: &str, n: u8, time: &str| {
            with(change(&sha(repository, n), time, time), json!({"repository": format!("acme/{repository}")}))
        };
        // The third was merged before the second was deployed, and is not in it.
        let deployments = |service: &str| json!([
            deployed(service, 1, 7, "2025-03-02T10:00:00Z"), deployed(service, 2, 8, "2025-03-03T10:00:00Z"),
            deployed(service, 3, 12, "2025-03-03T12:00:00Z"),
        ]);
        let changes = |repository: &str| json!([
            merged(repository, 1, "2025-03-02T08:00:00Z"), merged(repository, 2, "2025-03-03T08:00:00Z"),
            merged(repository, 3, "2025-03-03T09:00:00Z"),
        ]);
        let lead = async |service: &str| {
            desk.metric("change_lead_time", &format!("service={service}&percentile=mean&{MARCH}")).await
        };
        // Of a configured repository, and of one that only the commits tell.
        for service in ["checkout", "search"] {
            desk.send(deployments(service)).await;
            assert_eq!(lead(service).await["n"], 0, "{service}");
            desk.send(changes(service)).await;
            let lead = lead(service).await;
            assert_eq!((&lead["n"], &lead["value"]), (&json!(2), &json!(2.5 * 3_600.0)), "{service}: {lead:#}");
            assert_eq!(lead["excluded"], json!({"first_deployment": 1}), "{service}");
            assert_eq!(lead["partial"].as_u64().unwrap_or_default(), 0, "{service}: {lead:#}");
        }
        let named = json!([{"repository": "acme/till", "sha": short("till", 4, 8)}]);
        desk.send(json!([
            of("till", with(deployment("t", "1", "2025-03-04T12:00:00Z"), json!({"changes": named}))),
            merged("till", 4, "2025-03-04T10:00:00Z"),
        ])).await;
        assert_eq!(lead("till").await["value"], 2.0 * 3_600.0);
        let explained = desk.get(&format!("/api/v1/dora/change_lead_time/explain?service=till&{MARCH}")).await;
        assert_eq!(explained["included"][0]["change"]["sha"], sha("till", 4), "{explained:#}");
    }

    /// Case 15: a cherry-picked commit is another commit, written when its original was.
    async fn a_cherry_pick_counts_from_when_it_was_written(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        desk.send(json!([
            deployment("d1", "1", "2025-03-02T10:00:00Z"), change("c1", "2025-03-02T08:00:00Z", "2025-03-02T08:00:00Z"),
            // Written on the 3rd, picked onto the main line on the 7th.
            change("c2", "2025-03-03T10:00:00Z", "2025-03-07T09:00:00Z"), deployment("d2", "2", "2025-03-07T10:00:00Z"),
        ])).await;
        let days = async |from: &str| {
            let query = format!("service=checkout&lead_time_from={from}&{MARCH}");
            desk.metric("change_lead_time", &query).await["value"].as_f64().unwrap() / 3_600.0
        };
        assert_eq!((days("authored").await, days("committed").await), (96.0, 1.0));
    }

    /// Case 10: up to the attribution window, whatever it is, and not a microsecond more.
    async fn attribution_ends_with_its_window(db: TestDb) {
        for hours in [24_i64, 2] {
            let desk = desk(&db.store, &format!("{CONFIGURATION}dora: {{attribution_window: {hours}h}}\n")).await;
            let deployed: DateTime<Utc> = "2025-03-10T10:00:00Z".parse().unwrap();
            for (service, after, failed) in [("checkout", TimeDelta::hours(hours), 1),
                ("search", TimeDelta::hours(hours) + TimeDelta::microseconds(1), 0), ("till", TimeDelta::zero(), 1)] {
                let began = (deployed + after).to_rfc3339_opts(SecondsFormat::Micros, true);
                let id = format!("{service}-{hours}");
                desk.send(json!([
                    with(deployment(&id, "1", &deployed.to_rfc3339()), json!({"service": service})),
                    with(incident(&id, "opened", &began), json!({"service": service})),
                ])).await;
                let rate = desk.metric("change_fail_rate", &format!("service={service}&{MARCH}")).await;
                // The second round has a second deployment and incident of each; those of the first are too far apart.
                let rounds = if hours == 24 { 1 } else { 2 };
                assert_eq!(rate["n"], rounds, "{service} {hours}");
                assert_eq!(rate["failed"], failed, "{service} {hours} {rate}");
            }
        }
    }

    /// Case 12: days of 23 and of 25 hours are one day each, in figures as in series.
    async fn short_and_long_days_are_days(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        for (month, from, to, hours) in [
            ("short", "2025-03-30T00:00:00%2B01:00", "2025-03-31T00:00:00%2B02:00", 23),
            ("long", "2025-10-26T00:00:00%2B02:00", "2025-10-27T00:00:00%2B01:00", 25),
        ] {
            let begins: DateTime<Utc> = from.replace("%2B", "+").parse().unwrap();
            // In the first and in the last hour of the day, and in the hours around it.
            for hour in [-1, 0, hours - 1, hours] {
                let at = (begins + TimeDelta::hours(hour) + TimeDelta::minutes(30)).to_rfc3339();
                desk.send(deployment(&format!("{month}{hour}"), &format!("{month}{hour}"), &at)).await;
            }
            let day = format!("service=checkout&from={from}&to={to}");
            let frequency = desk.metric("deployment_frequency", &day).await;
            assert_eq!((&frequency["n"], &frequency["value"]), (&json!(2), &json!(2.0)), "{month}");
            // The day before has 24 hours, and the one deployment of its last hour.
            assert_eq!(frequency["previous"], json!(1.0), "{month}");
            let around = |days: i64| (begins + TimeDelta::hours(days)).to_rfc3339_opts(SecondsFormat::Secs, true);
            let week = format!("service=checkout&from={}&to={}", around(-24), around(hours + 24));
            let series = desk.get(&format!("/api/v1/dora/series?bucket=day&{week}")).await;
            let buckets = series["buckets"].as_array().unwrap();
            let of = |bucket: &Value| (bucket["metrics"]["deployment_frequency"]["value"].clone(), bucket["partial"].clone());
            let found: Vec<_> = buckets.iter().map(of).collect();
            assert_eq!(found, [1.0, 2.0, 1.0].map(|value| (json!(value), json!(false))), "{month}");
            let whole = desk.metric("deployment_frequency", &week).await;
            assert_eq!((&whole["n"], &whole["value"]), (&json!(4), &json!(4.0 / 3.0)), "{month}");
        }
    }

    async fn weeks_start_where_the_question_says(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        // Wednesday 5 to Saturday 8 March.
        let days = ["05", "06", "07", "08"];
        desk.send(days.map(|day| deployment(day, day, &format!("2025-03-{day}T12:00:00Z"))).to_vec().into()).await;
        let weeks = async |query: &str| {
            let path = format!("/api/v1/dora/series?bucket=week&service=checkout&time_zone=UTC&{MARCH}{query}");
            let series = desk.get(&path).await;
            let from = |bucket: &Value| bucket["from"].as_str().unwrap()[..10].to_owned();
            series["buckets"].as_array().unwrap().iter().take(3).map(from).collect::<Vec<_>>()
        };
        // The team's weeks start on Sunday.
        assert_eq!(weeks("").await, ["2025-03-01", "2025-03-02", "2025-03-09"]);
        assert_eq!(weeks("&week_starts_on=monday").await, ["2025-03-01", "2025-03-03", "2025-03-10"]);
        assert_eq!(weeks("&week_starts_on=friday").await, ["2025-03-01", "2025-03-07", "2025-03-14"]);
        let median = async |day: &str| {
            let query = format!("service=checkout&time_zone=UTC&from=2025-03-02T00:00:00Z&to=2025-03-16T00:00:00Z&week_starts_on={day}");
            desk.metric("deployment_frequency", &query).await["median_deployment_days_per_week"].clone()
        };
        // Two whole weeks of four days and none; one whole week from Friday with two.
        assert_eq!((median("sunday").await, median("friday").await), (json!(2.0), json!(2.0)));
        assert_eq!(median("monday").await, json!(4.0));
        for wrong in ["mon", "someday", "Monday"] {
            let (status, problem) =
                (desk.call)(TestRequest::get().uri(&format!("/api/v1/dora?week_starts_on={wrong}"))).await;
            assert_eq!((status, &problem["pointer"]), (StatusCode::BAD_REQUEST, &json!("week_starts_on")), "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains("monday, tuesday"), "{problem}");
        }
    }

    async fn a_rate_says_what_it_was_computed_from(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        let versions = ["1", "2", "3", "1"].into_iter().enumerate();
        let story = versions.map(|(n, version)| deployment(&format!("d{n}"), version, &format!("2025-03-05T1{n}:00:00Z")));
        desk.send(story.collect::<Vec<_>>().into()).await;
        let rate = desk.metric("change_fail_rate", &format!("service=checkout&{MARCH}")).await;
        assert_eq!(rate["method"], "failed deployments / deployments, rollbacks included; interval: Wilson, 95 %");
        assert_eq!((&rate["value"], &rate["n"]), (&json!(0.25), &json!(4)));
        let without = desk.metric("change_fail_rate", &format!("service=checkout&exclude_rollbacks=true&{MARCH}")).await;
        assert_eq!(without["method"], "failed deployments / deployments, rollbacks left out; interval: Wilson, 95 %");
        assert_eq!((&without["n"], &without["excluded"]), (&json!(3), &json!({"rollback": 1})));
        // Case 3: V2 and V3 are gone with the rollback; of the two V2, the first after V1, failed.
        let rows = desk.get(&format!("/api/v1/dora/rework_rate/explain?service=checkout&{MARCH}")).await;
        let rollback = &rows["included"].as_array().unwrap().iter().find(|row| row["value"] == true).unwrap()["deployment"];
        let ci = |id: &str| json!({"source": "ci", "id": id});
        assert_eq!((&rollback["id"], &rollback["rolls_back"]), (&json!("d3"), &ci("d1")));
        assert_eq!(rollback["took_away"], json!([ci("d1"), ci("d2")]));
    }

    /// What failed before it reached anybody, but says that it undoes something, was meant as a rollback.
    async fn what_names_what_it_undoes_is_a_rollback_even_where_it_fails(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        let attempt = json!({"outcome": "failed", "rolls_back": {"id": "d1"}});
        desk.send(json!([deployment("d1", "1", "2025-03-05T10:00:00Z"),
            with(deployment("d2", "0", "2025-03-05T11:00:00Z"), attempt),
            with(incident("i", "opened", "2025-03-05T12:00:00Z"), json!({"deployments": [{"id": "d2", "source": "ci"}]}))])).await;
        let rework = desk.metric("rework_rate", &format!("service=checkout&{MARCH}")).await;
        assert_eq!((&rework["n"], &rework["unplanned"]), (&json!(2), &json!(1)));
        let rate = desk.metric("change_fail_rate", &format!("service=checkout&exclude_rollbacks=true&{MARCH}")).await;
        assert_eq!((&rate["n"], &rate["failed"]), (&json!(1), &json!(0)), "it undid nothing: it failed itself");
    }

    /// Cases 5 and 7: shown with what they would have been.
    async fn what_ended_before_it_began_is_shown_with_its_sign(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        let early = json!({"changes": [{"repository": "acme/checkout", "sha": "a", "authored_at": "2025-03-05T10:05:00Z",
            "committed_at": "2025-03-05T09:00:00Z"}]});
        desk.send(json!([
            with(deployment("d1", "1", "2025-03-05T10:00:00Z"), early),
            with(incident("i1", "opened", "2025-03-05T11:00:00Z"), json!({"started_at": "2025-03-05T13:00:00Z", "deployments": []})),
            incident("i1", "resolved", "2025-03-05T12:00:00Z"),
            with(incident("i2", "opened", "2025-03-30T12:00:00Z"), json!({"deployments": [{"id": "d1", "source": "ci"}]})),
        ])).await;
        let left_out = async |metric: &str, query: &str| {
            let rows = desk.get(&format!("/api/v1/dora/{metric}/explain?service=checkout&{MARCH}{query}")).await;
            rows["excluded"].as_array().unwrap().clone()
        };
        let lead = &left_out("change_lead_time", "").await[0];
        assert_eq!((&lead["reason"], &lead["value"], &lead["started_at"]), (&json!("negative"), &json!(-300.0), &json!("2025-03-05T10:05:00Z")));
        assert_eq!(left_out("change_lead_time", "&lead_time_from=committed").await.len(), 0);
        let incidents = left_out("mean_time_to_recovery", "").await;
        let find = |id: &str| incidents.iter().find(|row| row["incident"]["id"] == id).unwrap();
        assert_eq!((&find("i1")["reason"], &find("i1")["value"]), (&json!("negative"), &json!(-3_600.0)));
        assert_eq!((&find("i2")["reason"], &find("i2")["value"]), (&json!("open"), &json!(36.0 * 3_600.0)));
        let failure = &left_out("failed_deployment_recovery_time", "").await[0];
        assert_eq!((&failure["reason"], &failure["value"]), (&json!("open"), &json!((26.0 * 24.0 + 14.0) * 3_600.0)));
    }

    async fn a_comparison_of_teams_says_who_has_none(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        desk.send(with(deployment("d1", "1", "2025-03-05T10:00:00Z"), json!({"service": "unheard-of"}))).await;
        let compared = desk.get("/api/v1/dora/compare?by=team").await;
        assert_eq!(compared["rows"].as_array().unwrap().len(), 1);
        let hint = compared["hint"].as_str().unwrap();
        assert!(hint.starts_with("3 of the services belong to no team: search, till, unheard-of;"), "{hint}");
        assert!(hint.contains("`teams:`") && hint.contains("`services:`"), "{hint}");
        for path in ["compare?by=service", "compare?by=team&team=payments"] {
            assert_eq!(desk.get(&format!("/api/v1/dora/{path}")).await["hint"], Value::Null, "{path}");
        }
    }

    async fn an_incident_of_several_services_is_one_incident_of_each(db: TestDb) {
        let desk = desk(&db.store, CONFIGURATION).await;
        let of = |service: &str| with(deployment(service, "1", "2025-03-05T10:00:00Z"), json!({"service": service}));
        let both = json!({"service": "checkout", "services": ["search", "checkout"], "detected_at": "2025-03-05T11:04:00Z"});
        desk.send(json!([of("checkout"), of("search"), of("till"), with(incident("i", "opened", "2025-03-05T11:00:00Z"), both),
            incident("i", "resolved", "2025-03-05T12:00:00Z")])).await;
        let counted = async |query: &str| {
            let mean = desk.metric("mean_time_to_recovery", &format!("{MARCH}{query}")).await["n"].clone();
            (mean, desk.metric("change_fail_rate", &format!("{MARCH}{query}")).await["failed"].clone())
        };
        // The last message names one service: it is that service's alone.
        assert_eq!(counted("&service=search").await, (json!(0), json!(0)));
        assert_eq!(counted("").await, (json!(1), json!(1)));
        let all = json!({"services": ["search", "checkout"]});
        desk.send(with(incident("i", "acknowledged", "2025-03-05T12:30:00Z"), all)).await;
        for service in ["checkout", "search"] {
            assert_eq!(counted(&format!("&service={service}")).await, (json!(1), json!(1)), "{service}");
            let listed = desk.get(&format!("/api/v1/incidents?service={service}")).await;
            assert_eq!(listed["items"][0]["detected_at"], "2025-03-05T11:04:00Z", "{service} {listed}");
        }
        assert_eq!(counted("&service=till").await, (json!(0), json!(0)));
        assert_eq!(counted("").await, (json!(1), json!(2)), "once among all, two deployments of it failed");
        let rows = desk.get(&format!("/api/v1/dora/mean_time_to_recovery/explain?{MARCH}")).await;
        let shown = &rows["included"][0]["incident"];
        assert_eq!((&shown["service"], &shown["other_services"]), (&json!("checkout"), &json!(["search"])));
        assert_eq!((&shown["detected_at"], &shown["seconds_to_detect"]), (&json!("2025-03-05T11:04:00Z"), &json!(240.0)));
        // A version is looked for in every service it affects.
        let put = TestRequest::put().uri("/api/v1/incidents/i/links").set_json(json!({"deployments": [{"version": "1"}]}));
        let (status, links) = (desk.call)(put).await;
        assert_eq!((status, links["links"].as_array().map(Vec::len)), (StatusCode::OK, Some(2)), "{links}");
    }
}
