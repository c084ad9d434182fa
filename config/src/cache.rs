//! The response cache of the gateway: how much it may hold, and what a route lets into it.
//!
//! What may be stored, for how long, and for whom is said by the responses themselves (RFC 9111);
//! the language only adds what they cannot know: the bound on memory, and what makes two requests
//! the same.

use std::time::Duration;

use crate::bounds::{CACHE_BYTES_MAX, CACHE_KEY_HEADERS_MAX, CACHE_OBJECT_BYTES_MAX};
use crate::declare::{defaulted, empty, object, place};
use crate::decode::{Complaint, Decoder};
use crate::position::Position;
use crate::syntax::http::header_name;
use crate::syntax::text::text;
use crate::syntax::unit::{any_duration, size};
use crate::syntax::{list, of};
use crate::units::Size;
use crate::yaml::Node;

object! {
    /// What the response cache of a gateway may hold. Nothing is kept before a route has `cache`;
    /// a reload keeps what is stored.
    pub default struct CacheStore: Eq {
        check CacheStore::check;
        /// Most bytes of all stored responses together, header fields included, from 1MiB to
        /// 1TiB; responses that are being received may take a quarter of it more. Past it, what
        /// was not asked for lately goes.
        pub bytes_max: Size =
            defaulted(size().within(Size::mib(1), Size(CACHE_BYTES_MAX)), Size::mib(256)),
        /// Largest body stored; a larger one passes through, from 1KiB to 1GiB and at most a
        /// sixteenth of `bytes_max`, so that a few cannot drive out everything else.
        pub object_bytes_max: Size =
            defaulted(size().within(Size::kib(1), Size(CACHE_OBJECT_BYTES_MAX)), Size::mib(8)),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl CacheStore {
    fn check(&self, _node: &Node, decoder: &mut Decoder) {
        if self.object_bytes_max.0 > self.bytes_max.0 / CACHE_OBJECT_SHARE {
            let complaint = Complaint::new(format!(
                "{} is more than a sixteenth of `bytes_max`, {}",
                self.object_bytes_max, self.bytes_max
            ))
            .hint("one response must not drive out everything else");
            decoder.in_key("object_bytes_max", |decoder| {
                decoder.report(self.at, complaint);
            });
        }
    }
}

/// The largest object is at most one such part of the whole.
const CACHE_OBJECT_SHARE: u64 = 16;

object! {
    /// Answers of this route are stored at the gateway and served again as RFC 9111 says: their
    /// `Cache-Control`, `CDN-Cache-Control` (RFC 9213), `Expires`, `Vary`, `ETag` and
    /// `Last-Modified` decide. `cache: {}` is enough. Tokens and limits of the route are asked for
    /// every request, stored or not. On a route with `auth`, and for requests with
    /// `Authorization`, only what says `public` or `s-maxage` is stored (without `auth` also
    /// `must-revalidate`); answers with `Set-Cookie` only when they say `public`.
    pub default struct RouteCache: Eq {
        /// Which query parameters make two requests different.
        pub query: CacheQuery = empty(of::<CacheQuery>()).note("all of them"),
        /// Request headers that make two requests different, beside those in `Vary`.
        pub headers: Vec<http::HeaderName> =
            empty(list(header_name()).at_most(CACHE_KEY_HEADERS_MAX)),
        /// For how long past its freshness a stored answer may stand in for a service that fails
        /// (no answer, or 500, 502, 503 or 504), where it does not say so itself by
        /// `stale-if-error` (RFC 5861); `must-revalidate` forbids it.
        pub stale_if_error: Duration = defaulted(any_duration(), Duration::ZERO),
        /// How long a request waits for another one that is fetching the same; after it, it goes
        /// to the service itself. `0s`: never waits.
        pub wait: Duration = defaulted(any_duration(), Duration::from_secs(5)),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// Which query parameters are part of the key; they keep their order.
    pub default struct CacheQuery: Eq {
        check CacheQuery::check;
        /// Those that make no difference, such as `utm_source`.
        pub ignore: Vec<String> = empty(list(text()).not_empty()),
        /// The only ones that make a difference.
        pub only: Option<Vec<String>> = crate::declare::optional(list(text())).note("all"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl CacheQuery {
    fn check(&self, _node: &Node, decoder: &mut Decoder) {
        if self.only.is_some() && !self.ignore.is_empty() {
            let complaint = Complaint::new("`only` says it all, so `ignore` says nothing")
                .hint("keep one of them");
            decoder.report(self.at, complaint);
        }
    }
}
