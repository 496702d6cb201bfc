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
}

impl Selection {
    pub fn query(&self) -> Vec<(&'static str, Option<&str>)> {
        vec![
            ("service", self.service.as_deref()),
            ("team", self.team.as_deref()),
            ("environment", self.environment.as_deref()),
            ("window", self.window.as_deref()),
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("time_zone", self.time_zone.as_deref()),
            ("week_starts_on", self.week_starts_on.as_deref()),
        ]
    }
}
