//! The benchmark tables of the DORA reports, as data by year, and the band of a single figure.
//!
//! A band is computed for each metric alone and never averaged: the clusters of the reports are
//! not monotone in every metric (2024: high performers fail 20 %, medium ones 10 %). A figure gets
//! the band with the tightest published limit that it still meets; of equal limits, the better.

use serde::Serialize;
use utoipa::ToSchema;

use super::Metric;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    Elite,
    High,
    Medium,
    Low,
}

/// Limits of elite, high and medium; low is what meets none of them.
pub struct Benchmark {
    pub edition: &'static str,
    /// At least so many deployments per day.
    deployments_per_day: [f64; 3],
    /// At most so many seconds.
    lead_time: [f64; 3],
    /// At most this ratio.
    fail_rate: [f64; 3],
    /// At most so many seconds.
    recovery_time: [f64; 3],
}

const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;
const WEEK: f64 = 7.0 * DAY;
const MONTH: f64 = 365.25 / 12.0 * DAY;
/// "On demand (multiple deploys per day)".
const ON_DEMAND: f64 = 2.0;
const WEEKLY: f64 = 1.0 / 7.0;
const MONTHLY: f64 = 12.0 / 365.25;
const TWICE_A_YEAR: f64 = 2.0 / 365.25;

/// Accelerate State of DevOps 2021, 2023 and 2024. The report of 2025 has no such clusters.
const EDITIONS: [Benchmark; 3] = [
    Benchmark {
        edition: "2021",
        deployments_per_day: [ON_DEMAND, MONTHLY, TWICE_A_YEAR],
        lead_time: [HOUR, WEEK, 6.0 * MONTH],
        // 0–15 % for elite; 16–30 % for each of the others, so that the best of them stands.
        fail_rate: [0.15, 0.30, 0.30],
        recovery_time: [HOUR, DAY, WEEK],
    },
    Benchmark {
        edition: "2023",
        deployments_per_day: [ON_DEMAND, WEEKLY, MONTHLY],
        lead_time: [DAY, WEEK, MONTH],
        fail_rate: [0.05, 0.10, 0.15],
        recovery_time: [HOUR, DAY, WEEK],
    },
    Benchmark {
        edition: "2024",
        deployments_per_day: [ON_DEMAND, WEEKLY, MONTHLY],
        lead_time: [DAY, WEEK, MONTH],
        fail_rate: [0.05, 0.20, 0.10],
        recovery_time: [HOUR, DAY, DAY],
    },
];

/// `None` for a year without clusters: figures then have no band.
pub fn edition(year: &str) -> Option<&'static Benchmark> {
    EDITIONS.iter().find(|benchmark| benchmark.edition == year)
}

/// The years there is a benchmark of.
pub fn years() -> [&'static str; 3] {
    EDITIONS.each_ref().map(|benchmark| benchmark.edition)
}

impl Benchmark {
    /// `None` for metrics that the reports give no clusters for.
    pub fn band(&self, metric: Metric, value: f64) -> Option<Band> {
        // Frequencies are turned round, so that smaller is better everywhere.
        let (limits, value) = match metric {
            Metric::DeploymentFrequency => (self.deployments_per_day.map(|limit| -limit), -value),
            Metric::ChangeLeadTime => (self.lead_time, value),
            Metric::ChangeFailRate => (self.fail_rate, value),
            Metric::FailedDeploymentRecoveryTime => (self.recovery_time, value),
            Metric::ReworkRate | Metric::MeanTimeToRecovery => return None,
        };
        let bands = [Band::Elite, Band::High, Band::Medium];
        let met = limits.into_iter().zip(bands).filter(|(limit, _)| value <= *limit);
        let tightest = met.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Some(tightest.map_or(Band::Low, |(_, band)| band))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(year: &str, metric: Metric, value: f64) -> Band {
        edition(year).unwrap().band(metric, value).unwrap()
    }

    #[test]
    fn bands_of_2024() {
        assert_eq!(band("2024", Metric::DeploymentFrequency, 1.2), Band::High);
        assert_eq!(band("2024", Metric::DeploymentFrequency, 3.0), Band::Elite);
        assert_eq!(band("2024", Metric::DeploymentFrequency, 0.0), Band::Low);
        assert_eq!(band("2024", Metric::ChangeLeadTime, 5_400.0), Band::Elite);
        assert_eq!(band("2024", Metric::ChangeLeadTime, 3.0 * DAY), Band::High);
        assert_eq!(band("2024", Metric::FailedDeploymentRecoveryTime, 2.0 * HOUR), Band::High);
    }

    #[test]
    fn bands_of_2024_are_not_monotone_in_the_fail_rate() {
        let bands = [0.05, 0.10, 0.20, 0.21].map(|rate| band("2024", Metric::ChangeFailRate, rate));
        assert_eq!(bands, [Band::Elite, Band::Medium, Band::High, Band::Low]);
    }

    #[test]
    fn the_same_figure_may_have_another_band_in_another_year() {
        assert_eq!(band("2021", Metric::ChangeLeadTime, 5.0 * HOUR), Band::High);
        assert_eq!(band("2023", Metric::ChangeLeadTime, 5.0 * HOUR), Band::Elite);
        assert_eq!(band("2021", Metric::ChangeFailRate, 0.2), Band::High);
        assert!(edition("2025").is_none());
        assert!(edition("2024").unwrap().band(Metric::ReworkRate, 0.1).is_none());
    }
}
