//! Connections that are passed on byte by byte: an endpoint is chosen and connected to as for a
//! request, then both sides are joined until both have ended.
//!
//! A tunnel is pinned to nothing of the configuration once it stands, and lives on whatever
//! changes; a drain waits for it until its deadline. While nothing moves it holds no buffer.

use std::rc::Rc;
use std::time::Duration;

use weir_policy::balance::{Chosen, Tried};
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Forward, Next};
use weir_policy::proxy_protocol::Addresses;
use weir_policy::refusal::{Code, Refusal};
use weir_policy::tunnel::{self, Connecting, PlanId};
use weir_telemetry::termination::Termination;

use crate::connect::{self, ConnectError, Open, Plan};
use crate::outcome;
use crate::proxy_protocol::Ends;
use crate::record::{TunnelLedger, failure_label};
use crate::wire::Socket;
use crate::worker::{Entry, Worker};

mod both_ways;
mod flow;

pub(crate) use both_ways::{End, both_ways};

/// A client's connection that is to be passed on.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) socket: Socket,
    pub(crate) addresses: Addresses,
    pub(crate) plan: PlanId,
    /// The name that a TLS client asked for.
    pub(crate) server_name: Option<Box<str>>,
}

/// A connection to an endpoint.
pub(crate) struct Reached {
    pub(crate) open: Open,
    pub(crate) chosen: Chosen,
    /// How long connecting took, the last time that it was tried.
    pub(crate) took: Duration,
}

/// Why there is none.
pub(crate) struct Missed {
    pub(crate) refusal: Refusal,
    pub(crate) termination: Termination,
    /// The endpoint that was tried last.
    pub(crate) chosen: Option<Chosen>,
}

/// Serves one to its end and says how it ended.
pub(crate) async fn serve(worker: Rc<Worker>, entry: Rc<Entry>, tunnel: Tunnel) -> &'static str {
    let (client, name) = (tunnel.addresses.source, tunnel.server_name.clone());
    let mut ledger = TunnelLedger::new(&worker, &entry, client, tunnel.socket.is_tls(), name);
    let idle = entry.tunnels().plan(tunnel.plan).idle_timeout;
    // Admit: is there a place for one more connection to the service?
    let snapshot = &entry.installed.snapshot;
    let (began, draw) = (ledger.began, worker.dice.draw());
    let plan = entry.tunnels().plan(tunnel.plan);
    let forward = match tunnel::admit(snapshot, plan, client.ip(), began, draw, &mut ()) {
        Ok(forward) => forward,
        Err(refusal) => return ledger.refused(refusal.code, Termination::Refused),
    };
    ledger.to(&entry, forward.service);
    let ends = Ends::of(&tunnel.addresses);
    let reached = reach(&worker, &entry, &forward, ends, began, &mut ledger.attempts).await;
    let Reached { open, chosen, took } = match reached {
        Ok(reached) => reached,
        Err(missed) => {
            if let Some(chosen) = &missed.chosen {
                ledger.endpoint(chosen);
            }
            return ledger.refused(missed.refusal.code, missed.termination);
        }
    };
    ledger.connect = Some(took);
    ledger.joined(forward.permit, chosen);
    drop(entry);
    let end = tokio::select! {
        biased;
        () = worker.tunnels_end.notified() => Termination::Drained,
        end = copy(&worker, tunnel.socket, open, idle, &ledger) => end,
    };
    ledger.ended(end)
}

/// Connects to an endpoint of the service, as often as policy says.
pub(crate) async fn reach(
    worker: &Worker,
    entry: &Entry,
    forward: &Forward,
    client: Ends<'_>,
    mut at: Moment,
    attempts: &mut u32,
) -> Result<Reached, Missed> {
    let (installed, dice) = (&entry.installed, &worker.dice);
    let snapshot = &installed.snapshot;
    let missed = |refusal, termination| Missed {
        refusal,
        termination,
        chosen: None,
    };
    let metrics = installed.metrics(forward.service);
    let tls = installed.tunnel_tls(forward.service);
    let way = Plan {
        tls: tls.as_ref(),
        ..Plan::of(installed, forward.service, Some(client))
    };
    let mut tried = Tried::default();
    loop {
        *attempts += 1;
        // Choose: another endpoint than those tried, where there is one.
        let seats = installed.seats(forward.service);
        let draw = dice.draw();
        let chosen = pipeline::choose(snapshot, forward, &seats.members, &tried, draw, at, &mut ());
        let chosen = chosen.map_err(|refusal| missed(refusal, Termination::Refused))?;
        let Some(lane) = seats.lane(&chosen) else {
            return Err(missed(Code::Internal.into(), Termination::Internal));
        };
        metrics.attempt(&chosen);
        let opened = connect::open_raw(lane, &way, forward.timeouts.connect).await;
        // Judge: it stands, is tried again, or given up.
        let now = worker.clock.now();
        let connecting = Connecting {
            chosen: &chosen,
            number: *attempts,
            began: at,
            failure: opened.as_ref().err().map(ConnectError::kind),
        };
        let next = tunnel::judge(snapshot, forward, &connecting, now, dice.draw());
        let error = match opened {
            Ok(open) => {
                let took = now.since(at);
                return Ok(Reached { open, chosen, took });
            }
            Err(error) => error,
        };
        let kind = error.kind();
        tracing::debug!(%error, endpoint = %lane.address, "no connection");
        metrics.failed(kind);
        let refusal = match next {
            Next::Retry { after } => {
                metrics.retried(failure_label(kind));
                tried.add(&chosen.member);
                at = pause(worker, after, now).await;
                continue;
            }
            Next::GiveUp(refusal) => refusal,
            Next::Deliver => Code::from(kind).into(),
        };
        return Err(Missed {
            refusal,
            termination: outcome::termination(kind, *attempts),
            chosen: Some(chosen),
        });
    }
}

async fn pause(worker: &Worker, after: Duration, now: Moment) -> Moment {
    if after.is_zero() {
        return now;
    }
    tokio::time::sleep(after).await;
    worker.clock.now()
}

/// Copies both ways and tells who is left how it ended.
async fn copy(
    worker: &Rc<Worker>,
    mut client: Socket,
    mut open: Open,
    idle: Duration,
    ledger: &TunnelLedger,
) -> Termination {
    let moved = |received, sent| ledger.moved(received, sent);
    match both_ways(worker, &mut client, &mut open.socket, idle, moved).await {
        End::Whole => Termination::Ok,
        End::Idle => Termination::IdleTimeout,
        // Who is left must not take what broke off for the end.
        End::Client => {
            open.socket.reset();
            Termination::ClientGoneDuringBody
        }
        End::Endpoint { answered } => {
            if !answered {
                client.reset();
            }
            ledger.endpoint_broke()
        }
    }
}
