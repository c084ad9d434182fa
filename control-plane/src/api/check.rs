//! Questions that change nothing: would a document be accepted, what would happen to a request.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Deserialize;
use weir_policy::balance::Members;
use weir_policy::explain::{ExplainFault, ExplainRequest, Explanation, explain as explain_request};
use weir_policy::moment::Moment;
use weir_policy::snapshot::{ServiceId, Snapshot};
use weir_protocol::RevisionNumber;

use crate::json_body::JsonBody;
use crate::problem::Problem;
use crate::revisions::{ApplyError, Checked, compile_for};
use crate::state::State;

/// The body of `POST /v1/explain`: the request, and which document to ask.
#[derive(Debug, Deserialize)]
pub(super) struct Question {
    /// Ask the sidecar of this service instead of the gateway.
    sidecar: Option<String>,
    /// Ask this revision; the newest unless told.
    revision: Option<RevisionNumber>,
    /// Ask this document instead.
    config: Option<String>,
    /// The request.
    #[serde(flatten)]
    request: serde_json::Map<String, serde_json::Value>,
}

/// `POST /v1/check`: the body is the YAML document.
pub(super) async fn check(body: Bytes) -> Result<Json<Checked>, Problem> {
    let text = std::str::from_utf8(&body)
        .map_err(|error| Problem::bad_request(format!("the document is not UTF-8: {error}")))?;
    Ok(Json(crate::revisions::check(Arc::from(text)).await?))
}

/// `POST /v1/explain`. Signing keys are at the proxies: to ask about a request with a token, either
/// say `assume_claims`, or ask a proxy's `/explain`.
pub(super) async fn explain(
    Shared(state): Shared<Arc<State>>,
    JsonBody(question): JsonBody<Question>,
) -> Result<Json<Explanation>, Problem> {
    let request: ExplainRequest = serde_json::from_value(question.request.into())
        .map_err(|error| Problem::bad_request(format!("the request to explain: {error}")))?;
    let (text, revision) = match (question.config, question.revision) {
        (Some(text), _) => (Arc::from(text), "candidate".to_owned()),
        (None, number) => document(&state, number).await?,
    };
    let sidecar = question.sidecar;
    let answer = tokio::task::spawn_blocking(move || {
        let snapshot = compile_for(&text, sidecar.as_deref(), &revision)
            .map_err(|errors| Problem::from(ApplyError::Invalid(errors)))?;
        answer(&state, &snapshot, &request).map_err(|fault| Problem::bad_request(fault.to_string()))
    });
    answer
        .await
        .map_err(|_| Problem::from(ApplyError::Unchecked))?
        .map(Json)
}

async fn document(
    state: &State,
    number: Option<RevisionNumber>,
) -> Result<(Arc<str>, String), Problem> {
    let stored = match number {
        None => state.revisions.head().borrow().as_deref().cloned(),
        Some(number) => {
            let found = state.revisions.store().revision(number).await;
            found.map_err(|error| Problem::from(ApplyError::from(error)))?
        }
    };
    let stored = stored.ok_or_else(|| {
        let title = "No such revision";
        let detail = "nothing was applied yet, or the revision is not kept";
        Problem::new(StatusCode::NOT_FOUND, "no-revision", title, detail)
    })?;
    let revision = stored.info.number.to_string();
    Ok((stored.text, revision))
}

fn answer(
    state: &State,
    snapshot: &Snapshot,
    request: &ExplainRequest,
) -> Result<Explanation, ExplainFault> {
    let known = state.board.all();
    let at = Moment {
        nanos: 0,
        unix_seconds: crate::unix_now(),
    };
    let members = |id: ServiceId| {
        let service = snapshot.service(id);
        let endpoints = known.get(&*service.name)?;
        Some(Arc::new(Members::compile(service, endpoints, at)))
    };
    explain_request(snapshot, request, members, at)
}
