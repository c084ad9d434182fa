//! Copies of requests for another service, such as the next version of the first one.

use std::time::Duration;

use crate::bounds::{MIRROR_LAG_BYTES_MAX, MIRROR_TIMEOUT_MAX};
use crate::declare::{defaulted, object, place, required};
use crate::position::{Located, Position};
use crate::syntax::at;
use crate::syntax::text::name;
use crate::syntax::unit::{duration, percent, size};
use crate::units::{Percent, Size};

object! {
    /// A copy of requests for another service; its name alone copies every request. A copy never
    /// delays or fails the request it was made of: it is sent once, its answer is read and thrown
    /// away, and where it cannot keep up it is dropped and counted. It carries
    /// `weir-mirrored: <route>`. Upgrades are not copied.
    pub struct Mirror: Eq {
        short at(name()) => |service, at| Mirror { at, ..Mirror::to(service) };
        /// The service that gets the copies. Its deadlines, breaker and limits hold for them.
        pub service: Located<String> as "to" = required(at(name())),
        /// Share of requests.
        pub share: Percent = defaulted(percent(), SHARE_DEFAULT),
        /// How far a copy may lag behind: bytes of the body that were sent on to the first service
        /// and not yet to this one. A copy that lags further is dropped, so 0 copies only requests
        /// without a body.
        pub lag_bytes_max: Size =
            defaulted(size().within(Size(0), Size(MIRROR_LAG_BYTES_MAX)), LAG_DEFAULT),
        /// Longest that a copy may take, to the end of its answer.
        pub timeout: Duration = defaulted(duration().up_to(MIRROR_TIMEOUT_MAX), TIMEOUT_DEFAULT),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Mirror {
    /// A copy of every request.
    pub fn to(service: Located<String>) -> Self {
        Mirror {
            service,
            share: SHARE_DEFAULT,
            lag_bytes_max: LAG_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
            at: Position::default(),
        }
    }
}

const SHARE_DEFAULT: Percent = Percent::WHOLE;
/// As much as is kept of a body for a retry: most JSON requests.
const LAG_DEFAULT: Size = Size::kib(64);
/// As long as the head of a response may take by default: nobody waits for a copy.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
