//! Decisions in words, for people.

use super::policy::{Decision, Finding, IndicatorEvidence, Reason, TargetFault};
use crate::num::count;

/// "2.1 % of 4,310 requests on 1.4.2 failed, 0.3 % before it; chance of a false alarm below 1 in
/// 41,000", and what follows.
pub fn sentence(decision: &Decision) -> String {
    let reason = reason(&decision.reason);
    let version = decision.from.as_ref().map_or("the new version", |from| from.version.as_str());
    let observed = decision
        .strongest()
        .filter(|evidence| evidence.finding >= Finding::Inconclusive)
        .map(|evidence| observed(evidence, version));
    match (observed, &decision.reason) {
        (None, _) => capitalised(&reason),
        (Some(observed), Reason::Regression) => observed,
        (Some(observed), _) => format!("{observed}; {reason}"),
    }
}

fn observed(evidence: &IndicatorEvidence, version: &str) -> String {
    let share = percent(evidence.since.ratio().unwrap_or(0.0));
    let total = thousands(evidence.since.total);
    let before = percent(evidence.baseline.ratio().unwrap_or(0.0));
    let happened = match evidence.threshold_ms {
        None => "failed".to_owned(),
        Some(threshold) => format!("took longer than {threshold} ms"),
    };
    let certainty = match evidence.log10_m {
        Some(log10_m) if evidence.finding > Finding::Inconclusive => format!("; {}", certainty(log10_m)),
        _ => String::new(),
    };
    format!("{share} of {total} requests on {version} {happened}, {before} before it{certainty}")
}

/// Why, as a clause.
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::ModeOff => "the policy is off".to_owned(),
        Reason::NotFinished => "the deployment has not finished with success".to_owned(),
        Reason::NoVersion => "the deployment names no version, so no request can be attributed to it".to_owned(),
        Reason::NewerDeployment { deployment } => format!("a newer deployment, {}, has begun", deployment.id),
        Reason::AlreadyDecided => "this deployment was decided before".to_owned(),
        Reason::BakeTimeOver { until } => format!("the deployment was watched until {until}"),
        Reason::NoRequests => "no requests on the new version yet: inconclusive".to_owned(),
        Reason::NoBaseline => "no requests before the deployment to compare with: inconclusive".to_owned(),
        Reason::Inconclusive => "not distinguishable from before".to_owned(),
        Reason::NotMaterial => "worse than before, but harmless to the error budget".to_owned(),
        Reason::BurningBefore => "the objective's alert was active before the deployment".to_owned(),
        Reason::Regression => "the new version is worse, and it matters".to_owned(),
        Reason::Hotfix => "not rolled back: the deployment is a hotfix".to_owned(),
        Reason::DeployedDuringIncident { incident } => {
            format!("not rolled back: it was deployed during the open incident {}", incident.id)
        }
        Reason::RollbackOfRollback => "not rolled back: the deployment is itself a rollback".to_owned(),
        Reason::NoTarget => "not rolled back: no earlier version is proven good".to_owned(),
        Reason::NoExecutor => "not rolled back: the policy has no executor".to_owned(),
        Reason::Cooldown { until } => format!("not rolled back: cooling down until {until}"),
        Reason::TooManyRollbacks { count, window_seconds } => {
            format!("not rolled back: {count} rollbacks within {} already", duration(*window_seconds))
        }
        Reason::AnotherInProgress { deployment } => {
            format!("the rollback of {} is in progress", deployment.id)
        }
    }
}

pub const fn target_fault(fault: TargetFault) -> &'static str {
    match fault {
        TargetFault::NoVersion => "names no version",
        TargetFault::SameVersion => "is the same version",
        TargetFault::Quarantined => "is quarantined",
        TargetFault::RolledBack => "was rolled back itself",
        TargetFault::TooFewRequests => "served too few requests to be proven good",
        TargetFault::BudgetNotIntact => "did not keep within its error budget",
    }
}

/// Two significant digits: "2.1 %", "0.031 %", "20 %".
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = match percent {
        p if p <= 0.0 || p >= 9.95 => 0,
        p if p >= 0.995 => 1,
        p if p >= 0.0995 => 2,
        p if p >= 0.00995 => 3,
        _ => 4,
    };
    let text = format!("{percent:.decimals$}");
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if trimmed == "0" && share > 0.0 { "less than 0.0001 %".to_owned() } else { format!("{trimmed} %") }
}

/// "4,310"
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An e-value of M bounds the chance of a false alarm by 1/M; two significant digits, rounded down.
fn certainty(log10_m: f64) -> String {
    let m = 10_f64.powf(log10_m.min(12.0));
    let scale = 10_f64.powf((m.log10().floor() - 1.0).max(0.0));
    format!("chance of a false alarm below 1 in {}", thousands(count((m / scale + 1e-9).floor() * scale)))
}

/// What a regression does to the budget, since the deployment.
pub fn burned(burn: f64, consumed: f64) -> String {
    let speed = if burn < 9.95 { format!("{burn:.1}") } else { thousands(count(burn.round())) };
    let used = if consumed > 1.0 {
        format!("all of it used {consumed:.1} times over")
    } else {
        format!("{} of it used", percent(consumed))
    };
    format!("error budget burned {speed} times faster than sustainable since the deployment, {used}")
}

fn duration(seconds: u64) -> String {
    match seconds {
        s if s >= 7_200 => format!("{} hours", s / 3_600),
        s if s >= 120 => format!("{} minutes", s / 60),
        s => format!("{s} seconds"),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let written: Vec<String> =
            [0.0, 0.021, 0.003, 0.000_31, 0.2, 0.0995, 1.0, 0.05, 1e-7].into_iter().map(percent).collect();
        assert_eq!(written, ["0 %", "2.1 %", "0.3 %", "0.031 %", "20 %", "10 %", "100 %", "5 %", "less than 0.0001 %"]);
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(4_310), "4,310");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(certainty(41_934_f64.log10()), "chance of a false alarm below 1 in 41,000");
        assert_eq!(certainty(32.4), "chance of a false alarm below 1 in 1,000,000,000,000");
        assert_eq!(
            burned(190.04, 0.000_12),
            "error budget burned 190 times faster than sustainable since the deployment, 0.012 % of it used"
        );
        assert_eq!(
            burned(2.04, 2.31),
            "error budget burned 2.0 times faster than sustainable since the deployment, all of it used 2.3 times over"
        );
        assert_eq!(duration(86_400), "24 hours");
    }
}
