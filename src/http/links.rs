//! `/api/v1/incidents/{id}/links`: which deployments an incident belongs to, and a person's say in it.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::{delete, get, put, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::params::Params;
use super::{Caller, Problem};
use crate::app::App;
use crate::dora::explain::DeploymentName;
use crate::dora::row::LinkKind;
use crate::event::{DeliveryEvent, DeploymentRef, EntityKey, Incident, LinksEvent, TelemetryBatch};
use crate::http::auth::Scope;
use crate::ingest::committer::Submission;
use crate::ingest::decode;
use crate::ingest::key;
use crate::store::dora::{NO_SERVICE, dirty};
use crate::store::{fact, history};
use crate::time::Timestamp;

/// Deployments of one incident.
const MAX_DEPLOYMENTS: usize = 100;
const MAX_REASON: usize = 1_000;
const MAX_BODY: usize = 64 * 1024;

pub fn configure(cfg: &mut ServiceConfig<'_>) {
    cfg.service(show).service(correct).service(take_back);
}

#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LinkParams {
    /// The incident's source; needed only where several sources have an incident of this id.
    pub source: Option<String>,
}

/// Which deployments the incident belongs to, and no others.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrectLinks {
    /// Each by id (and source), by version, or by commit; none: the incident belongs to no deployment.
    pub deployments: Vec<DeploymentRef>,
    /// Why, for those who read it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct IncidentLinks {
    pub incident: EntityKey,
    /// As every number counts them.
    pub links: Vec<DeploymentLink>,
    /// What people said, oldest first; the last one counts.
    pub corrections: Vec<LinkCorrection>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeploymentLink {
    pub deployment: DeploymentName,
    pub kind: LinkKind,
    pub confidence: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LinkCorrection {
    pub at: Timestamp,
    /// The key that said so.
    pub actor: String,
    /// `null`: the correction was taken back.
    pub deployments: Option<Vec<DeploymentRef>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The deployments an incident is linked to, how each is known, and every correction
#[utoipa::path(tag = "delivery", params(("id" = String, Path), LinkParams), responses(
    (status = OK, body = IncidentLinks),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
))]
#[get("/api/v1/incidents/{id}/links")]
pub async fn show(
    caller: Caller,
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<LinkParams>,
) -> Result<web::Json<IncidentLinks>, Problem> {
    caller.require(Scope::Read)?;
    let incident = find(&app, &id, params.0.source.as_deref()).await?;
    links(&app, &incident).await.map(web::Json)
}

/// Say which deployments an incident belongs to
///
/// A person's word goes before what events say and before what DevPulse concludes; it holds until
/// it is taken back, whatever events come later. Every number follows at once.
#[utoipa::path(tag = "delivery", params(("id" = String, Path), LinkParams), request_body = CorrectLinks, responses(
    (status = OK, body = IncidentLinks),
    (status = BAD_REQUEST, body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
    (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
))]
#[put("/api/v1/incidents/{id}/links")]
pub async fn correct(
    caller: Caller,
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<LinkParams>,
    payload: web::Payload,
) -> Result<web::Json<IncidentLinks>, Problem> {
    caller.require(Scope::Operate)?;
    let mut hold = app.bodies.hold();
    let body = decode::read(payload, MAX_BODY, &mut hold).await?;
    let said: CorrectLinks = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    let incident = find(&app, &id, params.0.source.as_deref()).await?;
    check(&app, &incident, &said).await?;
    say(&app, &incident, Some(said.deployments), said.reason, &caller).await?;
    links(&app, &incident).await.map(web::Json)
}

/// Take a correction back: what events say, and what DevPulse concludes, counts again
#[utoipa::path(tag = "delivery", params(("id" = String, Path), LinkParams), responses(
    (status = OK, body = IncidentLinks),
    (status = NOT_FOUND, body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, body = Problem, content_type = "application/problem+json"),
))]
#[delete("/api/v1/incidents/{id}/links")]
pub async fn take_back(
    caller: Caller,
    app: web::Data<App>,
    id: web::Path<String>,
    params: Params<LinkParams>,
) -> Result<web::Json<IncidentLinks>, Problem> {
    caller.require(Scope::Operate)?;
    let incident = find(&app, &id, params.0.source.as_deref()).await?;
    if incident.correction.is_some() {
        say(&app, &incident, None, None, &caller).await?;
    }
    links(&app, &incident).await.map(web::Json)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    let detail = format!(
        "the body is not what it should be ({error}): send \
         {{\"deployments\": [{{\"id\": …, \"source\": …}}], \"reason\": …}}"
    );
    Problem::bad_request("unreadable_body", detail)
}

