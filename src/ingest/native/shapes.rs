//! The six events as they come in: every field that a sender may give, nothing checked yet.

use crate::ingest::wire::{Entries, Field, Text, object};
use crate::time::Timestamp;

type List<T> = Vec<Field<T>>;

/// One of the six events.
pub trait Event<'a> {
    /// Takes `id` and `source` out.
    fn take_identity(&mut self) -> (Field<Text<'a>>, Field<Text<'a>>);

    /// The time where none was given.
    fn default_time(&mut self, time: Timestamp);
}

/// [`object!`] with the fields that every event has.
macro_rules! events {
    ($($(#[$meta:meta])* pub struct $name:ident<$lt:lifetime> { $($field:ident: $wire:literal $type:ty,)* })*) => {
        object! {$(
            $(#[$meta])*
            pub struct $name<$lt> {
                kind: "type" Text<$lt>,
                id: "id" Text<$lt>,
                source: "source" Text<$lt>,
                time: "time" Text<$lt>,
                service: "service" Text<$lt>,
                environment: "environment" Text<$lt>,
                version: "version" Text<$lt>,
                attributes: "attributes" Entries<$lt>,
                $($field: $wire $type,)*
            }
        )*}

        $(impl<$lt> Event<$lt> for $name<$lt> {
            fn take_identity(&mut self) -> (Field<Text<$lt>>, Field<Text<$lt>>) {
                (std::mem::take(&mut self.id), std::mem::take(&mut self.source))
            }

            fn default_time(&mut self, time: Timestamp) {
                if self.time == Field::Absent {
                    self.time = Field::Given(Text::Owned(time.to_string()));
                }
            }
        })*
    };
}

events! {
    pub struct Deployment<'a> {
        commit: "commit" Text<'a>,
        repository: "repository" Text<'a>,
        outcome: "outcome" Text<'a>,
        started_at: "started_at" Text<'a>,
        nature: "kind" Text<'a>,
        url: "url" Text<'a>,
        schema: "schema" Schema<'a>,
        changes: "changes" List<NamedChange<'a>>,
        rolls_back: "rolls_back" NamedDeployment<'a>,
    }

    pub struct Change<'a> {
        repository: "repository" Text<'a>,
        sha: "sha" Text<'a>,
        authored_at: "authored_at" Text<'a>,
        committed_at: "committed_at" Text<'a>,
        merged_at: "merged_at" Text<'a>,
        pull_request: "pull_request" PullRequest<'a>,
        merge: "merge" bool,
        paths: "paths" List<Text<'a>>,
    }

    pub struct Incident<'a> {
        services: "services" List<Text<'a>>,
        status: "status" Text<'a>,
        started_at: "started_at" Text<'a>,
        detected_at: "detected_at" Text<'a>,
        severity: "severity" Text<'a>,
        title: "title" Text<'a>,
        url: "url" Text<'a>,
        deployments: "deployments" List<NamedDeployment<'a>>,
    }

    pub struct Request<'a> {
        route: "route" Text<'a>,
        status: "status" u64,
        duration_ms: "duration_ms" f64,
    }

    pub struct Performance<'a> {
        route: "route" Text<'a>,
        requests: "requests" u64,
        errors: "errors" u64,
        duration_ms: "duration_ms" Durations<'a>,
    }

    pub struct ErrorReport<'a> {
        level: "level" Text<'a>,
        fingerprint: "fingerprint" Text<'a>,
        message: "message" Text<'a>,
        count: "count" u64,
    }
}

object! {
    pub struct Schema<'a> {
        revision: "revision" Text<'a>,
        compatible_from: "compatible_from" Text<'a>,
    }

    pub struct NamedChange<'a> {
        repository: "repository" Text<'a>,
        sha: "sha" Text<'a>,
        authored_at: "authored_at" Text<'a>,
        committed_at: "committed_at" Text<'a>,
    }

    pub struct NamedDeployment<'a> {
        id: "id" Text<'a>,
        source: "source" Text<'a>,
        version: "version" Text<'a>,
        commit: "commit" Text<'a>,
    }

    pub struct PullRequest<'a> {
        number: "number" u64,
        opened_at: "opened_at" Text<'a>,
        first_commit_at: "first_commit_at" Text<'a>,
        first_review_at: "first_review_at" Text<'a>,
        approved_at: "approved_at" Text<'a>,
        merged_at: "merged_at" Text<'a>,
    }

    /// Not cumulative: each bucket is `[upper bound, count in this bucket]`.
    pub struct Durations<'a> {
        count: "count" u64,
        sum: "sum" f64,
        buckets: "buckets" List<List<f64>>,
    }

    /// Enough of an item to know what it is, where `type` is not its first field.
    pub struct Peek<'a> {
        kind: "type" Text<'a>,
    }
}
