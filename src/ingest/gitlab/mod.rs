//! GitLab's webhooks: deployments, pushes, merge requests, comments on them, incidents.
//!
//! <https://docs.gitlab.com/user/project/integrations/webhook_events/>

mod change;
mod deployment;
mod incident;
mod merge_request;

use super::fault::{Fault, NAME};
use super::place::Repo;
use super::source::{self, Reading, Skip};
use super::wire::{Field, Text, object, read};
use crate::config::model::GitLab;

pub type Context<'a> = source::Context<'a, GitLab>;

object! {
    pub struct Head<'a> {
        object_kind: "object_kind" Text<'a>,
    }

    pub struct Project<'a> {
        path_with_namespace: "path_with_namespace" Text<'a>,
        default_branch: "default_branch" Text<'a>,
    }
}

/// Kinds that say nothing about delivery on their own: name, why, in words.
const NOT_COUNTED: [(&str, Skip, &str); 4] = [
    ("pipeline", Skip::CountedElsewhere, "what pipelines deploy comes as deployment events"),
    ("build", Skip::CountedElsewhere, "what jobs deploy comes as deployment events"),
    ("tag_push", Skip::NotMerged, "a tag merges nothing"),
    ("release", Skip::UnusedEvent, "a release is not a deployment"),
];

/// Reads the body of a delivery; `id` is what GitLab calls it.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, id: Option<&str>, context: &Context<'_>) -> Result<Reading, Fault> {
    let head: Head<'_> = read(body)?;
    let kind = head.object_kind.needed("/object_kind", NAME, "is this a webhook of GitLab?")?;
    match &*kind {
        "deployment" => deployment::status(read(body)?, body, context),
        "push" => change::push(read(body)?, body, context),
        "merge_request" => merge_request::merge_request(read(body)?, body, id, context),
        "note" => merge_request::note(read(body)?, body, context),
        // Incidents are work items; before version 17 they were a kind of their own.
        "issue" | "incident" | "work_item" => incident::work_item(read(body)?, &kind, body, context),
        other => {
            let known = NOT_COUNTED.iter().find(|entry| entry.0 == other);
            let unknown = (other, Skip::UnusedEvent, "DevPulse does not use this event");
            let (_, why, words) = *known.unwrap_or(&unknown);
            Ok(Reading::skipped(why, words))
        }
    }
}

fn project(field: Field<Project<'_>>) -> Result<Project<'_>, Fault> {
    field.required("/project", "GitLab names the project of every such event")
}

fn repo<'a>(project: &Project<'_>, context: &Context<'a>) -> Result<Repo<'a>, Fault> {
    Repo::of("gitlab", project.path_with_namespace.clone(), "/project/path_with_namespace", context.services)
}
