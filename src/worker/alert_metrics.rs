//! Alerts and their messages as `/metrics` shows them.

use crate::alert::lifecycle::severity_name;
use crate::alert::{Channel, State};
use crate::config::model::Severity;
use crate::num::signed_float;
use crate::store::{Conn, StoreError, alert, outbox};
use crate::time::Timestamp;

pub fn describe() {
    metrics::describe_gauge!("devpulse_alerts", "Active alerts by state and severity.");
    metrics::describe_counter!(
        "devpulse_notifications_total",
        "Attempts to send a message, by channel and outcome (sent, failed: tried again, dead: given up)."
    );
    metrics::describe_gauge!("devpulse_outbox_messages", "Messages waiting to be sent, and messages given up (dead).");
    metrics::describe_gauge!(
        "devpulse_outbox_oldest_due_timestamp_seconds",
        "When the oldest waiting message was due; 0 while none waits."
    );
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    /// To be tried again.
    Failed,
    /// Given up.
    Dead,
}

pub fn count(channel: Channel, outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Sent => "sent",
        Outcome::Failed => "failed",
        Outcome::Dead => "dead",
    };
    metrics::counter!("devpulse_notifications_total", "channel" => channel.as_str(), "outcome" => outcome).increment(1);
}

/// Reads the gauges from the store.
///
/// # Errors
/// The database does not answer.
pub async fn refresh(conn: &mut Conn) -> Result<(), StoreError> {
    let counts = alert::counts(conn).await?;
    for state in [State::Pending, State::Firing] {
        for severity in [Severity::Ticket, Severity::Page] {
            let (state, severity) = (state.as_str(), severity_name(severity));
            let found = counts.iter().find(|(s, v, _)| s == state && v == severity);
            let gauge = metrics::gauge!("devpulse_alerts", "state" => state, "severity" => severity);
            gauge.set(signed_float(found.map_or(0, |(_, _, count)| *count)));
        }
    }
    let depth = outbox::depth(conn).await?;
    metrics::gauge!("devpulse_outbox_messages", "state" => "waiting").set(signed_float(depth.waiting));
    metrics::gauge!("devpulse_outbox_messages", "state" => "dead").set(signed_float(depth.dead));
    metrics::gauge!("devpulse_outbox_oldest_due_timestamp_seconds")
        .set(depth.oldest_due.map_or(0.0, Timestamp::seconds_f64));
    Ok(())
}
