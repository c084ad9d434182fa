//! The control plane's API from the caller's side.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, IF_MATCH};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use weir_config::units::{duration_text, parse_duration};
use weir_identity::{UpstreamTrust, upstream_client_config};
use weir_protocol::RevisionNumber;

mod answers;
mod exchange;
mod url;

pub(crate) use answers::{
    Convergence, Node, Nodes, Problem, Readiness, Revision, Revisions, Services, Written,
};
pub use url::ApiUrl;

use exchange::{Answer, ExchangeError, exchange};

use crate::failure::Failure;

/// Which control plane, and how it is reached.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Access {
    /// The control plane's API
    #[arg(
        id = "control_plane",
        long = "control-plane",
        env = "WEIR_API_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9900"
    )]
    pub(crate) url: ApiUrl,
    /// File with the API's token
    #[arg(long, env = "WEIR_API_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM file of the authorities to trust with https, instead of the system's
    #[arg(long, env = "WEIR_API_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How long an answer may take; what is waited for with --wait comes on top
    #[arg(long, env = "WEIR_API_TIMEOUT", value_name = "DURATION", default_value = "10s",
          value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// How a document is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Write {
    /// Wait so long for every node.
    pub(crate) wait: Option<Duration>,
    /// Who writes.
    pub(crate) author: Option<String>,
    /// Only when this is the newest revision.
    pub(crate) expect: Option<RevisionNumber>,
}

/// The document in force.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) number: RevisionNumber,
    pub(crate) text: String,
}

/// Why the API gave no answer that can be used.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    /// The file of authorities is missing or wrong.
    #[error("--ca: {0}")]
    Ca(#[from] weir_identity::TlsConfigError),
    /// No answer in time.
    #[error("the control plane at {url} did not answer within {}", duration_text(*.after))]
    Deadline {
        /// Where.
        url: ApiUrl,
        /// How long it had.
        after: Duration,
    },
    /// The answer is not what this API answers.
    #[error("what answers at {url} does not seem to be a control plane: {source}")]
    Malformed {
        /// Where.
        url: ApiUrl,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The API says no, and why.
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Box<Problem>),
    /// The author's name is too long for a URL.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::uri::InvalidUri),
    /// A status without an explanation.
    #[error("what answers at {url} does not seem to be a control plane: it answered {status}")]
    Status {
        /// Where.
        url: ApiUrl,
        /// What it answered.
        status: StatusCode,
    },
    /// The token's file cannot be read.
    #[error("--token-file: {}: {source}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The token cannot be sent in a header.
    #[error("--token-file: the token has characters that a header cannot carry")]
    TokenText,
    /// Nobody answers.
    #[error("cannot reach the control plane at {url}: {source}{}", .source.remedy())]
    Unreachable {
        /// Where.
        url: ApiUrl,
        /// Why.
        source: ExchangeError,
    },
}

/// A control plane's API.
#[derive(Debug)]
pub(crate) struct Api {
    url: ApiUrl,
    bearer: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

/// One call.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Bytes,
    content_type: &'static str,
    expect: Option<RevisionNumber>,
    wait: Duration,
}

impl<'a> Call<'a> {
    fn get(path: &'a str) -> Self {
        let (body, content_type) = (Bytes::new(), "");
        Call {
            method: Method::GET,
            path,
            body,
            content_type,
            expect: None,
            wait: Duration::ZERO,
        }
    }
}

impl Api {
    /// Reads token and authorities; connects to nobody yet.
    pub(crate) fn new(access: &Access) -> Result<Self, ApiError> {
        let bearer = access.token_file.as_ref().map(|path| {
            let text = std::fs::read_to_string(path).map_err(|source| ApiError::TokenFile {
                path: path.clone(),
                source,
            })?;
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", text.trim()))
                .map_err(|_| ApiError::TokenText)?;
            bearer.set_sensitive(true);
            Ok::<_, ApiError>(bearer)
        });
        let tls = access.url.is_secure.then(|| {
            let trust = access
                .ca
                .clone()
                .map_or(UpstreamTrust::System, UpstreamTrust::File);
            upstream_client_config(&trust, None, &[b"http/1.1"])
        });
        Ok(Self {
            url: access.url.clone(),
            bearer: bearer.transpose()?,
            tls: tls.transpose()?,
            timeout: access.timeout,
        })
    }

