//! The minimal proxies of `benches/peers`: they add one header and keep connections alive.

use anyhow::Result;

use super::{Order, Started, text};
use crate::harness::process::{Launch, PROXY_CORE};
use crate::harness::scenario::{Peer, Scenario};

pub(super) fn start(peer: Peer, order: &Order<'_>) -> Result<Started> {
    let program = order.stage.tools.peers.join(format!("peer-{}", peer.id()));
    let mut launch = Launch::of(program, PROXY_CORE, order.file("peer.log"))
        .args([order.address.to_string(), order.origin()]);
    if order.scenario.is_tls() {
        let tls = &order.stage.tls.server;
        launch = launch
            .args(["--tls-cert".to_owned(), text(&tls.certificate)])
            .args(["--tls-key".to_owned(), text(&tls.key)]);
    }
    if order.scenario == Scenario::Grpc {
        launch = launch.arg("--http2-upstream");
    }
    Ok(Started::one(launch.start()?, Vec::new(), None))
}
