//! Faults that a route injects on purpose, so that what depends on it can be tried out.

use std::time::Duration;

use crate::bounds::FAULT_DELAY_MAX;
use crate::declare::{defaulted, empty, object, optional, place, required};
use crate::decode::{Complaint, Decoder};
use crate::pattern::ValuePattern;
use crate::position::{Located, Position};
use crate::syntax::http::header_name;
use crate::syntax::plain::whole;
use crate::syntax::text::Within;
use crate::syntax::unit::{duration, percent};
use crate::syntax::{map, of};
use crate::units::Percent;
use crate::yaml::Node;

object! {
    /// Faults on purpose. They are injected after authentication and limits and before the service
    /// is asked for a place, so that neither its breaker nor its endpoints ever hear of them. A
    /// request that is drawn for both waits first.
    pub struct Fault {
        check Fault::check;
        /// Only requests with these headers, so that testers can aim at themselves.
        pub headers: Vec<(Located<http::HeaderName>, ValuePattern)> =
            empty(map(header_name(), of::<ValuePattern>())).note("every request"),
        /// Holds requests back.
        pub delay: Option<FaultDelay> = optional(of::<FaultDelay>()).note("none"),
        /// Answers requests with an error and the reason `fault-injected`.
        pub abort: Option<FaultAbort> = optional(of::<FaultAbort>()).note("none"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Fault {
    fn check(&self, _node: &Node, decoder: &mut Decoder) {
        if self.delay.is_none() && self.abort.is_none() {
            let complaint =
                Complaint::new("injects nothing").hint("give it `delay` or `abort`, or remove it");
            decoder.report(self.at, complaint);
        }
    }
}

object! {
    /// A delay; `delay: 250ms` delays every request.
    pub struct FaultDelay: Eq {
        short pause() => |pause, at| FaultDelay { pause, share: Percent::WHOLE, at };
        /// How long, at most a minute. A client that goes away ends it, and the `total` timeout
        /// counts it.
        pub pause: Duration as "for" = required(pause()),
        /// Share of requests.
        pub share: Percent = defaulted(percent(), Percent::WHOLE),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// An error; `abort: 503` answers every request with it.
    pub struct FaultAbort: Eq {
        short status() => |status, at| FaultAbort { status, share: Percent::WHOLE, at };
        /// Status.
        pub status: u16 = defaulted(status(), 503),
        /// Share of requests.
        pub share: Percent = defaulted(percent(), Percent::WHOLE),
        /// Where it was written.
        pub at: Position = place(),
    }
}

fn pause() -> Within<Duration> {
    duration().up_to(FAULT_DELAY_MAX)
}

fn status() -> crate::syntax::plain::Whole<u16> {
    whole(400, 599)
}