    /// An API on this machine, without a token.
    pub(crate) fn local(url: ApiUrl, timeout: Duration) -> Self {
        Self {
            url,
            bearer: None,
            tls: None,
            timeout,
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &ApiUrl {
        &self.url
    }

    /// The document in force; `None` when nothing was applied yet.
    pub(crate) async fn in_force(&self) -> Result<Option<InForce>, ApiError> {
        let answer = match self.call(Call::get("/v1/config")).await {
            Ok(answer) => answer,
            Err(ApiError::Problem(problem)) if problem.code == "no-revision" => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = answer
            .headers
            .get("weir-revision")
            .and_then(|value| value.to_str().ok());
        let number = number.and_then(|number| number.parse().ok());
        let text = String::from_utf8(answer.body.into()).ok();
        match (number, text) {
            (Some(number), Some(text)) => Ok(Some(InForce { number, text })),
            _ => Err(ApiError::Status {
                url: self.url.clone(),
                status: answer.status,
            }),
        }
    }

    /// Makes a document the next revision.
    pub(crate) async fn apply(&self, text: &str, write: &Write) -> Result<Written, ApiError> {
        let path = written_path("/v1/config", write);
        let call = Call {
            method: Method::PUT,
            path: &path,
            body: Bytes::copy_from_slice(text.as_bytes()),
            content_type: "application/yaml",
            expect: write.expect,
            wait: write.wait.unwrap_or_default(),
        };
        self.call_json(call).await
    }

    /// Makes an earlier document the next revision: that of `to`, or the one before the newest.
    pub(crate) async fn rollback(
        &self,
        to: Option<RevisionNumber>,
        write: &Write,
    ) -> Result<Written, ApiError> {
        let path = written_path("/v1/config/rollback", write);
        let body = to.map_or_else(String::new, |to| format!("{{\"to\":{to}}}"));
        let call = Call {
            method: Method::POST,
            path: &path,
            body: body.into(),
            content_type: "application/json",
            expect: write.expect,
            wait: write.wait.unwrap_or_default(),
        };
        self.call_json(call).await
    }

    /// The revisions that are kept, newest first.
    pub(crate) async fn revisions(&self) -> Result<Revisions, ApiError> {
        self.call_json(Call::get("/v1/config/revisions")).await
    }

    /// The proxies.
    pub(crate) async fn nodes(&self) -> Result<Nodes, ApiError> {
        self.call_json(Call::get("/v1/nodes")).await
    }

    /// The services that discovery follows.
    pub(crate) async fn services(&self) -> Result<Services, ApiError> {
        self.call_json(Call::get("/v1/services")).await
    }

    /// Whether it serves, and from which store.
    pub(crate) async fn readiness(&self) -> Result<Readiness, ApiError> {
        self.call_json(Call::get("/readyz")).await
    }

    /// Whether a GET of this path is answered with success; any other end is a no.
    pub(crate) async fn answers(&self, path: &str) -> bool {
        self.call(Call::get(path)).await.is_ok()
    }

    /// What would happen to a request.
    pub(crate) async fn explain<T: DeserializeOwned>(
        &self,
        question: &impl Serialize,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(question).map_err(|source| ApiError::Malformed {
            url: self.url.clone(),
            source,
        })?;
        let call = Call {
            method: Method::POST,
            path: "/v1/explain",
            body: body.into(),
            content_type: "application/json",
            expect: None,
            wait: Duration::ZERO,
        };
        self.call_json(call).await
    }

    async fn call_json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ApiError> {
        let answer = self.call(call).await?;
        serde_json::from_slice(&answer.body).map_err(|source| ApiError::Malformed {
            url: self.url.clone(),
            source,
        })
    }

    async fn call(&self, call: Call<'_>) -> Result<Answer, ApiError> {
        let after = self.timeout + call.wait;
        let request = self.request(call)?;
        let answer = exchange(&self.url, self.tls.clone(), request);
        let answer = match tokio::time::timeout(after, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => {
                return Err(ApiError::Unreachable {
                    url: self.url.clone(),
                    source,
                });
            }
            Err(_) => {
                return Err(ApiError::Deadline {
                    url: self.url.clone(),
                    after,
                });
            }
        };
        if answer.status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_slice(&answer.body) {
            Ok(problem) => Err(ApiError::Problem(Box::new(problem))),
            Err(_) => Err(ApiError::Status {
                url: self.url.clone(),
                status: answer.status,
            }),
        }
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, ApiError> {
        let mut request = Request::new(Full::new(call.body));
        let target = self.url.target(call.path);
        *request.method_mut() = call.method;
        *request.uri_mut() = target.parse()?;
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(&self.url.authority) {
            headers.insert(HOST, host);
        }
        if !call.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
        }
        if let Some(bearer) = &self.bearer {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        if let Some(expect) = call.expect
            && let Ok(tag) = HeaderValue::try_from(format!("\"{expect}\""))
        {
            headers.insert(IF_MATCH, tag);
        }
        Ok(request)
    }
}

fn written_path(path: &str, write: &Write) -> String {
    let mut query = Vec::new();
    if let Some(wait) = write.wait {
        query.push(format!("wait={}", duration_text(wait)));
    }
    if let Some(author) = &write.author {
        query.push(format!(
            "author={}",
            utf8_percent_encode(author, NON_ALPHANUMERIC)
        ));
    }
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", query.join("&"))
    }
}

/// Runs the network I/O of a verb on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(Failure::Runtime)?.block_on(work)
}
