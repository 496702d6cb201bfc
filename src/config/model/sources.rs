//! Systems that send in their own words, as configured.

use std::collections::BTreeMap;

use secrecy::SecretString;

#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub github: Option<GitHub>,
    pub alertmanager: Alertmanager,
    pub pagerduty: Option<PagerDuty>,
    pub gitlab: Option<GitLab>,
    pub jenkins: Option<Pipelines>,
    pub circleci: Option<Pipelines>,
    pub azure_devops: Option<Pipelines>,
    pub bitbucket: Option<Bitbucket>,
    pub opsgenie: Option<Labelled>,
    pub argocd: Option<Labelled>,
    pub flux: Option<Labelled>,
    pub cloudevents: CloudEvents,
}

/// A source whose events carry labels, by whatever name.
#[derive(Debug, Clone)]
pub struct Labelled {
    pub secret: SecretString,
    /// Labels that name the service and the environment.
    pub service_label: String,
    pub environment_label: String,
    /// The source's name of a service → the service.
    pub services: BTreeMap<String, String>,
    /// Where that happens which names no environment.
    pub environment: Option<String>,
}

/// How what CDEvents are about becomes services and environments.
#[derive(Debug, Clone, Default)]
pub struct CloudEvents {
    /// A subject's id → the service.
    pub services: BTreeMap<String, String>,
    /// Where incidents happen that name no environment.
    pub environment: Option<String>,
}

impl Sources {
    /// Names of those that are configured.
    pub fn configured(&self) -> Vec<&'static str> {
        let all = [
            ("azure_devops", self.azure_devops.is_some()),
            ("bitbucket", self.bitbucket.is_some()),
            ("circleci", self.circleci.is_some()),
            ("github", self.github.is_some()),
            ("gitlab", self.gitlab.is_some()),
            ("jenkins", self.jenkins.is_some()),
            ("pagerduty", self.pagerduty.is_some()),
            ("opsgenie", self.opsgenie.is_some()),
            ("argocd", self.argocd.is_some()),
            ("flux", self.flux.is_some()),
        ];
        all.into_iter().filter(|(_, configured)| *configured).map(|(name, _)| name).collect()
    }
}

#[derive(Debug, Clone)]
pub struct PagerDuty {
    pub secret: SecretString,
    /// PagerDuty's id or name of a service → the service.
    pub services: BTreeMap<String, String>,
    /// Where its incidents happen.
    pub environment: Option<String>,
}

/// How alerts of Alertmanager and Grafana become incidents.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    /// Labels that name the service, the environment and the severity.
    pub service_label: String,
    pub environment_label: String,
    pub severity_label: String,
    /// A value of the service's label → the service.
    pub services: BTreeMap<String, String>,
    /// Where that happens which names no environment.
    pub environment: Option<String>,
    /// Names of alerts that are no incidents.
    pub ignore: Vec<String>,
}

impl Default for Alertmanager {
    fn default() -> Self {
        Self {
            service_label: "service".to_owned(),
            environment_label: "environment".to_owned(),
            severity_label: "severity".to_owned(),
            services: BTreeMap::new(),
            environment: None,
            ignore: vec!["Watchdog".to_owned()],
        }
    }
}

#[derive(Debug, Clone)]
pub struct GitHub {
    pub secret: SecretString,
    /// Labels that make an issue an incident.
    pub incident_labels: Vec<String>,
    /// Names of workflows whose runs are deployments, with the environment they deploy to.
    pub deployment_workflows: BTreeMap<String, String>,
    /// Environment of deployments by GitHub whose payload's name matches no environment: kept as is.
    pub default_environment: Option<String>,
    /// Environment of releases, which are deployments; without it they are none.
    pub releases: Option<String>,
}

#[derive(Debug, Clone)]
pub struct GitLab {
    /// The secret token, or the signing token (`whsec_…`).
    pub secret: SecretString,
    /// Labels that make an issue an incident; work items of the type incident are without.
    pub incident_labels: Vec<String>,
    /// Environment of deployments whose environment matches none: kept as is.
    pub default_environment: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Bitbucket {
    /// With the names of commit statuses that are deployments.
    pub pipelines: Pipelines,
    /// Branches whose commits are merged: payloads do not say which branch is the main one.
    pub main_branches: Vec<String>,
}

/// A CI system, and which of its runs are deployments.
#[derive(Debug, Clone)]
pub struct Pipelines {
    pub secret: SecretString,
    /// Names of jobs, workflows or stages → the environment that their runs deploy to.
    pub deployments: BTreeMap<String, String>,
    /// The same names → the service that they deploy.
    pub services: BTreeMap<String, String>,
}
