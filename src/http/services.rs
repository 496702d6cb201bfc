//! `GET /api/v1/services`: everything that the configuration or an event names.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::listing::Listing;
use super::params::{PageParams, Params, cursor};
use super::selection::{not_known, services_of};
use super::{Caller, Problem};
use crate::app::App;
use crate::config::Config;
use crate::config::model::Tier;
use crate::dora::Rules;
use crate::event::{Deployment, EntityKey};
use crate::http::auth::Scope;
use crate::store::dora::{DoraCache, Reading, Wanted};
use crate::store::{Conn, StoreError, history};
use crate::time::Timestamp;

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(list);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ServiceParams {
    /// The services of one team.
    pub team: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Service {
    pub name: String,
    pub team: Option<String>,
    pub repository: Option<String>,
    /// The configuration names it; otherwise only events do.
    pub configured: bool,
    pub environments: Vec<ServiceEnvironment>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceEnvironment {
    pub name: String,
    #[schema(value_type = String, example = "production")]
    pub tier: &'static str,
    /// The newest deployment that succeeded.
    pub last_deployment: Option<LastDeployment>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LastDeployment {
    #[serde(flatten)]
    pub key: EntityKey,
    pub version: Option<String>,
    pub commit: Option<String>,
    pub finished_at: Option<Timestamp>,
}

/// Services by name, with their environments and what runs there
#[utoipa::path(tag = "delivery", params(ServiceParams, PageParams), responses(
    (status = OK, body = Listing<Service>),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/services")]
pub async fn list(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<ServiceParams, PageParams>,
) -> Result<web::Json<Listing<Service>>, Problem> {
    caller.require(Scope::Read)?;
    let Params(own, page) = params;
    let (limit, after) = (page.limit()?, page.cursor::<String>()?);
    let config = app.config.load_full();
    let of_team = own.team.as_deref().map(|team| team_services(&config, team)).transpose()?;
    let reading = cache.read(&app.store, &config, &Wanted::All, None).await?;
    let mut conn = app.store.read().await?;
    let mut services = by_name(&mut conn, &config, &reading).await?;
    services.retain(|name, _| {
        of_team.as_ref().is_none_or(|team| team.contains(name)) && after.as_ref().is_none_or(|after| name > after)
    });
    let more = services.len() > limit;
    let mut items = Vec::new();
    for (name, environments) in services.into_iter().take(limit) {
        items.push(service(&mut conn, &config, &reading.rules, name, environments).await?);
    }
    let next = items.last().filter(|_| more).and_then(|last| cursor(&last.name));
    Ok(web::Json(Listing { items, next }))
}

fn team_services(config: &Config, team: &str) -> Result<BTreeSet<String>, Problem> {
    let teams = config.teams.iter().map(|team| team.name.as_str());
    if !teams.clone().any(|known| known == team) {
        return Err(not_known("team", team, teams));
    }
    Ok(services_of(config, team))
}

/// Every service that the configuration or an event names, with the names that sources use for its
/// environments.
///
/// # Errors
/// The database does not answer.
pub async fn by_name(
    conn: &mut Conn,
    config: &Config,
    reading: &Reading,
) -> Result<BTreeMap<String, BTreeSet<String>>, StoreError> {
    let configured = config.services.iter().map(|service| (service.name.clone(), None));
    let deployed = reading.deployed().map(|(service, raw)| (service.to_owned(), Some(raw.to_owned())));
    let others = history::other_places(conn).await?;
    let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (service, environment) in configured.chain(deployed).chain(others) {
        services.entry(service).or_default().extend(environment);
    }
    Ok(services)
}

async fn service(
    conn: &mut Conn,
    config: &Config,
    rules: &Rules,
    name: String,
    raw_environments: BTreeSet<String>,
) -> Result<Service, StoreError> {
    let mut raw_names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for raw in raw_environments {
        raw_names.entry(rules.environment(&raw).0.to_owned()).or_default().push(raw);
    }
    let mut environments = Vec::with_capacity(raw_names.len());
    for (environment, raw) in raw_names {
        let newest = history::newest_success(conn, &name, &raw, Timestamp::from_micros(i64::MAX)).await?;
        let tier = tier_name(rules.environment(&environment).1);
        environments.push(ServiceEnvironment {
            tier,
            last_deployment: newest.map(LastDeployment::from),
            name: environment,
        });
    }
    let configured = config.services.iter().find(|service| service.name == name);
    Ok(Service {
        team: configured.and_then(|service| service.team.clone()),
        repository: configured.and_then(|service| service.repository.clone()),
        configured: configured.is_some(),
        environments,
        name,
    })
}

impl From<Deployment> for LastDeployment {
    fn from(deployment: Deployment) -> Self {
        let Deployment { key, version, commit, finished_at, .. } = deployment;
        Self { key, version, commit, finished_at }
    }
}

const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Production => "production",
        Tier::Staging => "staging",
        Tier::Testing => "testing",
        Tier::Development => "development",
        Tier::Other => "other",
    }
}
