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
use crate::dora::naming::Names;
use crate::dora::receipt::unlinked;
use crate::dora::row::LinkKind;
use crate::dora::{Derived, Rules};
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
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlinked: Option<Unlinked>,
    /// What people said, oldest first; the last one counts.
    pub corrections: Vec<LinkCorrection>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Unlinked {
    pub reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
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
    let said = check(&app, &incident, said).await?;
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

/// What is said must name deployments that are known. An id without its source gets it.
async fn check(app: &App, incident: &Incident, said: CorrectLinks) -> Result<CorrectLinks, Problem> {
    if said.deployments.len() > MAX_DEPLOYMENTS {
        return Err(wrong("/deployments", "names more than 100 deployments"));
    }
    if said.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON || reason.contains('\0')) {
        return Err(wrong("/reason", "has more than 1,000 bytes, or U+0000 in it"));
    }
    let known = Known::of(app, incident, &said.deployments).await?;
    let named = said.deployments.into_iter().enumerate();
    let deployments = named.map(|(index, named)| {
        known.check(incident, named).map_err(|detail| wrong(&format!("/deployments/{index}"), &detail))
    });
    Ok(CorrectLinks { deployments: deployments.collect::<Result<_, _>>()?, reason: said.reason })
}

fn wrong(pointer: &str, detail: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_links", detail).at(pointer)
}

/// The deployments of all services that an incident may concern.
struct Known {
    rules: Rules,
    rows: Vec<Derived>,
}

impl Known {
    /// As the incident stands, or if it named these deployments.
    async fn of(app: &App, incident: &Incident, named: &[DeploymentRef]) -> Result<Self, Problem> {
        let config = app.config.load_full();
        let mut services = dirty::services_of(&mut app.store.read().await?, incident, named).await?;
        services.remove(NO_SERVICE);
        let mut rows = Vec::new();
        for service in services {
            rows.push(app.dora.rows_of(&app.store, &config, &service).await?);
        }
        Ok(Self { rules: Rules::new(&config), rows })
    }

    fn check(&self, incident: &Incident, named: DeploymentRef) -> Result<DeploymentRef, String> {
        if (&named.id, &named.version, &named.commit) == (&None, &None, &None) {
            return Err("names no deployment: give id and source, or version, or commit".to_owned());
        }
        let mut of_services = self
            .rows
            .iter()
            .map(|rows| Names::of(&rows.service, &rows.deployments, &self.rules).find(incident, &named));
        if of_services.any(|found| !found.is_empty()) {
            return Ok(named);
        }
        let of_id =
            self.rows.iter().flat_map(|rows| &rows.deployments).filter(|row| Some(&row.key.id) == named.id.as_ref());
        let sources: BTreeSet<&str> = of_id.map(|row| row.key.source.as_str()).collect();
        match (&named.source, Vec::from_iter(sources).as_slice()) {
            (None, [one]) => Ok(DeploymentRef { source: Some((*one).to_owned()), ..named }),
            (None, several @ [_, _, ..]) => Err(format!("add the source, one of {}", several.join(", "))),
            _ => Err(unknown(incident, &named)),
        }
    }
}

fn unknown(incident: &Incident, named: &DeploymentRef) -> String {
    let service = incident.service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
    let environment = incident.environment.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
    let fix = match (&named.id, &named.version, &incident.service) {
        (None, Some(_), None) => {
            "the incident names no service, so a version could be anybody's: give id and source, or commit"
        }
        _ => "GET /api/v1/deployments lists them",
    };
    format!("no such deployment{service}{environment} is known; {fix}")
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
    let known = Known::of(app, &incident, &[]).await?;
    let mut links = Vec::new();
    for row in known.rows.iter().flat_map(|rows| &rows.deployments) {
        let ours = row.because.iter().filter(|because| because.incident.as_ref() == Some(&incident.key));
        links.extend(ours.map(|because| DeploymentLink {
            deployment: DeploymentName::of(row),
            kind: because.link,
            confidence: because.confidence,
        }));
    }
    let unlinked = unlinked(&incident, &known.rows.iter().collect::<Vec<_>>(), &known.rules);
    let entity = fact::Entity::incident(&incident.key);
    let facts = fact::load(&mut app.store.read().await?, &BTreeSet::from([entity.clone()])).await?;
    let mut corrections: Vec<LinkCorrection> = facts.get(&entity).into_iter().flatten().filter_map(said).collect();
    corrections.sort_by_key(|said| said.at);
    let unlinked = unlinked.map(|(reason, fix)| Unlinked { reason, fix });
    Ok(IncidentLinks { incident: incident.key.clone(), links, unlinked, corrections })
}

fn said(event: &DeliveryEvent) -> Option<LinkCorrection> {
    let DeliveryEvent::Links(LinksEvent { time, deployments, actor, reason, .. }) = event else { return None };
    Some(LinkCorrection { at: *time, actor: actor.clone(), deployments: deployments.clone(), reason: reason.clone() })
}
