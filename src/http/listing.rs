//! What the lists of deployments, changes and incidents have in common.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::params::{PageParams, cursor, invalid, time};
use super::selection::{known_service, not_known};
use crate::app::App;
use crate::config::EnvironmentNames;
use crate::store::dora::{DoraCache, Wanted};
use crate::store::history::{ListFilter, Page, other_places};
use crate::time::Timestamp;

/// Filters of every list; `from` and `to` are half open.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    pub service: Option<String>,
    /// An environment of the configuration, or a name that sources use.
    pub environment: Option<String>,
    #[param(value_type = Option<Timestamp>)]
    pub from: Option<String>,
    #[param(value_type = Option<Timestamp>)]
    pub to: Option<String>,
    /// At most so many items, 1 to 500; 100 without it.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// A page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// `cursor` of the next page; `null` on the last.
    pub next: Option<String>,
}

impl<T> From<Page<T>> for Listing<T> {
    fn from(page: Page<T>) -> Self {
        Self { next: page.next.as_ref().and_then(cursor), items: page.items }
    }
}

/// For a list that came out empty: an empty answer is about something that exists.
///
/// # Errors
/// 404 for services and environments nobody knows.
pub async fn known_place(app: &App, service: Option<&str>, environment: Option<&str>) -> Result<(), Problem> {
    let (service, environment) = (service.map(str::to_owned), environment.map(str::to_owned));
    let place = ListParams { service, environment, ..ListParams::default() };
    place.environments(app, &app.dora).await.map(drop)
}

/// The configured name of an environment, whichever of its names was asked for.
pub fn canonical(app: &App, environment: Option<String>) -> Option<String> {
    let config = app.config.load();
    environment.map(|name| EnvironmentNames::new(&config.environments).canonical(&name).to_owned())
}

impl ListParams {
    /// # Errors
    /// 400 for what cannot be understood, 404 for services and environments nobody knows.
    pub async fn filter(&self, app: &App, cache: &DoraCache) -> Result<ListFilter, Problem> {
        let page = PageParams { limit: self.limit.clone(), cursor: self.cursor.clone() };
        let (from, to) = (time("from", self.from.as_deref())?, time("to", self.to.as_deref())?);
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(invalid("from", "must lie before `to`"));
        }
        let (limit, after) = (page.limit()?, page.cursor()?);
        Ok(ListFilter {
            environments: self.environments(app, cache).await?,
            service: self.service.clone(),
            from,
            to,
            after,
            limit,
        })
    }

    /// The names that sources use for the environment asked for.
    async fn environments(&self, app: &App, cache: &DoraCache) -> Result<Option<Vec<String>>, Problem> {
        if self.service.is_none() && self.environment.is_none() {
            return Ok(None);
        }
        let config = app.config.load_full();
        let reading = cache.read(&app.store, &config, &Wanted::All, None).await?;
        if let Some(service) = &self.service {
            known_service(app, &config, &reading, service).await?;
        }
        let Some(named) = &self.environment else { return Ok(None) };
        let rules = &reading.rules;
        let name = rules.environment(named).0;
        let others = other_places(&mut app.store.read().await?).await?;
        let others = others.into_iter().filter_map(|(_, raw)| raw);
        let mut used: Vec<String> = reading.deployed().map(|(_, raw)| raw.to_owned()).chain(others).collect();
        used.retain(|raw| rules.environment(raw).0 == name);
        used.sort_unstable();
        used.dedup();
        let mut configured = config.environments.iter().map(|environment| environment.name.as_str());
        if used.is_empty() && !configured.clone().any(|known| known == name) {
            return Err(not_known("environment", named, &mut configured));
        }
        Ok(Some(used))
    }
}
