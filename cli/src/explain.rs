//! `weir explain`: what would happen to a request, through the code that the proxies run.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_config::{ConfigErrors, Position};
use weir_policy::explain::{Answer, ExplainFault, ExplainRequest, Explanation, explain as ask};
use weir_policy::moment::Moment;
use weir_process::exit::Exit;
use weir_protocol::RevisionNumber;

use crate::api::{Access, Api, block_on};
use crate::compiled;
use crate::failure::{Failure, finish};
use crate::source::Source;
use crate::table::aligned;
use crate::terminal::{self, Paint};

/// Arguments of `weir explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Method of the request
    #[arg(value_name = "METHOD")]
    method: String,
    /// Its URL, such as http://shop.example/orders?page=2; a path alone takes the first listener.
    /// For a connection that carries no HTTP: CONNECT tcp://127.0.0.1:5432, or
    /// CONNECT tls://shop.example:8443 for a client that asks for that name
    #[arg(value_name = "URL")]
    url: String,
    /// A header field of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Ask this document, on this machine alone; `-` is standard input. Without it, the control
    /// plane is asked
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Ask this revision instead of the newest
    #[arg(long, value_name = "REVISION", conflicts_with = "config")]
    revision: Option<RevisionNumber>,
    /// Address that the request comes from [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Listener that it comes in by [default: by the URL's port, else its scheme]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// SPIFFE id that the other side has proved
    #[arg(long, value_name = "SPIFFE-ID")]
    peer: Option<String>,
    /// Ask the sidecar of this service instead of the gateway
    #[arg(long, value_name = "SERVICE")]
    sidecar: Option<String>,
    /// Go on as if a valid token with this claim had been sent; a value in [] or {} is JSON
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// Length of the body that the request declares
    #[arg(long, value_name = "BYTES")]
    body_bytes: Option<u64>,
    #[command(flatten)]
    access: Access,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Exit code 0 when the request would be answered, 1 when it would be refused.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(explain(arguments), arguments.json)
}

fn explain(arguments: &Arguments) -> Result<Exit, Failure> {
    let request = arguments.request();
    let (explanation, file) = match &arguments.config {
        Some(path) => {
            let source = Source::read(path, DOCUMENT_BYTES_MAX)?;
            match local(&source, arguments.sidecar.as_deref(), &request) {
                Ok(explanation) => (explanation, source.name),
                Err(fault) => return Ok(fault.complain(&source, arguments.json)),
            }
        }
        None => {
            let explanation = remote(arguments, &request)?;
            let file = format!("revision {}", explanation.revision);
            (explanation, file)
        }
    };
    if arguments.json {
        terminal::answer_json(&explanation);
    } else {
        terminal::answer(&shown(&explanation, &file, Paint::for_stdout()));
    }
    Ok(if explanation.is_allowed() {
        Exit::Fine
    } else {
        Exit::No
    })
}

