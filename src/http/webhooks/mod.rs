//! `POST /api/v1/webhooks/…`: events from systems that send in their own words.

pub mod alertmanager;
pub mod argocd;
pub mod azure_devops;
pub mod bitbucket;
pub mod circleci;
pub mod flux;
pub mod github;
pub mod github_import;
pub mod gitlab;
pub mod jenkins;
pub mod opsgenie;
pub mod pagerduty;
pub mod proof;
mod receive;

use utoipa_actix_web::service_config::ServiceConfig;

use crate::ingest::{cloudevents, tally};

pub use receive::{DeliveryReceipt, Source};

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(github::post_github).service(github_import::import_github);
    routes.service(alertmanager::post_alertmanager);
    routes.service(pagerduty::post_pagerduty).service(gitlab::post_gitlab);
    routes.service(jenkins::post_jenkins).service(circleci::post_circleci);
    routes.service(azure_devops::post_azure_devops).service(bitbucket::post_bitbucket);
    routes.service(opsgenie::post_opsgenie).service(argocd::post_argocd).service(flux::post_flux);
}

/// Whose deliveries prove themselves by a signature or a token of their own rather than by a key.
const SIGNED: &[&Source] = &[
    &argocd::SOURCE,
    &azure_devops::SOURCE,
    &bitbucket::SOURCE,
    &circleci::SOURCE,
    &flux::SOURCE,
    &github::SOURCE,
    &gitlab::SOURCE,
    &jenkins::SOURCE,
    &opsgenie::SOURCE,
    &pagerduty::SOURCE,
];

pub fn is_signed(path: &str) -> bool {
    source_of(path).is_some_and(|source| !source.by_key)
}

/// Where a source comes in, which `GET /api/v1/sources` names so; and whether its deliveries need a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrance {
    pub name: &'static str,
    pub by_key: bool,
    pub webhook: bool,
}

/// Sources without a secret of their own are open to whoever has a key, configured or not.
pub const OPEN: &[&str] = &[alertmanager::SOURCE.name, cloudevents::SOURCE, tally::NATIVE];

/// Whose deliveries come to a path.
pub fn source_of(path: &str) -> Option<Entrance> {
    let open = |name| Some(Entrance { name, by_key: true, webhook: false });
    match path {
        "/api/v1/events" => open(tally::NATIVE),
        "/api/v1/cloudevents" => open(cloudevents::SOURCE),
        "/api/v1/webhooks/alertmanager" => {
            Some(Entrance { name: alertmanager::SOURCE.name, by_key: true, webhook: true })
        }
        "/api/v1/import/github" => open(github::SOURCE.name),
        path => {
            let name = path.strip_prefix("/api/v1/webhooks/")?;
            let signed = SIGNED.iter().find(|source| source.name == name)?;
            Some(Entrance { name: signed.name, by_key: false, webhook: true })
        }
    }
}
