//! What a route does with the content of its requests and responses: it is held against an API's
//! description, and JSON is changed on its way.
//!
//! A route that asks for none of this has no [`ContentPlan`], so that its requests pay one look at
//! a pointer that is not there, and their bodies stream.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, response};
use weir_config::openapi::OpenapiMode;

use crate::note::{Note, Step};
use crate::openapi::{Examined, OpenapiPlan, is_encoded};
use crate::refusal::{Code, Refusal};
use crate::request::RequestView;
use crate::rewrite::{Filled, Values};
use crate::transform::{self, FilledJson, JsonPlan, TransformFault};

/// What a route asks for.
#[derive(Debug, Default)]
pub struct ContentPlan {
    /// The API's description.
    openapi: Option<OpenapiPlan>,
    /// Changes of requests.
    request: Option<JsonPlan>,
    /// Changes of responses.
    response: Option<JsonPlan>,
}

/// What is known of the content of one request.
#[derive(Debug, Default)]
pub struct Content {
    examined: Examined,
    /// Whether its body is to be changed.
    changes: bool,
}

impl ContentPlan {
    /// `None` where nothing is asked for.
    pub(crate) fn of(
        openapi: Option<OpenapiPlan>,
        (request, response): (Option<JsonPlan>, Option<JsonPlan>),
    ) -> Option<ContentPlan> {
        let none = openapi.is_none() && request.is_none() && response.is_none();
        (!none).then_some(ContentPlan {
            openapi,
            request,
            response,
        })
    }

