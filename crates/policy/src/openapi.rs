//! Requests held against an OpenAPI document, and answers from its examples.
//!
//! For: compiling a document once, with a configuration, and judging requests by it: paths, methods
//! and parameters at admission, bodies once they have arrived. Not for: reading files, holding
//! bodies; the engine does. The one idea: a document is trusted and a request is not, so everything
//! that can be looked up, resolved or compiled is done before the first request, nothing is ever
//! fetched, and no refusal repeats a value that a client has sent.

mod api;
mod body;
mod coerce;
mod dialect;
mod example;
mod mock;
mod parameter;
mod paths;
mod read;
mod said;
mod schemas;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};
use weir_config::Position;
use weir_config::openapi::{OpenapiMode, Unknown};

use crate::note::{Note, Step};
use crate::refusal::{Code, FieldFault, FieldPlace, Refusal};
use crate::request::RequestView;
use api::{Found, Operation};
use body::ERRORS_MAX;
use parameter::Inputs;

pub(crate) use api::Api;
pub(crate) use body::is_encoded;
pub(crate) use read::DocumentFault;

/// What a route does with an OpenAPI document.
#[derive(Debug)]
pub struct OpenapiPlan {
    /// `None` where the document lies elsewhere: at the proxies, of which this is none.
    pub(crate) api: Option<Arc<Api>>,
    pub(crate) mode: OpenapiMode,
    pub(crate) unknown: Unknown,
    pub(crate) query_unknown: Unknown,
    /// What stands before the document's paths; `None` for what its servers say.
    pub(crate) base_path: Option<Box<str>>,
    pub(crate) body_bytes_max: u64,
    /// Whether clients of mocks choose; `None` where nothing is mocked.
    pub(crate) mock: Option<bool>,
    pub(crate) at: Position,
}

/// What is known of an admitted request.
#[derive(Debug, Default)]
pub struct Examined {
    /// Its operation, where it has one.
    operation: Option<u32>,
    /// The media type of its body, where that is still to be held against a schema.
    media: Option<usize>,
    /// What is wrong with it, where that is only reported.
    pub(crate) reported: Option<Box<Refusal>>,
}

impl Examined {
    /// Whether its body is still to be judged.
    pub(crate) fn awaits_body(&self) -> bool {
        self.media.is_some()
    }
}

impl OpenapiPlan {
    /// Judges the head of a request; `path` is in normal form.
    ///
    /// # Errors
    /// The refusal to answer with, where the plan enforces.
    pub(crate) fn examine(
        &self,
        request: &RequestView<'_>,
        path: &str,
        note: &mut impl Note,
    ) -> Result<Examined, Refusal> {
        let Some(api) = &self.api else {
            self.say(note, || {
                "the OpenAPI document is known at the proxies only".to_owned()
            });
            return Ok(Examined::default());
        };
        let mut examined = Examined::default();
        match self.judge(api, request, path, &mut examined, note) {
            Ok(()) => {}
            Err(refusal) if self.mode == OpenapiMode::Report => {
                self.say(note, || format!("it would be refused: {refusal}"));
                examined.reported = Some(Box::new(refusal));
            }
            Err(refusal) => return Err(refusal),
        }
        Ok(examined)
    }

    fn judge(
        &self,
        api: &Api,
        request: &RequestView<'_>,
        path: &str,
        examined: &mut Examined,
        note: &mut impl Note,
    ) -> Result<(), Refusal> {
        let below = self.below_base(api, path);
        let found = below.map_or(Found::NoPath, |path| api.find(request.method, path));
        // Nothing can be made up for what is not in the document.
        let passes = self.unknown == Unknown::Pass && self.mock.is_none();
        let (index, captures) = match found {
            Found::Operation(index, captures) => (index, captures),
            Found::NoPath | Found::NoMethod(_) if passes => {
                self.say(note, || {
                    "the document does not have it: unchecked".to_owned()
                });
                return Ok(());
            }
            Found::NoPath => return Err(Refusal::new(Code::OpenapiPath)),
            Found::NoMethod(allow) => {
                return Err(Refusal::new(Code::OpenapiMethod).with_allow(allow));
            }
        };
        let Some(operation) = api.operation(index) else {
            return Err(Code::Internal.into());
        };
        examined.operation = Some(index);
        let faults = self.parameter_faults(operation, request, &captures);
        self.say(note, || match faults.as_slice() {
            [] => format!(
                "it is `{}`, and its parameters are in order",
                operation.name
            ),
            _ => format!("it is `{}`", operation.name),
        });
        // Which schema its body has is found out even where a report has something to say already.
        let media = match &operation.body {
            Some(rule) => self.media(rule, request, note),
            None => Ok(None),
        };
        examined.media = media.as_ref().ok().copied().flatten();
        if !faults.is_empty() {
            return Err(Refusal::new(Code::OpenapiParameter).with_fields(faults));
        }
        media.map(|_| ())
    }

