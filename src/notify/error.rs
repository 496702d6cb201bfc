//! Why a message was not taken, and whether to try again.

use std::time::Duration;

use crate::outbound::said;

/// The longest a peer may make us wait.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Another attempt may succeed, not before `retry_after` where the peer said so.
    #[error("{detail}")]
    Temporary { detail: String, retry_after: Option<Duration> },
    /// The same message will be refused again.
    #[error("{detail}")]
    Permanent { detail: String },
}

impl SendError {
    pub fn temporary(detail: impl Into<String>) -> Self {
        Self::Temporary { detail: said(&detail.into()), retry_after: None }
    }

    pub fn permanent(detail: impl Into<String>) -> Self {
        Self::Permanent { detail: said(&detail.into()) }
    }

    /// What an HTTP status other than 2xx means for the next attempt.
    pub fn of_status(status: u16, retry_after: Option<Duration>, detail: impl Into<String>) -> Self {
        match status {
            408 | 425 | 429 | 500.. => Self::Temporary {
                detail: said(&detail.into()),
                retry_after: retry_after.map(|after| after.min(MAX_RETRY_AFTER)),
            },
            _ => Self::permanent(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let temporary = |status| matches!(SendError::of_status(status, None, "x"), SendError::Temporary { .. });
        assert!([408, 425, 429, 500, 502, 503, 504, 599].into_iter().all(temporary));
        assert!(![301, 302, 400, 401, 403, 404, 410, 422].into_iter().any(temporary));
    }

    #[test]
    fn a_peer_cannot_make_us_wait_for_ever_nor_fill_the_database() {
        let error = SendError::of_status(503, Some(Duration::from_secs(1 << 40)), "ä".repeat(10_000));
        let SendError::Temporary { detail, retry_after } = error else { panic!("503 is temporary") };
        assert_eq!(retry_after, Some(MAX_RETRY_AFTER));
        assert_eq!(detail.chars().count(), 501);
    }
}