    /// Judges the head of a request; `path` is in normal form.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(crate) fn examine(
        &self,
        request: &RequestView<'_>,
        path: &str,
        note: &mut impl Note,
    ) -> Result<Content, Refusal> {
        let examined = match &self.openapi {
            Some(plan) => plan.examine(request, path, note)?,
            None => Examined::default(),
        };
        let changes = match &self.request {
            Some(plan) => changes(plan, request)?,
            None => false,
        };
        let plans = [
            ("its body leaves", self.request.as_ref().filter(|_| changes)),
            ("a response leaves", self.response.as_ref()),
        ];
        for (who, plan) in plans.into_iter().filter_map(|(who, it)| Some((who, it?))) {
            note.note(|| Step {
                area: "transform",
                said: format!("{who} {}", plan.describe()),
                at: plan.at,
            });
        }
        Ok(Content { examined, changes })
    }

    /// How much of the body is to be held before the request goes anywhere, bytes; `None` where it
    /// streams.
    pub(crate) fn holds(&self, content: &Content) -> Option<u64> {
        let judged = self.openapi.as_ref();
        let judged = judged.and_then(|plan| plan.holds(&content.examined));
        let changed = self.request.as_ref().filter(|_| content.changes);
        judged.max(changed.map(|plan| plan.bytes_max))
    }

    /// Judges a body that was held, `None` for one that went over the bound; gives the one that
    /// leaves in its place.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(crate) fn receive(
        &self,
        content: &mut Content,
        filled: Option<&Filled>,
        body: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if let Some(plan) = &self.openapi {
            match plan.examine_body(&content.examined, body) {
                Err(refusal) if plan.mode == OpenapiMode::Report => {
                    let reported = &mut content.examined.reported;
                    reported.get_or_insert_with(|| Box::new(refusal));
                }
                judged => judged?,
            }
        }
        let Some(plan) = self.request.as_ref().filter(|_| content.changes) else {
            return Ok(None);
        };
        let changed = match body {
            // It was announced, and came to nothing.
            Some([]) => return Ok(None),
            Some(body) => plan.apply(body, filled.map_or(&[], |filled| &filled.request_json)),
            None => Err(TransformFault::TooLarge(plan.bytes_max)),
        };
        changed.map(Some).map_err(|fault| {
            let code = match fault {
                TransformFault::TooLarge(_) => Code::TransformTooLarge,
                TransformFault::Malformed(_) | TransformFault::NoPlace(_) => Code::TransformRequest,
            };
            Refusal::new(code).with_detail(fault.to_string())
        })
    }

    /// The example that answers a request.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn mock(
        &self,
        content: &Content,
        request: &RequestView<'_>,
    ) -> Result<Response<Bytes>, Refusal> {
        let plan = self.openapi.as_ref().ok_or(Code::MockNoExample)?;
        plan.mock(&content.examined, request.headers)
    }

    /// Whether it has values that a request fills.
    pub(crate) fn varies(&self) -> bool {
        let plans = [&self.request, &self.response];
        plans.into_iter().flatten().any(JsonPlan::varies)
    }

    /// Fills the values of requests and of responses.
    pub(crate) fn fill(&self, values: &Values<'_>) -> (FilledJson, FilledJson) {
        let fill = |plan: &Option<JsonPlan>| match plan {
            Some(plan) => plan.fill(values),
            None => FilledJson::new(),
        };
        (fill(&self.request), fill(&self.response))
    }

    /// Brings the head of a request in line with what happens to its body, and asks for a response
    /// that can be changed.
    pub(crate) fn prepare(&self, content: Option<&Content>, headers: &mut HeaderMap) {
        if content.is_some_and(|content| content.changes) {
            transform::disown(headers);
        }
        if self.response.is_some() {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        }
    }

    /// Whether responses are changed.
    #[must_use]
    pub fn reshapes(&self) -> bool {
        self.response.is_some()
    }

    /// How much of a response with this head is to be held, bytes; `None` where it streams.
    ///
    /// # Errors
    /// It is to be changed and cannot be.
    pub(crate) fn reshapes_head(
        &self,
        method: &Method,
        head: &mut response::Parts,
    ) -> Result<Option<u64>, Refusal> {
        let Some(plan) = &self.response else {
            return Ok(None);
        };
        if head.status == StatusCode::NOT_MODIFIED && head.headers.contains_key(ETAG) {
            transform::weaken(&mut head.headers);
        }
        let bare = head.status.is_informational()
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if bare || !transform::is_json(&head.headers) {
            return Ok(None);
        }
        let refuse = |said: &str| Err(Refusal::new(Code::TransformResponse).with_detail(said));
        if is_encoded(&head.headers) {
            return refuse("the service has encoded it");
        }
        if head.status == StatusCode::PARTIAL_CONTENT {
            return refuse("the service has sent a part of it");
        }
        transform::weaken(&mut head.headers);
        transform::disown(&mut head.headers);
        Ok((method != Method::HEAD).then_some(plan.bytes_max))
    }

    /// The body that leaves in the place of a response's.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn reshape(&self, filled: Option<&Filled>, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let plan = self.response.as_ref().ok_or(Code::Internal)?;
        let filled = filled.map_or(&[][..], |filled| &filled.response_json);
        let changed = plan.apply(body, filled);
        changed.map_err(|fault| {
            let code = match fault {
                TransformFault::TooLarge(_) => Code::TransformResponseTooLarge,
                TransformFault::Malformed(_) | TransformFault::NoPlace(_) => {
                    Code::TransformResponse
                }
            };
            Refusal::new(code).with_detail(fault.to_string())
        })
    }
}

/// Whether the body of a request is to be changed.
fn changes(plan: &JsonPlan, request: &RequestView<'_>) -> Result<bool, Refusal> {
    if request.body_bytes == Some(0) || !transform::is_json(request.headers) {
        return Ok(false);
    }
    if is_encoded(request.headers) {
        return Err(Refusal::new(Code::TransformEncoded));
    }
    match request.body_bytes {
        Some(bytes) if bytes > plan.bytes_max => {
            let detail = format!("{bytes} bytes, at most {} are changed", plan.bytes_max);
            Err(Refusal::new(Code::TransformTooLarge).with_detail(detail))
        }
        _ => Ok(true),
    }
}

impl Content {
    /// What would have been refused.
    #[must_use]
    pub fn reported(&self) -> Option<&Refusal> {
        self.examined.reported.as_deref()
    }
}
