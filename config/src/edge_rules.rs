//! What a listener does about paths, header names and interim responses that not everybody reads
//! alike.

use crate::declare::{defaulted, object, place, words};
use crate::position::Position;
use crate::syntax::plain::word;

object! {
    /// How paths are brought to the one form that routes, policy and services see.
    pub default struct Paths: Copy, Eq {
        /// `.` and `..` segments.
        pub dot_segments: DotSegments = defaulted(word::<DotSegments>(), DotSegments::Resolve),
        /// Empty segments (`//`).
        pub empty_segments: EmptySegments =
            defaulted(word::<EmptySegments>(), EmptySegments::Merge),
        /// `%2F` in a segment.
        pub encoded_slash: EncodedSlash = defaulted(word::<EncodedSlash>(), EncodedSlash::Reject),
        /// Where it was written.
        pub at: Position = place(),
    }
}

words! {
    /// What is done about `.` and `..` segments, encoded or not.
    pub enum DotSegments: Default {
        /// 400 with `bad-path`.
        Reject = "reject",
        /// They are resolved before routing; one that leads above the root is 400.
        Resolve (default) = "resolve",
    }
}

words! {
    /// What is done about empty segments.
    pub enum EmptySegments: Default {
        /// They stay: `/a//b` is another path than `/a/b`.
        Keep = "keep",
        /// `/a//b` becomes `/a/b`.
        Merge (default) = "merge",
    }
}

words! {
    /// What is done about an encoded slash.
    pub enum EncodedSlash: Default {
        /// It stays, as data of its segment. Dot segments beside it are 400 all the same.
        Keep = "keep",
        /// 400 with `bad-path`: services disagree whether it divides segments.
        Reject (default) = "reject",
    }
}

words! {
    /// What is done about header fields with `_` in their name.
    pub enum Underscores: Default {
        /// They stay.
        Allow = "allow",
        /// They are taken out before anything looks at them.
        Drop (default) = "drop",
        /// 400 with `bad-header`.
        Reject = "reject",
    }
}

words! {
    /// Which clients get the interim responses of services.
    pub enum InterimResponses: Default {
        /// None.
        Drop = "drop",
        /// Those that speak HTTP/1.1 or HTTP/2.
        Forward (default) = "forward",
        /// Those that speak HTTP/2: some clients of HTTP/1.1 take one for the response.
        Http2 = "http2",
    }
}
