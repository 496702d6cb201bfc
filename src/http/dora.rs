//! `GET /api/v1/dora`: the metrics, their explanation, and their course over time.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::params::{PageParams, Params, cursor, invalid, one_of};
use super::selection::{Asked, DoraParams, Selection, not_known};
use super::{Caller, Problem};
use crate::app::App;
use crate::dora::calendar::{Period, Unit, Window};
use crate::dora::count::Question;
use crate::dora::figure::{Figures, NoValue, Standards, figure, figures_of};
use crate::dora::month::Month;
use crate::dora::{Metric, explain};
use crate::http::auth::Scope;
use crate::store::StoreError;
use crate::store::dora::{Arranged, DoraCache};
use crate::time::Timestamp;

/// An answer that new facts overtake is begun anew so often.
const ATTEMPTS: usize = 10;
/// Periods of one answer.
const MAX_BUCKETS: usize = 1_000;

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(series).service(explanation).service(summary);
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DoraAnswer {
    pub from: Timestamp,
    pub to: Timestamp,
    pub time_zone: &'static str,
    pub selection: Selection,
    /// The year of the benchmark behind the bands.
    pub benchmark_edition: String,
    /// Where no deployment to the environments asked for is known: others that have some.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub deployed_elsewhere: BTreeSet<String>,
    pub metrics: Figures,
}

/// The five delivery metrics and the mean time to recovery
///
/// Each with its unit, how many rows it was computed from, its method, its value in the period
/// before, an interval, and what was left out. `null` always comes with a reason.
#[utoipa::path(tag = "dora", params(DoraParams), responses(
    (status = OK, body = DoraAnswer),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/dora")]
