//! Templates by where they go: each checks that what stands around the places has the right form.

use http::HeaderValue;
use serde_json::Value as Json;

use super::host::authority;
use super::path::check_path;
use super::text::{Body, Text};
use super::{Syntax, Writable};
use crate::decode::{Complaint, Decoder};
use crate::shape::{Accepts, Shape};
use crate::template::Template;
use crate::yaml::{Node, excerpt};

/// A header value.
pub(crate) fn header_template() -> Text<Template> {
    Text {
        what: "a header value",
        pattern: None,
        accepts: Accepts::AnyScalar,
        parse: |text| {
            let template = Template::parse(text)?;
            if template
                .texts()
                .all(|text| HeaderValue::from_str(text).is_ok())
            {
                return Ok(template);
            }
            // Not quoted in the error: header values can be secrets.
            Err(Complaint::new("this is not a header value")
                .hint("a header value is one line of visible ASCII characters and blanks"))
        },
        write: Template::to_string,
    }
}

/// A new path.
pub(crate) fn new_path() -> Text<Template> {
    Text {
        what: "a path such as `/v1/users/{id}`",
        pattern: Some("^/"),
        accepts: Accepts::Text,
        parse: |text| {
            let template = Template::parse(text)?;
            if template.texts().any(|text| text.contains(['{', '}'])) {
                let problem = format!("`{}` has a brace that is no variable", excerpt(text));
                return Err(Complaint::new(problem)
                    .hint("a variable is a name in braces; a brace of a path is `%7B` or `%7D`"));
            }
            check_path(&template.probe()).map_err(|complaint| {
                complaint.problem(format!("`{}` is not a path to send", excerpt(text)))
            })?;
            Ok(template)
        },
        write: Template::to_string,
    }
}

/// A new host, with or without a port.
pub(crate) fn new_host() -> Text<Template> {
    Text {
        what: "a host such as `shop.example` or `{path.tenant}.example:8443`",
        pattern: None,
        accepts: Accepts::Text,
        parse: |text| {
            let template = Template::parse(text)?;
            if template.as_fixed().is_some() {
                return (authority().parse)(text).map(Template::fixed);
            }
            (authority().parse)(&template.probe()).map_err(|complaint| {
                complaint.problem(format!("`{}` is not a host", excerpt(text)))
            })?;
            Ok(template)
        },
        write: Template::to_string,
    }
}

/// The body of a fixed answer.
pub(crate) struct BodyTemplate;

impl Syntax for BodyTemplate {
    type Value = Template;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<Template> {
        let text = Body.read(node, decoder)?;
        let parsed = Template::parse(&text);
        parsed
            .map_err(|complaint| decoder.report(node.at, complaint))
            .ok()
    }

    fn shape(&self) -> Shape {
        Body.shape()
    }
}

impl Writable for BodyTemplate {
    fn write(&self, value: &Template) -> Json {
        value.to_string().into()
    }
}
