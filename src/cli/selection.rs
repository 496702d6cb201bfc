//! Which services, environments and time a command asks about.

use clap::Args;

/// What a question about delivery is about, as in `GET /api/v1/dora`.
#[derive(Debug, Args)]
pub struct Selection {
    /// One service; all without it
    #[arg(long)]
    pub service: Option<String>,
    /// The services of one team, in its time zone
    #[arg(long, conflicts_with = "service")]
    pub team: Option<String>,
    /// One environment; those of tier production without it
    #[arg(long)]
    pub environment: Option<String>,
    /// All environments of a tier instead: production, staging, testing, development or other
    #[arg(long, conflicts_with = "environment")]
    pub tier: Option<String>,
    /// The length of the window up to --to, else up to now: 30d without it
    #[arg(long, conflicts_with = "from")]
    pub window: Option<String>,
    /// RFC 3339
    #[arg(long)]
    pub from: Option<String>,
    /// RFC 3339
    #[arg(long)]
    pub to: Option<String>,
    /// IANA name; the team's without it, else UTC
    #[arg(long)]
    pub time_zone: Option<String>,
    /// The first day of a week, monday to sunday; the team's without it, else monday
    #[arg(long)]
    pub week_starts_on: Option<String>,
    /// Which percentile of times is shown, from 0 to 100, or `mean`; 50 without it
    #[arg(long)]
    pub percentile: Option<String>,
    /// Where lead time begins: authored, committed, merged or `first_commit_of_pull_request`; authored
    /// without it
    #[arg(long)]
    pub lead_time_from: Option<String>,
    /// Leaves rollbacks out of the change fail rate
    #[arg(long)]
    pub exclude_rollbacks: bool,
    /// Where a change counts that reached several of the environments: at its first or last; first
    /// without it
    #[arg(long)]
    pub arrival: Option<String>,
    /// The year of the DORA report behind the bands; `dora.benchmark_edition` of the server without it
    #[arg(long)]
    pub benchmark_edition: Option<String>,
}

impl Selection {
    pub fn query(&self) -> Vec<(&'static str, Option<&str>)> {
        vec![
            ("service", self.service.as_deref()),
            ("team", self.team.as_deref()),
            ("environment", self.environment.as_deref()),
            ("tier", self.tier.as_deref()),
            ("window", self.window.as_deref()),
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("time_zone", self.time_zone.as_deref()),
            ("week_starts_on", self.week_starts_on.as_deref()),
            ("percentile", self.percentile.as_deref()),
            ("lead_time_from", self.lead_time_from.as_deref()),
            ("exclude_rollbacks", self.exclude_rollbacks.then_some("true")),
            ("arrival", self.arrival.as_deref()),
            ("benchmark_edition", self.benchmark_edition.as_deref()),
        ]
    }
}