impl Arguments {
    fn request(&self) -> ExplainRequest {
        let claims: Map<String, Value> = self.claims.iter().cloned().collect();
        ExplainRequest {
            method: self.method.to_uppercase(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            client: self.client,
            listener: self.listener.clone(),
            peer: self.peer.clone(),
            body_bytes: self.body_bytes,
            assume_claims: (!claims.is_empty()).then_some(claims),
            ..ExplainRequest::default()
        }
    }
}

/// Why a document gives no explanation.
enum Fault {
    Document(ConfigErrors),
    Question(ExplainFault),
}

impl Fault {
    fn complain(self, source: &Source, is_json: bool) -> Exit {
        match self {
            Self::Document(errors) if is_json => {
                terminal::answer_json(&serde_json::json!({ "errors": errors }));
                Exit::No
            }
            Self::Document(errors) => {
                let rendered = errors.render(&source.text, &source.name);
                terminal::tell(&Paint::for_stderr().errors(&rendered));
                Exit::No
            }
            Self::Question(fault) => {
                terminal::tell(&format!("weir: {fault}\n"));
                Exit::Unusable
            }
        }
    }
}

fn local(
    source: &Source,
    sidecar: Option<&str>,
    request: &ExplainRequest,
) -> Result<Explanation, Fault> {
    let snapshot =
        compiled::snapshot(&source.text, sidecar, &source.name).map_err(Fault::Document)?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Moment {
        nanos: 0,
        unix_seconds: unix.map_or(0, |since| since.as_secs()),
    };
    // Who serves what now is known to the control plane and the proxies; a file knows only the
    // endpoints that stand in it.
    ask(&snapshot, request, |_| None::<Arc<_>>, now).map_err(Fault::Question)
}

fn remote(arguments: &Arguments, request: &ExplainRequest) -> Result<Explanation, Failure> {
    let api = Api::new(&arguments.access)?;
    let question = Question {
        sidecar: arguments.sidecar.as_deref(),
        revision: arguments.revision,
        request,
    };
    block_on(async { Ok(api.explain(&question).await?) })
}

/// The question as the API takes it.
#[derive(Debug, serde::Serialize)]
struct Question<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sidecar: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<RevisionNumber>,
    #[serde(flatten)]
    request: &'a ExplainRequest,
}

/// The explanation for people; every decision with the place that made it.
fn shown(explanation: &Explanation, file: &str, paint: Paint) -> String {
    let mut rows = Vec::new();
    let mut previous = "";
    for step in &explanation.steps {
        // An area that goes on is named once.
        let area = if step.area == previous {
            ""
        } else {
            step.area.as_str()
        };
        rows.push(vec![
            area.to_owned(),
            place(file, step.at),
            step.said.clone(),
        ]);
        previous = &step.area;
    }
    let mut out = format!("{}\n\n{}", paint.bold(&explanation.request), aligned(&rows));
    if let Some(upstream) = &explanation.upstream {
        out.push_str(&format!("\n  {} {}\n", upstream.method, upstream.target));
        for (name, value) in &upstream.headers {
            let is_secret = SECRET_HEADERS.contains(&name.as_str());
            let value = if is_secret { "…" } else { value };
            out.push_str(&format!("  {name}: {value}\n"));
        }
    }
    let answer = match &explanation.answer {
        refused @ Answer::Refused { .. } => paint.bad(&refused.to_string()),
        fine => paint.good(&fine.to_string()),
    };
    out.push_str(&format!("\n{answer}\n"));
    out
}

/// `shop.yaml:12`; nothing for what is in force because nothing was written.
fn place(file: &str, at: Position) -> String {
    if at.line == 0 {
        String::new()
    } else {
        format!("{file}:{}", at.line)
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_lowercase(), value.trim().to_owned()))
        }
        _ => Err("must be written as `name: value`".to_owned()),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => (name, value),
        _ => return Err("must be written as name=value".to_owned()),
    };
    let value = if value.starts_with(['[', '{']) {
        serde_json::from_str(value).map_err(|error| format!("is not JSON: {error}"))?
    } else {
        Value::String(value.to_owned())
    };
    Ok((name.to_owned(), value))
}

/// Header fields whose value stays out of terminals and tickets.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use serde_json::json;

    use super::{claim, header};

    #[test]
    fn headers_and_claims_are_read() {
        assert_eq!(
            header("X-A:  b: c "),
            Ok(("x-a".to_owned(), "b: c".to_owned()))
        );
        assert!(header("nothing").is_err());
        assert!(header(": x").is_err());
        assert_eq!(claim("sub=1"), Ok(("sub".to_owned(), json!("1"))));
        assert_eq!(
            claim("roles=[\"a\"]"),
            Ok(("roles".to_owned(), json!(["a"])))
        );
        assert!(claim("roles=[").is_err());
        assert!(claim("=x").is_err());
    }
}
