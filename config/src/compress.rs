//! Compression of responses.

use crate::bounds::COMPRESS_BYTES_MIN_MAX;
use crate::declare::{defaulted, fixed, object, place, words};
use crate::decode::{Complaint, Decoder};
use crate::position::Position;
use crate::syntax::http::media_range;
use crate::syntax::list;
use crate::syntax::plain::{Boolean, word};
use crate::syntax::unit::size;
use crate::units::Size;
use crate::yaml::Node;

object! {
    /// Compression of responses on their way to clients. `compress: true` is this with all
    /// defaults. Responses that are compressed already, partial, or marked `no-transform` pass as
    /// they are. Do not compress pages that repeat what a client sends beside a secret (BREACH).
    pub default struct Compress: Eq {
        short Boolean => |enabled, at| Compress { enabled, at, ..Compress::default() };
        check Compress::check;
        /// `compress: false` switches it off.
        pub enabled: bool = fixed(true),
        /// Codings offered; among those that a client likes equally, the first.
        pub encodings: Vec<Encoding> = defaulted(
            list(word::<Encoding>()).not_empty(),
            vec![Encoding::Zstd, Encoding::Brotli, Encoding::Gzip],
        ),
        /// Smallest body that is compressed, where its length is known.
        // Below a packet there is nothing to win.
        pub bytes_min: Size =
            defaulted(size().within(Size(0), Size(COMPRESS_BYTES_MIN_MAX)), Size::kib(1)),
        /// Media types that are compressed; `text/*` is all of them that begin so.
        pub types: Vec<String> = defaulted(list(media_range()).not_empty(), types_default()),
        /// How much work goes into it.
        pub effort: Effort = defaulted(word::<Effort>(), Effort::Balanced),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Compress {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        let twice = self
            .encodings
            .iter()
            .enumerate()
            .find(|(index, encoding)| self.encodings[..*index].contains(encoding));
        if let Some((_, encoding)) = twice {
            let text = crate::syntax::plain::Words::word(*encoding);
            let complaint = Complaint::new(format!("`{text}` is listed twice"))
                .hint("the first counts; remove the other");
            decoder.in_key("encodings", |decoder| decoder.report(node.at, complaint));
        }
    }
}

words! {
    /// A content coding.
    pub enum Encoding {
        /// Brotli (RFC 7932).
        Brotli = "br",
        /// gzip (RFC 1952).
        Gzip = "gzip",
        /// Zstandard (RFC 8878).
        Zstd = "zstd",
    }
}

words! {
    /// How much work goes into compression.
    pub enum Effort: Default {
        /// gzip 6, Brotli 5, Zstandard 3: what servers usually take for content made on request.
        Balanced (default) = "balanced",
        /// gzip 1, Brotli 1, Zstandard 1.
        Fast = "fast",
        /// gzip 9, Brotli 8, Zstandard 9: for responses that a cache keeps.
        Small = "small",
    }
}

/// What shrinks. Event streams are left out: their events are small and must not wait.
fn types_default() -> Vec<String> {
    [
        "application/javascript",
        "application/json",
        "application/*+json",
        "application/manifest+json",
        "application/wasm",
        "application/xml",
        "application/*+xml",
        "image/svg+xml",
        "text/css",
        "text/csv",
        "text/html",
        "text/javascript",
        "text/markdown",
        "text/plain",
        "text/xml",
    ]
    .map(str::to_owned)
    .to_vec()
}
