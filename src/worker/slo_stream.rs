//! What `GET /api/v1/stream` hears of objectives: a verdict that changed, at once; a budget that
//! moved, now and then.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::app::StreamEvent;
use crate::slo::{SloStatus, Verdict};
use crate::time::Timestamp;

/// Budgets move with every request.
const BUDGET_EVERY: Duration = Duration::from_secs(5);

/// What listeners were told last, by objective.
#[derive(Default)]
pub struct SloStream(HashMap<String, Told>);

struct Told {
    at: Timestamp,
    verdicts: Vec<Verdict>,
    budget: Option<f64>,
}

impl SloStream {
    /// Sends where the objective stands, when that is news. Without listeners nothing is sent, and
    /// nothing counts as told.
    pub fn tell(&mut self, stream: &broadcast::Sender<StreamEvent>, status: &SloStatus, now: Timestamp) {
        if stream.receiver_count() == 0 {
            self.0.clear();
            return;
        }
        let verdicts: Vec<Verdict> = status.alerts.iter().map(|judged| judged.verdict).collect();
        let budget = status.error_budget_remaining;
        let is_news = self.0.get(&status.name).is_none_or(|told| {
            let moved = told.budget != budget && now.duration_since(told.at) >= BUDGET_EVERY;
            told.verdicts != verdicts || moved || now < told.at
        });
        if is_news && let Ok(data) = serde_json::to_value(status) {
            let _ = stream.send(StreamEvent { kind: "slo", data });
            self.0.insert(status.name.clone(), Told { at: now, verdicts, budget });
        }
    }
}
