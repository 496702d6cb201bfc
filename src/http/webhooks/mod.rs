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
    let name = path.strip_prefix("/api/v1/webhooks/");
    name.is_some_and(|name| SIGNED.iter().any(|source| source.name == name))
}
