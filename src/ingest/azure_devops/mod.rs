//! Azure DevOps' service hooks: stages, classic releases and builds that
//! `sources.azure_devops.deployment_stages` names; pushes, and pull requests with their comments and votes.
//!
//! <https://learn.microsoft.com/azure/devops/service-hooks/events>

mod code;
mod pull_request;
mod run;

use super::fault::{Fault, NAME};
use super::source::{self, Reading, Skip};
use super::wire::{Field, Raw, Shape, Text, object, read};
use crate::config::model::Pipelines;
use crate::time::Timestamp;

const SOURCE: &str = "azure_devops";

pub type Context<'a> = source::Context<'a, Pipelines>;

object! {
    pub struct Envelope<'a> {
        event_type: "eventType" Text<'a>,
        created_date: "createdDate" Text<'a>,
        resource: "resource" Raw<'a>,
    }

    pub struct Named<'a> {
        name: "name" Text<'a>,
    }
}

/// What every event has besides its resource.
pub struct Event<'a> {
    /// When it was told of.
    pub time: Timestamp,
    /// The whole of it.
    pub body: &'a str,
}

/// Reads a service hook.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let envelope: Envelope<'_> = read(body)?;
    let kind = envelope.event_type.needed("/eventType", NAME, "is this a service hook of Azure DevOps?")?;
    let resource = envelope.resource;
    let event = Event { time: envelope.created_date.moment("/createdDate")?.unwrap_or(context.received_at), body };
    match &*kind {
        "ms.vss-pipelines.stage-state-changed-event" => run::stage(resource_of(resource)?, &event, context),
        "ms.vss-release.deployment-completed-event" => run::release(resource_of(resource)?, &event, context),
        "build.complete" => run::build(resource_of(resource)?, &event, context),
        "git.push" => code::push(resource_of(resource)?, body, context),
        "git.pullrequest.created" | "git.pullrequest.merged" | "git.pullrequest.updated" => {
            pull_request::pull_request(resource_of(resource)?, &event, context)
        }
        "ms.vss-code.git-pullrequest-comment-event" => pull_request::comment(resource_of(resource)?, &event, context),
        "ms.vss-pipelines.run-state-changed-event" | "ms.vss-pipelines.job-state-changed-event" => {
            let words = "what a run deploys is told by its stages: subscribe to `Run stage state changed`";
            Ok(Reading::skipped(Skip::CountedElsewhere, words))
        }
        "ms.vss-release.deployment-started-event" => {
            Ok(Reading::skipped(Skip::NoChange, "a deployment of a release counts when it is completed"))
        }
        other => Ok(Reading::skipped(Skip::UnusedEvent, format!("DevPulse does not use {other}"))),
    }
}

/// Read by itself, so that faults in it are told from those around it.
fn resource_of<'a, T: Shape<'a>>(resource: Field<Raw<'a>>) -> Result<T, Fault> {
    let Raw(raw) = resource.required("/resource", "the service hook must send resource details: all")?;
    read(raw).map_err(|fault| Fault::new("/resource", fault.detail()))
}

fn name<'a>(field: Field<Named<'a>>, at: &str) -> Result<Text<'a>, Fault> {
    let fix = "Azure DevOps names it in every such event";
    field.required(at, fix)?.name.needed(format_args!("{at}/name"), NAME, fix)
}
