//! What would happen to a connection that carries no HTTP: `tcp://host:port`, or `tls://name:port`
//! for one whose client asks for that name.

use std::sync::Arc;

use super::question::{self, ExplainFault, Url};
use super::{
    Answer, ExplainRequest, Explanation, chosen, explained, known_members, note_endpoints,
};
use crate::balance::Members;
use crate::moment::Moment;
use crate::note::{Note, Recorder, Step};
use crate::refusal::{Code, Refusal};
use crate::snapshot::{Listener, ServiceId, Snapshot};
use crate::tunnel::{self, PlanId};

/// Explains a connection, where the question is about one.
pub(super) fn explain(
    snapshot: &Snapshot,
    request: &ExplainRequest,
    members: impl Fn(ServiceId) -> Option<Arc<Members>>,
    at: Moment,
) -> Option<Result<Explanation, ExplainFault>> {
    let (scheme, authority) = request.url.split_once("://")?;
    let secure = match scheme {
        "tcp" => false,
        "tls" => true,
        _ => return None,
    };
    Some(connection(
        snapshot, request, authority, secure, members, at,
    ))
}

fn connection(
    snapshot: &Snapshot,
    request: &ExplainRequest,
    authority: &str,
    secure: bool,
    members: impl Fn(ServiceId) -> Option<Arc<Members>>,
    at: Moment,
) -> Result<Explanation, ExplainFault> {
    let id = question::listener(snapshot, request, &Url::of_connection(authority))?;
    let listener = snapshot.listener(id);
    let mut recorder = Recorder::default();
    recorder.note(|| Step {
        area: "listener",
        said: question::listener_text(listener),
        at: listener.at,
    });
    let name = authority
        .rsplit_once(':')
        .map_or(authority, |(name, _)| name);
    let name = (secure && !name.is_empty()).then_some(name);
    let answer = match plan(listener, name, &mut recorder)? {
        Err(refusal) => super::refused(&refusal),
        Ok(plan) => {
            let plan = listener.tunnels.plan(plan);
            let (client, draw) = (question::client(request), request.draw);
            match tunnel::admit(snapshot, plan, client, at, draw, &mut recorder) {
                Err(refusal) => super::refused(&refusal),
                Ok(forward) => {
                    let service = snapshot.service(forward.service);
                    match known_members(service, members(forward.service), at) {
                        None => Answer::Forwarded {
                            service: service.name.to_string(),
                            endpoint: None,
                        },
                        Some(members) => {
                            note_endpoints(service, &members, &forward.asks, at, &mut recorder);
                            chosen(snapshot, draw, &forward, &members, at, &mut recorder)
                        }
                    }
                }
            }
        }
    };
    Ok(Explanation {
        request: request.url.clone(),
        revision: snapshot.revision.to_string(),
        listener: listener.name.to_string(),
        route: None,
        steps: recorder.steps.into_iter().map(explained).collect(),
        upstream: None,
        answer,
    })
}

/// Where the connection goes, as the engine finds it out.
fn plan(
    listener: &Listener,
    name: Option<&str>,
    recorder: &mut Recorder,
) -> Result<Result<PlanId, Refusal>, ExplainFault> {
    let tunnels = &listener.tunnels;
    let opens = listener
        .config
        .as_ref()
        .is_some_and(|config| config.tls.is_some());
    let asked = name.map_or_else(|| "no name".to_owned(), |name| format!("`{name}`"));
    let mut say = |said: String, at| {
        recorder.note(|| Step {
            area: "sni",
            said,
            at,
        })
    };
    if tunnels.need_name() {
        if let Some(id) = tunnels.passed(name) {
            say(format!("{asked} is passed on closed"), tunnels.plan(id).at);
            return Ok(Ok(id));
        }
        if !opens {
            say(format!("nobody has {asked}"), listener.at);
            return Ok(Err(Refusal::new(Code::SniUnknown)));
        }
    }
    let rest = tunnels.rest().ok_or_else(|| ExplainFault::CarriesHttp {
        listener: listener.name.to_string(),
    })?;
    if opens {
        say("TLS is opened here".to_owned(), listener.at);
    }
    Ok(Ok(rest))
}
