//! Why no further attempt was made, and how often: retries that somebody would have wanted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why no further attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// All attempts of `retry.attempts` are used.
    Attempts,
    /// The request's body is larger than what is kept for another attempt.
    Body,
    /// The breaker has opened since.
    Breaker,
    /// The budget is used up.
    Budget,
    /// The pause before it would go past a deadline.
    Deadline,
    /// A limit of ours stood in the way, and there is no other endpoint.
    Limits,
    /// The request may have been received, and its method is not idempotent.
    Method,
    /// The response asks for a longer pause than `retry.retry_after_max`.
    RetryAfter,
    /// The request may have been received, which is for the caller's proxy to judge.
    Sent,
}

impl Denied {
    /// Every reason.
    pub const ALL: [Denied; 9] = [
        Denied::Attempts,
        Denied::Body,
        Denied::Breaker,
        Denied::Budget,
        Denied::Deadline,
        Denied::Limits,
        Denied::Method,
        Denied::RetryAfter,
        Denied::Sent,
    ];

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Denied::Attempts => "attempts",
            Denied::Body => "body",
            Denied::Breaker => "breaker",
            Denied::Budget => "budget",
            Denied::Deadline => "deadline",
            Denied::Limits => "limits",
            Denied::Method => "method",
            Denied::RetryAfter => "retry-after",
            Denied::Sent => "sent",
        }
    }

    /// In words.
    pub(super) fn said(self) -> &'static str {
        match self {
            Denied::Attempts => "no attempt is left",
            Denied::Body => "its body cannot be sent again",
            Denied::Breaker => "the breaker is not closed",
            Denied::Budget => "the retry budget is used up",
            Denied::Deadline => "the pause would go past a deadline",
            Denied::Limits => "there is no other endpoint with free connections",
            Denied::Method => {
                "the request may have been received, and its method is not idempotent"
            }
            Denied::RetryAfter => "the service asks for a longer pause than `retry_after_max`",
            Denied::Sent => {
                "the request may have been received, and that is for the caller's proxy to judge"
            }
        }
    }
}

/// How often each reason applied.
#[derive(Debug, Default)]
pub struct DeniedCounts([AtomicU64; Denied::ALL.len()]);

impl DeniedCounts {
    /// How often this was the reason, ever.
    #[must_use]
    pub fn of(&self, denied: Denied) -> u64 {
        self.0[denied as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, denied: Denied) {
        self.0[denied as usize].fetch_add(1, Ordering::Relaxed);
    }
}
