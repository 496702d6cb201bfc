//! Pull requests by GitHub's webhooks: their times and original commits reach the commits that
//! they became, in whatever order the deliveries come.

use proptest::prop_assert_eq;
use serde_json::{Value, json};

use crate::support::arrival::in_any_order;
use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::github::{PullRequests, deliver};

const SECRET: &str = "It's a Secret to Everybody";

async fn start(url: &str) -> DevPulse {
    DevPulse::start(url, &format!("sources: {{github: {{secret: \"{SECRET}\"}}}}\n")).await
}

/// A delivery: the event's name and its body.
type Delivery = (&'static str, Value);

/// A week of a repository: a squashed pull request with reviews, a merged one, a rebased one, one
/// that nobody merged, one by a fork, two that a merge queue brought in one push, and a commit
/// that went to the main line by itself.
fn week(repository: &str) -> Vec<Delivery> {
    let of = PullRequests { repository };
    let landed = [("d1", "04T08:00"), ("d2", "04T09:00"), ("m2", "05T11:00")];
    let mut merge = of.push("main", Some("s1"), "m2", &landed, "05T11:00");
    merge.1["commits"][2]["message"] = json!("Merge pull request #2 from acme/fix");
    let mut fork = of.merged(5, ("feature", "g1"), 1, "s5", "06T10:00");
    fork.1["pull_request"]["head"]["repo"]["full_name"] = json!("stranger/checkout");
    vec![
        // Squashed: written on the 2nd, replaced by force on the 3rd, merged on the 5th.
        of.push("feature", None, "c1", &[("c1", "02T09:00")], "02T09:10"),
        of.push("feature", Some("c1"), "c2", &[("c2", "03T09:00")], "03T09:10"),
        of.forced("feature", "c2", "c3", &[("c3", "03T10:00")], "03T10:10"),
        of.pull("opened", 1, ("feature", "c2"), 2, "03T09:30", "03T09:30"),
        of.pull("ready_for_review", 1, ("feature", "c3"), 2, "03T09:30", "03T12:00"),
        of.review(1, 11, "a-bot[bot]", "approved", "03T12:01"),
        of.review(1, 12, "author", "commented", "03T12:02"),
        of.review(1, 13, "Colleague", "approved", "03T14:00"),
        of.dismissed(1, 13, "Colleague", "03T14:00"),
        of.review(1, 14, "Colleague", "approved", "04T10:00"),
        of.merged(1, ("feature", "c3"), 2, "s1", "05T10:00"),
        of.push("main", Some("m0"), "s1", &[("s1", "05T10:00")], "05T10:00"),
        // A merge commit, whose commits land as they are.
        of.push("fix", None, "d2", &[("d1", "04T08:00"), ("d2", "04T09:00")], "04T09:05"),
        of.merged(2, ("fix", "d2"), 2, "m2", "05T11:00"),
        merge,
        // Rebased: dated anew by the host.
        of.push("tidy", None, "e2", &[("e1", "04T10:00"), ("e2", "04T11:00")], "04T11:05"),
        of.merged(3, ("tidy", "e2"), 2, "r2", "05T12:00"),
        of.push("main", Some("m2"), "r2", &[("r1", "05T12:00"), ("r2", "05T12:00")], "05T12:00"),
        // Nobody merged it; its branch's commits are no changes.
        of.push("idea", None, "f1", &[("f1", "04T12:00")], "04T12:05"),
        of.pull("closed", 4, ("idea", "f1"), 1, "04T12:10", "06T09:00"),
        // A fork's branch of the same name as ours.
        fork,
        of.push("main", Some("r2"), "s5", &[("s5", "06T10:00")], "06T10:00"),
        // A merge queue: two squashed ones in one push.
        of.push("left", None, "h1", &[("h1", "05T08:00")], "05T08:05"),
        of.push("right", None, "i1", &[("i1", "05T09:00")], "05T09:05"),
        of.merged(6, ("left", "h1"), 1, "q6", "06T12:00"),
        of.merged(7, ("right", "i1"), 1, "q7", "06T12:00"),
        of.push("main", Some("s5"), "q7", &[("q6", "06T12:00"), ("q7", "06T12:00")], "06T12:00"),
        // Straight to the main line, behind the queue's.
        of.push("main", Some("q7"), "x1", &[("x1", "06T13:00")], "06T13:05"),
    ]
}

async fn tell(devpulse: &DevPulse, deliveries: &[Delivery]) {
    for (event, body) in deliveries {
        let receipt = deliver(devpulse, event, body, SECRET).await.ok();
        assert_ne!(receipt["outcome"], "skipped", "{event}: {receipt}");
    }
}

/// The changes of a repository, in order of their names.
async fn changes(devpulse: &DevPulse, repository: &str) -> Vec<Value> {
    let text = devpulse.text(&format!("/api/v1/changes?repository={repository}&limit=500")).await;
    let mut page: Value = serde_json::from_str(&text.replace(repository, "it")).unwrap();
    let mut items = page["items"].as_array_mut().unwrap().clone();
    items.sort_by_key(|change| change["sha"].to_string());
    items
}

fn at(day: &str) -> Value {
    json!(format!("2026-01-{day}:00Z"))
}

on_both! {
    async fn a_merged_pull_request_gives_its_times_to_what_it_became(db: Database) {
        let devpulse = start(&db.url).await;
        tell(&devpulse, &week("acme/checkout")).await;
        let changes = changes(&devpulse, "acme/checkout").await;
        let names: Vec<&str> = changes.iter().map(|change| change["sha"].as_str().unwrap().trim_start_matches('0')).collect();
        assert_eq!(names, ["d1", "d2", "m2", "q6", "q7", "r1", "r2", "s1", "s5", "x1"], "only what landed is a change");
        let change = |name: &str| changes.iter().find(|change| change["sha"].as_str().unwrap().ends_with(name)).unwrap();
        let request = |name: &str| change(name)["pull_request"].clone();

        assert_eq!(request("s1"), json!({
            "number": 1, "first_commit_at": at("02T09:00"), "opened_at": at("03T12:00"),
            "first_review_at": at("03T14:00"), "approved_at": at("04T10:00"), "merged_at": at("05T10:00"),
        }));
        for name in ["d1", "d2", "m2"] {
            assert_eq!((&request(name)["number"], &request(name)["first_commit_at"]), (&json!(2), &at("04T08:00")), "{name}");
        }
        assert_eq!((&change("m2")["merge"], &change("d1")["merge"]), (&json!(true), &json!(false)));
        assert_eq!((&change("d2")["authored_at"], &request("r1")["number"]), (&at("04T09:00"), &json!(3)));
        assert_eq!((&change("r1")["authored_at"], &change("r2")["authored_at"]), (&at("04T10:00"), &at("04T11:00")));
        assert_eq!((&request("s5")["number"], &request("s5")["first_commit_at"]), (&json!(5), &Value::Null));
        assert_eq!((&request("q6")["number"], &request("q6")["first_commit_at"]), (&json!(6), &at("05T08:00")));
        assert_eq!((&request("q7")["number"], &request("q7")["first_commit_at"]), (&json!(7), &at("05T09:00")));
        assert_eq!(request("x1"), Value::Null);
    }

    /// A squashed pull request is measured from its first original commit; a merge commit is not a change.
    async fn lead_time_begins_with_the_first_original_commit(db: Database) {
        let devpulse = start(&db.url).await;
        let week = week("acme/checkout");
        let pushes: Vec<Delivery> = week.iter().filter(|(event, _)| *event == "push").cloned().collect();
        tell(&devpulse, &pushes).await;
        let of = PullRequests { repository: "acme/checkout" };
        for (id, head, time) in [(1, "m0", "01T00:00"), (2, "r2", "05T13:00")] {
            let (event, body) = of.deployed(id, head, time);
            deliver(&devpulse, event, &body, SECRET).await.ok();
        }
        let window = "service=checkout&from=2026-01-01T00:00:00Z&to=2026-01-10T00:00:00Z";
        let explain = async || devpulse.get(&format!("/api/v1/dora/change_lead_time/explain?{window}")).await;
        let squashed = |explained: &Value| {
            let rows = explained["included"].as_array().unwrap();
            let row = rows.iter().find(|row| row["change"]["sha"].as_str().unwrap().ends_with("s1")).unwrap();
            row["started_at"].clone()
        };
        assert_eq!(squashed(&explain().await), at("05T10:00"), "when the host wrote it");
        // Counted already, and told of late.
        tell(&devpulse, &week).await;
        let explained = explain().await;
        let mut rows: Vec<(&str, &str)> = explained["included"].as_array().unwrap().iter()
            .map(|row| (row["change"]["sha"].as_str().unwrap().trim_start_matches('0'), row["started_at"].as_str().unwrap()))
            .collect();
        rows.sort_unstable();
        let expected = [("d1", "04T08:00"), ("d2", "04T09:00"), ("r1", "04T10:00"), ("r2", "04T11:00"), ("s1", "02T09:00")];
        let expected = expected.map(|(name, day)| (name, format!("2026-01-{day}:00Z")));
        assert_eq!(rows, expected.each_ref().map(|(name, at)| (*name, at.as_str())), "{explained:#}");
        let merge = explained["excluded"].as_array().unwrap().iter().find(|row| row["reason"] == "merge_commit").unwrap();
        assert!(merge["change"]["sha"].as_str().unwrap().ends_with("m2"));
    }

    /// Whichever comes first, what a pull request is said to have become last is what it became.
    async fn a_commit_that_a_pull_request_did_not_become_has_nothing_of_it(db: Database) {
        let devpulse = start(&db.url).await;
        let of = |repository| PullRequests { repository };
        let wrong = |repository| of(repository).merged(1, ("feature", "c1"), 1, "s1", "05T10:00");
        let right = |repository| of(repository).merged(1, ("feature", "c1"), 1, "s2", "05T10:05");
        let pushes = |repository| [
            of(repository).push("feature", None, "c1", &[("c1", "02T09:00")], "02T09:10"),
            of(repository).push("main", Some("m0"), "s1", &[("s0", "05T09:00"), ("s1", "05T10:00")], "05T10:00"),
            of(repository).push("main", Some("s1"), "s2", &[("s2", "05T10:05")], "05T10:05"),
        ];
        tell(&devpulse, &pushes("acme-1/checkout")).await;
        tell(&devpulse, &[wrong("acme-1/checkout")]).await;
        let number = |changes: &[Value], place: usize| changes[place]["pull_request"]["number"].clone();
        let before = changes(&devpulse, "acme-1/checkout").await;
        assert_eq!((number(&before, 0), number(&before, 1), number(&before, 2)), (json!(1), json!(1), Value::Null));
        tell(&devpulse, &[right("acme-1/checkout")]).await;
        let after = changes(&devpulse, "acme-1/checkout").await;
        assert_eq!((number(&after, 0), number(&after, 1), number(&after, 2)), (Value::Null, Value::Null, json!(1)), "{after:#?}");
        tell(&devpulse, &[right("acme-2/checkout"), wrong("acme-2/checkout")]).await;
        tell(&devpulse, &pushes("acme-2/checkout")).await;
        assert_eq!(changes(&devpulse, "acme-2/checkout").await, after);
    }

    async fn a_push_that_is_not_listed_in_full_makes_the_answer_partial(db: Database) {
        let devpulse = start(&db.url).await;
        let of = PullRequests { repository: "acme/checkout" };
        let (event, mut push) = of.push("main", Some("m0"), "m9", &[("m8", "02T10:00"), ("m9", "02T11:00")], "02T12:00");
        let newest = push["commits"].as_array_mut().unwrap().pop().unwrap();
        let deploy = async |id: u64, head: &str, time: &str| {
            let (event, body) = of.deployed(id, head, time);
            deliver(&devpulse, event, &body, SECRET).await.ok();
        };
        deploy(1, "m0", "01T00:00").await;
        deliver(&devpulse, event, &push, SECRET).await.ok();
        deploy(2, "m9", "02T13:00").await;
        let lead = async || {
            let window = "service=checkout&from=2026-01-01T00:00:00Z&to=2026-01-10T00:00:00Z";
            devpulse.get(&format!("/api/v1/dora?{window}")).await["metrics"]["change_lead_time"].clone()
        };
        let partial = lead().await;
        assert_eq!((&partial["n"], &partial["partial"]), (&json!(2), &json!(1)), "{partial:#}");
        let complete = changes(&devpulse, "acme/checkout").await;
        assert!(complete.iter().all(|change| change["partial"] == true), "{complete:#?}");
        // Delivered once more, in full.
        push["commits"].as_array_mut().unwrap().push(newest);
        deliver(&devpulse, event, &push, SECRET).await.ok();
        let whole = lead().await;
        assert_eq!((&whole["n"], &whole["partial"]), (&json!(2), &Value::Null), "{whole:#}");
    }

    async fn any_order_and_any_repetition_give_the_same_changes(db: Database) {
        let devpulse = start(&db.url).await;
        tell(&devpulse, &week("acme/checkout")).await;
        let sorted = changes(&devpulse, "acme/checkout").await;
        assert_eq!(sorted.len(), 10);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            in_any_order(week("x").len(), 16, |case, arrival| {
                let repository = format!("acme-{case}/checkout");
                let week = week(&repository);
                let deliveries: Vec<Delivery> = arrival.iter().map(|index| week[*index].clone()).collect();
                let found = runtime.block_on(async {
                    tell(&devpulse, &deliveries).await;
                    changes(&devpulse, &repository).await
                });
                prop_assert_eq!(&found, &sorted);
                Ok(())
            });
        });
    }
}
