//! A route that knows its API: requests are held against an OpenAPI document, and answered from its
//! examples.
//!
//! What the document says is read by `weir-policy`, which has the files at hand; here is only where
//! it lies and what follows from it.

use std::path::PathBuf;

use crate::bounds::{BUFFERED_BODY_BYTES_MAX, DOCUMENT_BYTES_MAX};
use crate::declare::{by_key, defaulted, object, optional, place, variants, words};
use crate::decode::{Complaint, Decoder};
use crate::position::{Located, Position};
use crate::shape::Shape;
use crate::syntax::path::path_prefix;
use crate::syntax::plain::{Boolean, Only, word};
use crate::syntax::text::{any_text, file};
use crate::syntax::unit::size;
use crate::syntax::{Syntax, at};
use crate::units::Size;
use crate::yaml::{Node, Value};

object! {
    /// Requests are held against an OpenAPI document (3.0 or 3.1, YAML or JSON): its paths and
    /// methods, the parameters in path, query, headers and cookies, the media type of the body, and
    /// bodies of JSON and forms by their schema. A refusal names what is wrong, never its value.
    /// References within the document are followed, others are an error: nothing is ever fetched.
    /// `openapi: petstore.yaml` is the file alone.
    pub struct Openapi {
        short at(file()) => |path, at| Openapi {
            source: OpenapiSource::File(path),
            mode: OpenapiMode::Enforce,
            unknown: Unknown::Refuse,
            query_unknown: Unknown::Pass,
            base_path: None,
            body_bytes_max: Size::mib(1),
            at,
        };
        /// Where the document is. Exactly one of `file`, `inline`.
        pub source: OpenapiSource = by_key(),
        /// What is done about a request that breaks the rules.
        pub mode: OpenapiMode = defaulted(word::<OpenapiMode>(), OpenapiMode::Enforce),
        /// What is done with paths and methods that the document does not have.
        pub unknown: Unknown = defaulted(word::<Unknown>(), Unknown::Refuse),
        /// What is done with query parameters that an operation does not have.
        pub query_unknown: Unknown = defaulted(word::<Unknown>(), Unknown::Pass),
        /// What stands before the document's paths in those of requests; `/` for nothing.
        pub base_path: Option<String> =
            optional(path_prefix()).note("the paths of the document's `servers`"),
        /// Largest body that is held against a schema, from 1KiB to 16MiB: it lies in memory until
        /// it is judged. A larger one is refused with 413. Bodies without a schema are not held.
        pub body_bytes_max: Size = defaulted(
            size().within(Size::kib(1), Size(BUFFERED_BODY_BYTES_MAX)),
            Size::mib(1),
        ),
        /// Where it was written.
        pub at: Position = place(),
    }
}

variants! {
    /// Where an OpenAPI document is.
    pub enum OpenapiSource {
        /// `file: petstore.yaml`: on the disk of the proxy, at most 8 MiB; like every file,
        /// relative to the directory that it runs in. It is read again when it changes.
        File(Located<PathBuf>) = "file", at(file()) => OpenapiSource::File,
        /// `inline: |`: its text, so that it travels with the configuration.
        Inline(Located<String>) = "inline", at(InlineText) => OpenapiSource::Inline,
    }
}

words! {
    /// What is done about a request that breaks the rules.
    pub enum OpenapiMode: Default {
        /// It is refused.
        Enforce (default) = "enforce",
        /// It goes on; access log and metrics say what would have been refused.
        Report = "report",
    }
}

words! {
    /// What is done with something that the document does not have.
    pub enum Unknown: Default {
        /// It passes unchecked.
        Pass = "pass",
        /// It is refused.
        Refuse (default) = "refuse",
    }
}

object! {
    /// Answers are made from the examples of the route's OpenAPI document, and no service is asked:
    /// the `example` of a response or the first of its `examples` by name, else one made of those
    /// in its schema. Of several responses it is the one with the lowest 2xx status. Every such
    /// answer says so in `weir-mock`.
    pub default struct Mock: Eq {
        short Only(true) => |(), at| Mock { at, ..Mock::default() };
        /// Whether clients choose by `Prefer: code=404` or `Prefer: example=name` (RFC 7240).
        pub prefer: bool = defaulted(Boolean, true),
        /// Where it was written.
        pub at: Position = place(),
    }
}

/// A text as long as a document may be.
struct InlineText;

impl Syntax for InlineText {
    type Value = String;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<String> {
        let Value::Scalar { text, .. } = &node.value else {
            let complaint = Complaint::new(format!("expected a text, found {}", node.describe()))
                .hint("begin it with `inline: |` and indent the document below");
            decoder.report(node.at, complaint);
            return None;
        };
        // It stands in a document, so this bound is the document's.
        debug_assert!(text.len() <= DOCUMENT_BYTES_MAX);
        Some(text.clone())
    }

    fn shape(&self) -> Shape {
        any_text().shape()
    }
}
