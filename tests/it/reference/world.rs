//! What is configured: as the program reads it, and as the reference does.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Every environment that events name: (name, configured name, tier).
pub const ENVIRONMENTS: [(&str, &str, &str); 6] = [
    ("production", "production", "production"),
    ("prod-eu", "production", "production"),
    ("asia", "asia", "production"),
    ("staging", "staging", "staging"),
    ("qa", "testing", "testing"),
    ("sandbox", "sandbox", "other"),
];

#[derive(Debug, Clone)]
pub struct Service {
    pub name: String,
    pub team: Option<&'static str>,
    pub repository: Option<String>,
    /// Those ending in `/**` are folders, others files.
    pub paths: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub struct World {
    pub services: Vec<Service>,
    pub attribution_hours: i64,
}

/// Teams with their time zones and the first day of their weeks, from Monday.
pub const TEAMS: [(&str, &str, &str, u32); 3] = [
    ("berlin", "Europe/Berlin", "monday", 0),
    ("york", "America/New_York", "sunday", 6),
    ("howe", "Australia/Lord_Howe", "wednesday", 2),
];

impl World {
    pub fn yaml(&self) -> String {
        let mut yaml = format!("dora: {{attribution_window: {}h}}\nteams:\n", self.attribution_hours);
        for (name, zone, first, _) in TEAMS {
            writeln!(yaml, "  - {{name: {name}, time_zone: {zone}, week_starts_on: {first}}}").unwrap();
        }
        yaml += "environments:\n  - {name: production, tier: production, match: [\"prod-*\"]}\n  \
                 - {name: asia, tier: production}\n  - {name: staging, tier: staging}\n  \
                 - {name: testing, tier: testing, match: [qa]}\n";
        yaml += if self.services.is_empty() { "services: []\n" } else { "services:\n" };
        for service in &self.services {
            let team = service.team.map(|team| format!(", team: {team}")).unwrap_or_default();
            let repository =
                service.repository.as_ref().map(|name| format!(", repository: {name}")).unwrap_or_default();
            let paths = if service.paths.is_empty() { String::new() } else { format!(", paths: {:?}", service.paths) };
            writeln!(yaml, "  - {{name: {}{team}{repository}{paths}}}", service.name).unwrap();
        }
        yaml
    }

    /// The configured name and the tier of an environment as a source names it.
    pub fn environment(raw: &str) -> (&'static str, &'static str) {
        ENVIRONMENTS.iter().find(|(name, ..)| *name == raw).map(|(_, name, tier)| (*name, *tier)).unwrap()
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    pub fn of_team(&self, team: &str) -> BTreeSet<&str> {
        self.services.iter().filter(|service| service.team == Some(team)).map(|service| service.name.as_str()).collect()
    }
}

impl Service {
    /// `None` where the whole repository is the service's.
    pub fn owns(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| match pattern.strip_suffix("**") {
            Some(folder) => path.starts_with(folder),
            None => path == *pattern,
        })
    }
}
