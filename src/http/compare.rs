//! `GET /api/v1/dora/compare`: services or teams side by side.

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::params::{PageParams, Params, cursor, invalid, one_of};
use super::selection::{Asked, DoraParams, Selection, services_of};
use super::services::by_name;
use super::{Caller, Problem};
use crate::app::App;
use crate::config::Config;
use crate::dora::figure::{Figures, figures_with_previous};
use crate::dora::select::Selected;
use crate::http::auth::Scope;
use crate::store::dora::{DoraCache, Wanted};
use crate::time::Timestamp;

/// Services of no team that are named; of more only the number is said.
const NAMED: usize = 5;

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(compare);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CompareParams {
    /// A row per `service` or per `team`; `service` without it.
    #[param(value_type = Option<By>)]
    pub by: Option<String>,
    /// At most so many rows, 1 to 500; 100 without it.
    #[param(value_type = Option<u32>)]
    pub limit: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    #[default]
    Service,
    Team,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Comparison {
    pub from: Timestamp,
    pub to: Timestamp,
    pub selection: Selection,
    /// The year of the benchmark behind the bands.
    pub benchmark_edition: String,
    pub by: By,
    /// What keeps services out of a comparison by team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// In order of their names.
    pub rows: Vec<Compared>,
    /// `cursor` of the next page; `null` on the last.
    pub next: Option<String>,
}

/// What `GET /api/v1/dora` answers for this service or team.
#[derive(Debug, Serialize, ToSchema)]
pub struct Compared {
    pub name: String,
    /// The team's, unless one was asked for: it decides what a day and a week is.
    pub time_zone: &'static str,
    pub metrics: Figures,
}

/// Services or teams side by side
///
/// Each row has the figures that `GET /api/v1/dora` answers for this service or team alone, a
/// team's computed from the rows of its services. One without data has `null`, with the reason.
/// Services of no team are in no row of a comparison by team; `hint` then says which.
#[utoipa::path(tag = "dora", params(DoraParams, CompareParams), responses(
    (status = OK, body = Comparison),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/dora/compare")]
pub async fn compare(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<DoraParams, CompareParams>,
) -> Result<web::Json<Comparison>, Problem> {
    caller.require(Scope::Read)?;
    let Params(dora, CompareParams { by, limit, cursor: after }) = params;
    let by = one_of("by", by.as_deref(), "service, team")?.unwrap_or_default();
    if by == By::Team && dora.service.is_some() {
        return Err(invalid("service", "and `by=team` exclude each other: a team has the figures of all its services"));
    }
    let page = PageParams { limit, cursor: after };
    let (limit, after) = (page.limit()?, page.cursor::<String>()?);
    let asked = Asked::of(&app, &cache, &dora).await?;
    let mut names = names(&app, &cache, &dora, by).await?;
    names.retain(|name| after.as_ref().is_none_or(|after| name > after));
    let more = names.len() > limit;
    names.truncate(limit);
    let mut rows = Vec::with_capacity(names.len());
    for name in names {
        rows.push(row(&app, &cache, &dora, by, name, &asked).await?);
    }
    let next = rows.last().filter(|_| more).and_then(|last| cursor(&last.name));
    let hint = match (by, &dora.team) {
        (By::Team, None) => without_team(&app, &cache).await?,
        _ => None,
    };
    let window = asked.question.window;
    Ok(web::Json(Comparison {
        from: window.from,
        to: window.to,
        benchmark_edition: asked.edition.clone(),
        by,
        hint,
        rows,
        next,
        selection: asked.selection,
    }))
}

/// What there is a row of, in order.
async fn names(app: &App, cache: &DoraCache, params: &DoraParams, by: By) -> Result<Vec<String>, Problem> {
    let config = app.config.load_full();
    let mut names = match (by, &params.service, &params.team) {
        (By::Service, Some(one), _) | (By::Team, _, Some(one)) => vec![one.clone()],
        (By::Service, None, Some(team)) => services_of(&config, team).into_iter().collect(),
        (By::Service, None, None) => services(app, cache, &config).await?,
        (By::Team, _, None) => config.teams.iter().map(|team| team.name.clone()).collect(),
    };
    names.sort_unstable();
    Ok(names)
}

async fn services(app: &App, cache: &DoraCache, config: &std::sync::Arc<Config>) -> Result<Vec<String>, Problem> {
    let reading = cache.read(&app.store, config, &Wanted::All, None).await?;
    let known = by_name(&mut app.store.read().await?, config, &reading).await?;
    Ok(known.into_keys().collect())
}

/// Says which services belong to no team, and what to do about it.
async fn without_team(app: &App, cache: &DoraCache) -> Result<Option<String>, Problem> {
    let config = app.config.load_full();
    let mut names = services(app, cache, &config).await?;
    let has_team = |name: &String| config.services.iter().any(|known| known.name == *name && known.team.is_some());
    names.retain(|name| !has_team(name));
    let count = names.len();
    let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
    names.truncate(NAMED);
    let which = names.join(", ");
    Ok((count > 0).then(|| {
        format!(
            "{count} of the services belong to no team: {which}{more}; name the teams in `teams:` of the configuration, \
             and give each service its `team` in `services:`"
        )
    }))
}

/// The figures of one service or team over the window of the whole.
async fn row(
    app: &App,
    cache: &DoraCache,
    params: &DoraParams,
    by: By,
    name: String,
    whole: &Asked,
) -> Result<Compared, Problem> {
    let window = whole.question.window;
    let (service, team) = match by {
        By::Service => (Some(name.clone()), None),
        By::Team => (None, Some(name.clone())),
    };
    let (from, to) = (Some(window.from.to_string()), Some(window.to.to_string()));
    let params = DoraParams { service, team, from, to, window: None, ..params.clone() };
    let (question, metrics) = match Asked::of(app, cache, &params).await {
        Ok(asked) => (asked.question, asked.figures(app).await?.0),
        // The name is known, so the environment is one that only incidents of others name.
        Err(problem) if problem.status == 404 => {
            (whole.question, figures_with_previous(&Selected::default(), &whole.question, whole.standards()))
        }
        Err(problem) => return Err(problem),
    };
    Ok(Compared { name, time_zone: question.calendar.time_zone.name(), metrics })
}
