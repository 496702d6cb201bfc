//! The scenes of the demo, in order.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::DemoError;
use super::answers::{Dora, Objective, Page, Rollback};
use super::api::Api;
use super::facts::{Facts, Metrics, table};
use super::history::{History, history};
use super::listener::Listener;
use super::narrator::Narrator;
use super::server::Server;
use super::shop::{ENVIRONMENT, LOAD, SERVICE, Shop};
use crate::alert::burn;
use crate::time::Clock;

const DORA: &str = "/api/v1/dora?service=checkout&environment=production&window=30d";
const SLO: &str = "/api/v1/slos/checkout-availability";
const SOON: Duration = Duration::from_secs(30);
/// Requests in a row that count as recovered.
const RECOVERED: u64 = 3 * LOAD;

pub struct Story<'a> {
    pub server: &'a Server,
    pub shop: &'a Shop,
    pub listener: &'a Listener,
    pub narrator: &'a Narrator,
}

impl Story<'_> {
    /// # Errors
    /// Something that was to happen did not, in time.
    pub async fn tell(&self) -> Result<Facts, DemoError> {
        let history = self.the_past().await?;
        let before = self.numbers().await?;
        tokio::select! {
            Err(failed) = self.shop.serve(self.api()) => Err(failed),
            told = self.the_present(&history, before) => told,
        }
    }

    fn api(&self) -> &Api {
        self.server.api()
    }

    async fn numbers(&self) -> Result<Metrics, DemoError> {
        Ok(self.api().get::<Dora>(DORA).await?.metrics)
    }

    async fn the_past(&self) -> Result<History, DemoError> {
        let url = self.server.url();
        self.narrator.scene(&format!("DevPulse runs at {url}, on SQLite in a temporary folder")).await?;
        self.narrator.say(&format!("         configuration: {}", self.server.configuration().display()))?;
        let history = history(Clock::system().now());
        self.narrator
            .scene("Four weeks of history of the service checkout are sent: deployments, changes, an incident, traffic")
            .await?;
        self.api().send(&history.events).await?;
        self.shop.switch_to(&history.live);
        self.shop.plant_bug(&history.next);
        self.narrator.say(&format!("         {} events taken in; {} is live", history.events.len(), history.live))?;
        self.look("the numbers so far", DORA)?;
        Ok(history)
    }

    async fn the_present(&self, history: &History, before: Metrics) -> Result<Facts, DemoError> {
        self.narrator.scene(&format!("Live traffic: {LOAD} requests a second, reported once a second")).await?;
        self.wait_for("healthy live traffic", |shop| shop.served().requests >= 3 * LOAD).await?;
        self.narrator.say(&format!("         all is well: {}", self.budget().await?))?;

        let went_bad = self.deploy(history).await?;
        self.wait_for("the rollback", |shop| shop.live() == history.live).await?;
        let seconds_to_rollback = went_bad.elapsed().as_secs_f64();
        let rollback = self.the_decision().await?;
        self.recovery().await?;
        let after = self.numbers().await?;
        self.the_end(&before, &after).await?;
        let served = self.shop.served();
        Ok(Facts {
            url: self.server.url().to_owned(),
            bad_version: history.next.clone(),
            live_version: self.shop.live(),
            requests_failed: served.failed,
            requests: served.requests,
            seconds_to_rollback,
            seconds: self.narrator.elapsed().as_secs_f64(),
            alerts: self.listener.alerts(),
            calls: self.listener.calls(),
            rollback,
            before,
            after,
        })
    }

    /// The new version goes live, with its bug, and DevPulse is told of the deployment.
    async fn deploy(&self, history: &History) -> Result<Instant, DemoError> {
        let version = &history.next;
        self.narrator.scene(&format!("{version} is deployed; one in five of its requests will fail")).await?;
        let clock = Clock::system();
        let authored = clock.now().minus(Duration::from_mins(50));
        let deployment = json!({"type": "deployment", "id": format!("d-{version}"), "source": "ci/acme",
            "time": clock.now(), "service": SERVICE, "environment": ENVIRONMENT, "version": version,
            "commit": "feed".repeat(10), "outcome": "succeeded", "kind": "planned",
            "changes": [{"repository": "acme/checkout", "sha": "feed".repeat(10), "authored_at": authored}]});
        self.api().send(&[deployment]).await?;
        self.shop.switch_to(version);
        Ok(Instant::now())
    }

    /// The finished rollback, and why it was decided.
    async fn the_decision(&self) -> Result<Rollback, DemoError> {
        let path = "/api/v1/rollbacks?service=checkout";
        let done = |page: Page<Rollback>| page.items.into_iter().find(|rollback| rollback.state == "done");
        let rollback = self.api().until("the rollback to be recorded", path, SOON, done).await?;
        self.narrator.scene("Rolled back, because:").await?;
        self.narrator.say(&format!("         {}", rollback.summary))?;
        self.narrator.say(&format!("         {}", self.budget().await?))?;
        let path = format!("/api/v1/rollbacks/{}", rollback.id);
        self.look("the evidence and every step", &path)?;
        self.look("the budget and its burn", SLO)?;
        self.api().get(&path).await
    }

    /// What is left, and how fast it goes.
    async fn budget(&self) -> Result<String, DemoError> {
        let objective: Objective = self.api().get(SLO).await?;
        let left = objective.error_budget_remaining.map_or_else(|| "unknown".to_owned(), burn::budget);
        let burns = objective
            .burn_rates
            .iter()
            .map(|burn| format!("{:.1}× over {} s", burn.burn_rate.unwrap_or_default(), burn.window_seconds));
        Ok(format!("error budget {left}, burning {}", burns.collect::<Vec<_>>().join(", ")))
    }

    async fn recovery(&self) -> Result<(), DemoError> {
        self.wait_for("requests to succeed again", |shop| shop.served().since_failure >= RECOVERED).await?;
        let served = self.shop.served();
        self.narrator.scene(&format!("Recovered: {} requests in a row succeeded", served.since_failure)).await?;
        self.narrator.say(&format!("         {} of {} requests failed in all", served.failed, served.requests))?;
        Ok(())
    }

    async fn the_end(&self, before: &Metrics, after: &Metrics) -> Result<(), DemoError> {
        self.narrator.scene("The delivery numbers have moved by themselves").await?;
        self.narrator.say(&table(before, after))?;
        self.look("why a number is what it is", "/api/v1/dora/change_fail_rate/explain?service=checkout")?;
        self.look("the alerts", "/api/v1/alerts?service=checkout")?;
        self.look("what Prometheus sees", "/metrics")?;
        let (told, calls) = (self.listener.alerts(), self.listener.calls());
        self.narrator.say(&format!("         {told} notifications to people, {calls} call to the rollback target"))?;
        Ok(())
    }

    fn look(&self, what: &str, path: &str) -> Result<(), std::io::Error> {
        self.narrator.say(&format!("         {what}:  curl '{}{path}'", self.server.url()))
    }

    async fn wait_for(&self, what: &'static str, mut happened: impl FnMut(&Shop) -> bool) -> Result<(), DemoError> {
        let deadline = Instant::now() + SOON;
        while !happened(self.shop) {
            if Instant::now() > deadline {
                return Err(DemoError::Vain { what, waited: SOON });
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