async fn find(app: &App, id: &str, source: Option<&str>) -> Result<Incident, Problem> {
    let mut found = history::incidents_by_id(&mut app.store.read().await?, id, source).await?;
    match (found.pop(), found.is_empty()) {
        (Some(incident), true) => Ok(incident),
        (Some(incident), false) => {
            let sources: Vec<&str> = found.iter().chain([&incident]).map(|found| found.key.source.as_str()).collect();
            let detail = format!("several sources have an incident `{id}`: add ?source= one of {}", sources.join(", "));
            Err(Problem::conflict(detail).at("source"))
        }
        (None, _) => {
            let detail = format!("no incident has the id `{id}`; GET /api/v1/incidents lists them");
            Err(Problem::not_found(detail).at("id"))
        }
    }
}

async fn check(app: &App, incident: &Incident, said: &CorrectLinks) -> Result<(), Problem> {
    let wrong = |pointer: String, detail: &str| {
        Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_links", detail).at(pointer))
    };
    if said.deployments.len() > MAX_DEPLOYMENTS {
        return wrong("/deployments".to_owned(), "names more than 100 deployments");
    }
    if said.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON || reason.contains('\0')) {
        return wrong("/reason".to_owned(), "has more than 1,000 bytes, or U+0000 in it");
    }
    let mut conn = app.store.read().await?;
    for (index, named) in said.deployments.iter().enumerate() {
        let pointer = format!("/deployments/{index}");
        if (&named.id, &named.version, &named.commit) == (&None, &None, &None) {
            return wrong(pointer, "names no deployment: give id and source, or version, or commit");
        }
        if !history::knows_named(&mut conn, incident, named).await? {
            return wrong(pointer, "no such deployment is known; GET /api/v1/deployments lists them");
        }
    }
    Ok(())
}

async fn say(
    app: &App,
    incident: &Incident,
    deployments: Option<Vec<DeploymentRef>>,
    reason: Option<String>,
    caller: &Caller,
) -> Result<(), Problem> {
    let now = app.clock.now();
    let (key, actor) = (incident.key.clone(), caller.name.clone());
    let event = DeliveryEvent::Links(LinksEvent { key, time: now, deployments, actor, reason });
    let unwritable = |_| Problem::bad_request("unreadable_body", "the correction cannot be kept");
    let raw = serde_json::to_string(&event).map_err(unwritable)?;
    let fact = key::fact(event, Some(now), now, &raw)
        .map_err(|fault| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_links", fault.detail().to_owned()))?;
    let submission = Submission {
        received_at: now,
        request: None,
        facts: vec![fact],
        telemetry: TelemetryBatch::default(),
        keyed: Vec::new(),
    };
    app.committer.submit(submission).await?;
    Ok(())
}

async fn links(app: &App, known: &Incident) -> Result<IncidentLinks, Problem> {
    // As it is now: a correction may just have been made.
    let incident = find(app, &known.key.id, Some(&known.key.source)).await?;
    let config = app.config.load_full();
    let mut services = dirty::services_of(&mut app.store.read().await?, &incident).await?;
    services.remove(NO_SERVICE);
    let mut links = Vec::new();
    for service in services {
        for row in app.dora.rows_of(&app.store, &config, &service).await?.deployments {
            let ours = row.because.iter().filter(|because| because.incident.as_ref() == Some(&incident.key));
            links.extend(ours.map(|because| DeploymentLink {
                deployment: DeploymentName::of(&row),
                kind: because.link,
                confidence: because.confidence,
            }));
        }
    }
    let entity = fact::Entity::incident(&incident.key);
    let facts = fact::load(&mut app.store.read().await?, &BTreeSet::from([entity.clone()])).await?;
    let mut corrections: Vec<LinkCorrection> = facts.get(&entity).into_iter().flatten().filter_map(said).collect();
    corrections.sort_by_key(|said| said.at);
    Ok(IncidentLinks { incident: incident.key.clone(), links, corrections })
}

fn said(event: &DeliveryEvent) -> Option<LinkCorrection> {
    let DeliveryEvent::Links(LinksEvent { time, deployments, actor, reason, .. }) = event else { return None };
    Some(LinkCorrection { at: *time, actor: actor.clone(), deployments: deployments.clone(), reason: reason.clone() })
}
