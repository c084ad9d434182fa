//! What a route does with the content of its requests: it is held against an API's description.
//!
//! A route that asks for none of this has no [`ContentPlan`], so that its requests pay one look at
//! a pointer that is not there, and their bodies stream.

use bytes::Bytes;
use http::Response;
use weir_config::openapi::OpenapiMode;

use crate::note::Note;
use crate::openapi::{Examined, OpenapiPlan};
use crate::refusal::{Code, Refusal};
use crate::request::RequestView;

/// What a route asks for.
#[derive(Debug, Default)]
pub struct ContentPlan {
    /// The API's description.
    pub openapi: Option<OpenapiPlan>,
}

/// What is known of the content of one request.
#[derive(Debug, Default)]
pub struct Content {
    examined: Examined,
}

impl ContentPlan {
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
        Ok(Content { examined })
    }

    /// How much of the body is to be held before the request goes anywhere, bytes; `None` where it
    /// streams.
    pub(crate) fn holds(&self, content: &Content) -> Option<u64> {
        self.openapi.as_ref()?.holds(&content.examined)
    }

    /// Judges a body that was held, `None` for one that went over the bound.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(crate) fn receive(
        &self,
        content: &mut Content,
        body: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let Some(plan) = &self.openapi else {
            return Ok(());
        };
        match plan.examine_body(&content.examined, body) {
            Err(refusal) if plan.mode == OpenapiMode::Report => {
                let reported = &mut content.examined.reported;
                reported.get_or_insert_with(|| Box::new(refusal));
                Ok(())
            }
            judged => judged,
        }
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
}

impl Content {
    /// What would have been refused.
    #[must_use]
    pub fn reported(&self) -> Option<&Refusal> {
        self.examined.reported.as_deref()
    }
}