pub async fn summary(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<DoraParams>,
) -> Result<web::Json<DoraAnswer>, Problem> {
    caller.require(Scope::Read)?;
    let asked = Asked::of(&app, &cache, &params.0).await?;
    let (metrics, deployed_elsewhere) = asked.figures(&app).await?;
    Ok(web::Json(DoraAnswer {
        from: asked.question.window.from,
        to: asked.question.window.to,
        time_zone: asked.question.calendar.time_zone.name(),
        benchmark_edition: asked.edition.clone(),
        deployed_elsewhere,
        metrics,
        selection: asked.selection,
    }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    pub metric: Metric,
    pub value: Option<f64>,
    pub unit: &'static str,
    pub n: u64,
    pub method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<NoValue>,
    pub from: Timestamp,
    pub to: Timestamp,
    pub time_zone: &'static str,
    pub selection: Selection,
    /// The rows that the value was computed from.
    pub included: Vec<explain::Row>,
    /// The rows that were left out, and why.
    pub excluded: Vec<explain::Row>,
    /// `cursor` of the next page; `null` on the last. All included rows come before the excluded.
    pub next: Option<String>,
}

/// Every row behind a metric, and every row left out, with the reason
#[utoipa::path(tag = "dora", params(("metric" = Metric, Path), DoraParams, PageParams), responses(
    (status = OK, body = Explanation),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/dora/{metric}/explain")]
pub async fn explanation(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    metric: web::Path<String>,
    params: Params<DoraParams, PageParams>,
) -> Result<web::Json<Explanation>, Problem> {
    caller.require(Scope::Read)?;
    let metric = Metric::from_name(&metric).ok_or_else(|| unknown_metric(&metric))?;
    let (limit, after) = (params.1.limit()?, params.1.cursor()?);
    // New facts may overtake the reading of names.
    for _ in 0..ATTEMPTS {
        let asked = Asked::of(&app, &cache, &params.0).await?;
        if let Some(explanation) = explain_with_names(&app, &cache, &asked, metric, after.as_ref(), limit).await? {
            return Ok(web::Json(explanation));
        }
    }
    Err(StoreError::Busy.into())
}

/// `None` where rows were projected anew before their names were read.
async fn explain_with_names(
    app: &App,
    cache: &DoraCache,
    asked: &Asked,
    metric: Metric,
    after: Option<&explain::Position>,
    limit: usize,
) -> Result<Option<Explanation>, Problem> {
    let reading = asked.read(app).await?;
    let (rows, question) = (asked.rows(&reading), &asked.question);
    let candidates = explain::candidates(explain::rows(metric, &rows, question), after, limit);
    let needed: BTreeSet<(Month, &str)> = candidates.iter().map(|row| (row.part.month, row.part.service)).collect();
    let mut details = BTreeMap::new();
    let mut conn = app.store.read().await?;
    for rows in reading.rows.iter().filter(|rows| needed.contains(&(rows.month, &*rows.service))) {
        let Some(names) = cache.details(&mut conn, rows).await? else { return Ok(None) };
        details.insert((rows.month, &*rows.service), names);
    }
    let page = explain::page(&candidates, &details, after, limit);
    let figure = figure(metric, &rows, question, Standards::default());
    Ok(Some(Explanation {
        metric,
        value: figure.value,
        unit: figure.unit,
        n: figure.n,
        method: figure.method,
        reason: figure.reason,
        from: question.window.from,
        to: question.window.to,
        time_zone: question.calendar.time_zone.name(),
        selection: asked.selection.clone(),
        included: page.included,
        excluded: page.excluded,
        next: page.next.as_ref().and_then(cursor),
    }))
}

fn unknown_metric(name: &str) -> Problem {
    let mut problem = not_known("metric", name, Metric::ALL.map(Metric::name));
    problem.detail = format!("{}; the metrics are: {}", problem.detail, Metric::ALL.map(Metric::name).join(", "));
    problem
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BucketParams {
    /// `day`, `week` or `month` of the time zone; `day` without it.
    #[param(value_type = Option<Unit>)]
    pub bucket: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Series {
    pub from: Timestamp,
    pub to: Timestamp,
    pub time_zone: &'static str,
    pub selection: Selection,
    pub benchmark_edition: String,
    pub bucket: Unit,
    pub buckets: Vec<Bucket>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Bucket {
    pub from: Timestamp,
    pub to: Timestamp,
    /// The window, or the present, cuts the period short.
    pub partial: bool,
    pub metrics: Figures,
}

/// Each metric per day, week or month
///
/// `previous` of a bucket is the value of the bucket before it; of the first, that of the time before it.
#[utoipa::path(tag = "dora", params(DoraParams, BucketParams), responses(
    (status = OK, body = Series),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/dora/series")]
pub async fn series(
    caller: Caller,
    app: web::Data<App>,
    cache: web::Data<DoraCache>,
    params: Params<DoraParams, BucketParams>,
) -> Result<web::Json<Series>, Problem> {
    caller.require(Scope::Read)?;
    let bucket = one_of("bucket", params.1.bucket.as_deref(), "day, week, month")?.unwrap_or(Unit::Day);
    let asked = Asked::of(&app, &cache, &params.0).await?;
    let question = &asked.question;
    let periods = question.calendar.periods(bucket, question.window, MAX_BUCKETS);
    let periods = periods.ok_or_else(|| invalid("bucket", "is too short for this window: at most 1000 buckets"))?;
    let before = periods.first().map(|first| question.calendar.before(first.window));
    let from = before.map_or(question.window.from, |before| before.from.min(question.window.from));
    let arranged = asked.arranged(&app, Window { from, ..question.window }).await?;
    let series = web::block(move || Series {
        from: asked.question.window.from,
        to: asked.question.window.to,
        time_zone: asked.question.calendar.time_zone.name(),
        benchmark_edition: asked.edition.clone(),
        bucket,
        buckets: buckets(&asked, &arranged, &periods),
        selection: asked.selection,
    });
    series.await.map(web::Json).map_err(|_| Problem::unavailable("the server is stopping"))
}

fn buckets(asked: &Asked, arranged: &Arranged, periods: &[Period]) -> Vec<Bucket> {
    let view = arranged.view();
    let mut buckets: Vec<Bucket> = Vec::with_capacity(periods.len());
    for period in periods {
        let question = Question { window: period.window, ..asked.question };
        let tallies = view.tallies(&question, true);
        let mut metrics = figures_of(tallies, arranged.first, &question, asked.standards());
        metrics = if let Some(before) = buckets.last() {
            metrics.after(&before.metrics)
        } else {
            let before = question.before();
            metrics.with_previous(view.tallies(&before, false), arranged.first, &before)
        };
        let partial = period.partial || period.window.to > question.now;
        buckets.push(Bucket { from: period.window.from, to: period.window.to, partial, metrics });
    }
    buckets
}