    /// The schema to hold a body against.
    fn media(
        &self,
        rule: &body::BodyRule,
        request: &RequestView<'_>,
        note: &mut impl Note,
    ) -> Result<Option<usize>, Refusal> {
        let has_body = request.body_bytes != Some(0);
        let media = rule.media_of(request.headers, has_body)?;
        let Some(media) = media.filter(|media| rule.checks(*media)) else {
            return Ok(None);
        };
        if let Some(bytes) = request
            .body_bytes
            .filter(|bytes| *bytes > self.body_bytes_max)
        {
            return Err(self.too_large(Some(bytes)));
        }
        self.say(note, || {
            let max = self.body_bytes_max;
            format!("its body is held against the schema once it is there, at most {max} bytes")
        });
        Ok(Some(media))
    }

    fn parameter_faults(
        &self,
        operation: &Operation,
        request: &RequestView<'_>,
        captures: &[&str],
    ) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let strict = self.query_unknown == Unknown::Refuse;
        if operation.parameters.is_empty() && !strict {
            return faults;
        }
        let inputs = Inputs::of(captures, request.query, request.headers);
        for parameter in &operation.parameters {
            if faults.len() >= ERRORS_MAX {
                return faults;
            }
            parameter.check(&inputs, &mut faults, ERRORS_MAX);
        }
        let known = |name: &str| operation.parameters.iter().any(|it| it.owns(name));
        let unknown = inputs
            .query
            .iter()
            .filter(|(name, _)| strict && !known(name));
        let left = ERRORS_MAX.saturating_sub(faults.len());
        faults.extend(unknown.take(left).map(|(name, _)| FieldFault {
            place: FieldPlace::Query(read::excerpt(name).into()),
            pointer: Box::default(),
            said: "is not known".into(),
        }));
        faults
    }

    /// The rest of a path behind what stands before those of the document.
    fn below_base<'p>(&self, api: &Api, path: &'p str) -> Option<&'p str> {
        let below = |base: &str| {
            let rest = path.strip_prefix(base)?;
            match rest {
                "" => Some("/"),
                rest => rest.starts_with('/').then_some(rest),
            }
        };
        match &self.base_path {
            Some(base) => below(base),
            None => api.base_paths.iter().find_map(|base| below(base)),
        }
    }

    /// The largest body that is to be held; `None` where nothing is left to judge.
    pub(crate) fn holds(&self, examined: &Examined) -> Option<u64> {
        examined.awaits_body().then_some(self.body_bytes_max)
    }

    /// Judges a body that has arrived; `None` for one that went over the bound.
    ///
    /// # Errors
    /// What is wrong with it: an answer where the plan enforces, else to be reported.
    pub(crate) fn examine_body(
        &self,
        examined: &Examined,
        body: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let Some(media) = examined.media else {
            return Ok(());
        };
        let Some(body) = body.filter(|body| body.len() as u64 <= self.body_bytes_max) else {
            return Err(self.too_large(None));
        };
        match self.operation(examined).and_then(|it| it.body.as_ref()) {
            Some(rule) => rule.check(media, body),
            None => Ok(()),
        }
    }

    /// The example that answers a request.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn mock(
        &self,
        examined: &Examined,
        request: &HeaderMap,
    ) -> Result<Response<Bytes>, Refusal> {
        if self.api.is_none() {
            // To be looked at, not to be sent: the proxies know what they answer.
            return Ok(Response::new(Bytes::new()));
        }
        let operation = self.operation(examined).ok_or(Code::OpenapiPath)?;
        let mocks = operation.mocks.as_ref().ok_or(Code::MockNoExample)?;
        mocks.answer(&operation.name, request, self.mock == Some(true))
    }

    fn operation(&self, examined: &Examined) -> Option<&Operation> {
        self.api.as_ref()?.operation(examined.operation?)
    }

    fn too_large(&self, bytes: Option<u64>) -> Refusal {
        let max = self.body_bytes_max;
        let detail = match bytes {
            Some(bytes) => format!("{bytes} bytes, at most {max} are checked"),
            None => format!("at most {max} bytes are checked"),
        };
        Refusal::new(Code::OpenapiBodyTooLarge).with_detail(detail)
    }

    fn say(&self, note: &mut impl Note, said: impl FnOnce() -> String) {
        note.note(|| Step {
            area: "openapi",
            said: said(),
            at: self.at,
        });
    }
}
