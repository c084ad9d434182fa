//! The admission webhook's answer: `AdmissionReview` of `admission.k8s.io/v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{InjectOptions, Outcome, inject};

/// What the API server asks.
#[derive(Debug, Deserialize)]
pub struct AdmissionReview {
    /// `admission.k8s.io/v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `AdmissionReview`.
    pub kind: String,
    /// The request.
    pub request: AdmissionRequest,
}

/// The object that is to be admitted.
#[derive(Debug, Deserialize)]
pub struct AdmissionRequest {
    /// Given back with the answer.
    pub uid: String,
    /// The object; absent on deletion.
    #[serde(default)]
    pub object: Value,
}

/// What we answer.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionResponse {
    /// The request's.
    pub uid: String,
    /// Whether the object may be made.
    pub allowed: bool,
    /// `JSONPatch` where there is a patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<&'static str>,
    /// RFC 6902 operations, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// Why not, where not allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Value>,
}

/// Answers a review. A pod that cannot be injected is refused with the reason and the remedy rather
/// than let in without mTLS.
#[must_use]
pub fn answer(review: &AdmissionReview, options: &InjectOptions) -> Value {
    let request = &review.request;
    let mut response = AdmissionResponse {
        uid: request.uid.clone(),
        allowed: true,
        patch_type: None,
        patch: None,
        status: None,
    };
    match inject(&request.object, options) {
        Ok(Outcome::Injected(injected)) => {
            let patch = json_patch::diff(&request.object, &injected);
            if !patch.0.is_empty() {
                response.patch_type = Some("JSONPatch");
                response.patch = Some(STANDARD.encode(json!(patch).to_string()));
            }
        }
        Ok(Outcome::Skipped(_)) => {}
        Err(error) => {
            response.allowed = false;
            response.status = Some(json!({ "code": 422, "message": error.to_string() }));
        }
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}
