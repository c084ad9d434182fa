//! What answers when the service of a route gave up.

use crate::declare::{by_key, defaulted, object, place, variants};
use crate::position::{Located, Position};
use crate::route::Respond;
use crate::syntax::plain::whole;
use crate::syntax::text::name;
use crate::syntax::{at, list, of};

object! {
    /// What answers when the first service gave up, its retries included: no endpoint, breaker
    /// open, overload, failures to connect, broken connections, timeouts, and the statuses listed.
    /// A fixed answer always may, except to a gRPC call. Another service gets the request only
    /// where it may be sent again: nothing of it was sent, or its method is idempotent, and its
    /// body is unread or kept (`retry.body_bytes_max`). The answer carries `weir-fallback: WHY`.
    pub struct Fallback {
        /// What answers instead. Exactly one of `to`, `respond`.
        pub instead: Instead = by_key(),
        /// Statuses of the first service that are answered otherwise.
        pub statuses: Vec<u16> = defaulted(list(whole(400, 599)), vec![502, 503, 504]),
        /// Where it was written.
        pub at: Position = place(),
    }
}

variants! {
    /// What answers instead.
    pub enum Instead {
        /// `respond: { status: …, body: … }`: Weir answers by itself.
        Respond(Respond) = "respond", of::<Respond>() => Instead::Respond,
        /// `to: other`: another service, with its own deadlines, retries, breaker and limits; the
        /// `total` deadline covers both.
        To(Located<String>) = "to", at(name()) => Instead::To,
    }
}
