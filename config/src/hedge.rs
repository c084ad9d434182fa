//! One more attempt while those before have not answered.

use std::time::Duration;

use crate::bounds::{DURATION_MAX, HEDGES_MAX};
use crate::declare::{defaulted, object, place, required};
use crate::decode::Complaint;
use crate::position::Position;
use crate::shape::Accepts;
use crate::syntax::plain::whole;
use crate::syntax::text::Text;
use crate::syntax::unit::duration;
use crate::units::{duration_text, parse_duration};
use crate::yaml::excerpt;

object! {
    /// One more attempt, at another endpoint, while those before have not answered: the first
    /// answer is delivered and the other attempts are cancelled. Only for GET, HEAD, OPTIONS,
    /// TRACE, PUT and DELETE whose body has come whole and is kept (`body_bytes_max`); never for
    /// upgrades, tunnels (`CONNECT`) and gRPC calls; only within `budget` and the service's limits,
    /// and only while its breaker is closed. `hedge: 100ms` is the short form; `hedge: false`
    /// switches the service's off.
    pub struct Hedge: Copy, Eq {
        short pause() => Hedge::once;
        /// How long to wait for an answer before each more attempt; shorter than
        /// `timeouts.response` and `timeouts.per_try`. About what 95 of 100 answers need is a good
        /// start: then one request in twenty is hedged.
        pub after: Duration = required(duration()),
        /// Most attempts beside the first.
        pub attempts: u32 = defaulted(whole(1, HEDGES_MAX), 1),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Hedge {
    /// One more attempt after so long; `None` for none at all.
    fn once(after: Option<Duration>, at: Position) -> Self {
        Hedge {
            after: after.unwrap_or_default(),
            attempts: u32::from(after.is_some()),
            at,
        }
    }

    /// None at all: what a route says against its service.
    pub(crate) fn off(at: Position) -> Self {
        Hedge::once(None, at)
    }
}

/// A pause, or none at all.
fn pause() -> Text<Option<Duration>> {
    Text {
        what: "a duration such as `100ms`, a map, or `false`",
        pattern: Some("^([0-9]+(ms|s|m|h)|false)$"),
        accepts: Accepts::AnyScalar,
        parse: |text| match (text, parse_duration(text)) {
            ("false", _) => Ok(None),
            (_, Ok(after)) if !after.is_zero() && after <= DURATION_MAX => Ok(Some(after)),
            _ => {
                let problem = format!("`{}` is no time to wait for an answer", excerpt(text));
                let hint = "write a duration from `1ms` to `168h`, such as `100ms`, or `false`";
                Err(Complaint::new(problem).hint(hint))
            }
        },
        write: |after| after.map_or_else(|| "false".to_owned(), duration_text),
    }
}
