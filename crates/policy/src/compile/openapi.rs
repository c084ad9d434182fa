//! OpenAPI documents of routes: each is compiled once, however many routes name it, and not again
//! while a snapshot that runs has it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_config::openapi::{Openapi, OpenapiSource};
use weir_config::route::{Action as WrittenAction, Route as Written};

use super::faults::Faults;
use super::files::FileText;
use super::routes::Scope;
use crate::openapi::{Api, OpenapiPlan};

/// SHA-256 of a text, and whether its examples were wanted.
pub(crate) type ApiKey = ([u8; 32], bool);

/// The documents of one compilation; `None` for one with faults, which are told once.
pub(super) type Apis = RefCell<HashMap<ApiKey, Option<Arc<Api>>>>;

/// Compiles what a route asks of its requests; `None` where it does not know its API.
pub(super) fn compile(
    scope: &Scope<'_>,
    index: usize,
    written: &Written,
    faults: &mut Faults,
) -> Option<OpenapiPlan> {
    let openapi = written.openapi.as_ref()?;
    plan(scope, index, written, openapi, faults)
}

fn plan(
    scope: &Scope<'_>,
    index: usize,
    written: &Written,
    openapi: &Openapi,
    faults: &mut Faults,
) -> Option<OpenapiPlan> {
    let mock = match &written.action {
        WrittenAction::Mock(mock) => Some(mock),
        _ => None,
    };
    let mut plan = OpenapiPlan {
        api: None,
        mode: openapi.mode,
        unknown: openapi.unknown,
        query_unknown: openapi.query_unknown,
        base_path: openapi.base_path.as_deref().map(Into::into),
        body_bytes_max: openapi.body_bytes_max.0,
        mock: mock.map(|mock| mock.prefer),
        at: openapi.at,
    };
    let path = format!("routes[{index}].openapi");
    let (text, name, path, at) = match &openapi.source {
        OpenapiSource::Inline(text) => {
            let name = "the document".to_owned();
            (
                text.value.as_str().into(),
                name,
                format!("{path}.inline"),
                text.at,
            )
        }
        OpenapiSource::File(file) => {
            let name = file.value.display().to_string();
            match scope.files.text(&file.value, DOCUMENT_BYTES_MAX) {
                FileText::Elsewhere => return Some(plan),
                FileText::Text(text) => (text, name, path, file.at),
                FileText::Unreadable(why) => {
                    let hint = "the path is relative to the directory that the proxy runs in";
                    let problem = format!("{name}: {why}");
                    faults.error(path, file.at, problem, Some(hint.to_owned()));
                    return None;
                }
            }
        }
    };
    let key = (Sha256::digest(text.as_bytes()).into(), mock.is_some());
    let known = scope.apis.borrow().get(&key).cloned();
    let api = match known {
        Some(known) => known?,
        None => {
            let api = scope.live.api(key).or_else(|| {
                let compiled = Api::compile(&text, mock.is_some());
                let tell = |list: Vec<_>| {
                    for fault in list {
                        let crate::openapi::DocumentFault {
                            pointer,
                            problem,
                            hint,
                        } = fault;
                        let place = if pointer.is_empty() {
                            String::new()
                        } else {
                            format!(" at {pointer}")
                        };
                        let problem = format!("{name}{place}: {problem}");
                        faults.error(path.clone(), at, problem, hint);
                    }
                };
                let api = Arc::new(compiled.map_err(tell).ok()?);
                scope.live.keep_api(key, &api);
                Some(api)
            });
            scope.apis.borrow_mut().insert(key, api.clone());
            api?
        }
    };
    if let Some(mock) = mock {
        let (operations, silent) = api.operations();
        if silent > 0 {
            let problem = format!(
                "{silent} of {operations} operations have no example: requests for them are \
                 refused with `mock-no-example`"
            );
            let hint = "give their responses, or the schemas of those, an `example`".to_owned();
            faults.warn(
                format!("routes[{index}].mock"),
                mock.at,
                problem,
                Some(hint),
            );
        }
    }
    plan.api = Some(api);
    Some(plan)
}
