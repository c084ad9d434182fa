//! Where the phases tell what they decided and why: nowhere in production, a list in `explain`.

use serde::Serialize;
use weir_config::Position;

/// A listener of decisions. With `()` every call compiles to nothing.
pub trait Note {
    /// Takes one step; `step` is only called when somebody listens.
    fn note(&mut self, step: impl FnOnce() -> Step);
}

impl Note for () {
    #[inline(always)]
    fn note(&mut self, _step: impl FnOnce() -> Step) {}
}

/// One decision on the way of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The phase or feature: `listener`, `sni`, `path`, `route`, `near-miss`, `auth`, `limit`,
    /// `cache`, `service`, `limits`, `version`, `endpoint`, `timeouts`, `retry`, `breaker`,
    /// `rewrite`, `answer`, `fault`, `mirror`, `fallback`, `openapi`,
    /// `transform`.
    pub area: &'static str,
    /// What was decided, in words.
    pub said: String,
    /// The place in the document that decided; `0:0` for a default.
    pub at: Position,
}

/// Remembers every step.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Note for Recorder {
    fn note(&mut self, step: impl FnOnce() -> Step) {
        self.steps.push(step());
    }
}
