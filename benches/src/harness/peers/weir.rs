//! Weir: a gateway with one worker; for a pair, a control plane and two sidecars.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Order, Reload, Started, text};
use crate::harness::http;
use crate::harness::process::{LOAD_CORE, Launch, PROXY_CORE, Process, eventually, free_address};
use crate::harness::scenario::{Peer, Scenario, route_prefix};
use crate::harness::stage::{AUDIENCE, ISSUER};
use crate::harness::template::render;

pub(super) fn start(peer: Peer, order: &Order<'_>) -> Result<Started> {
    let programs = order.stage.tools.weir(peer);
    if order.scenario == Scenario::Pair {
        return pair(programs, order);
    }
    // The gateway watches the directory of its configuration.
    fs::create_dir(order.file("conf"))?;
    let file = order.file("conf/weir.yaml");
    fs::write(&file, document(order)?)?;
    let program = programs.join("weir-gateway");
    let launch = Launch::of(program, PROXY_CORE, order.file("weir.log"))
        .args(["--config".to_owned(), text(&file)])
        .args(["--workers", "1"])
        .args(["--admin".to_owned(), free_address()?.to_string()])
        .args(["--state-dir".to_owned(), text(&order.file("state"))]);
    let logs = vec![order.file("weir-access.log")];
    Ok(Started::one(
        launch.start()?,
        logs,
        Some(Reload::Replace(file)),
    ))
}

pub(super) fn document(order: &Order<'_>) -> Result<String> {
    let scenario = order.scenario;
    let mut listener = String::new();
    if scenario.is_tls() {
        let tls = &order.stage.tls.server;
        listener = format!(
            "    tls: {{ certificates: [{{ cert: \"{}\", key: \"{}\" }}] }}\n",
            text(&tls.certificate),
            text(&tls.key)
        );
    }
    let mut routes = String::new();
    for index in 0..order.routes() {
        let prefix = route_prefix(index);
        let _ = writeln!(
            routes,
            "  - {{ path: \"{prefix}/*\", to: origin{} }}",
            generation(order)
        );
    }
    let mut issuers = String::new();
    match scenario {
        Scenario::Routes | Scenario::Reload => {}
        Scenario::Jwt => {
            issuers = format!(
                "issuers:\n  id: {{ issuer: \"{ISSUER}\", audience: {AUDIENCE}, algorithms: ES256, \
                 jwks: {{ file: \"{}\" }} }}\n",
                text(&order.stage.token.jwks)
            );
            routes += "  - { path: \"/*\", to: origin, auth: { jwt: id }, limit: 1000000/s }\n";
        }
        _ => routes += "  - { path: \"/*\", to: origin }\n",
    }
    let service = match scenario {
        Scenario::Grpc => ", protocol: http2",
        _ => "",
    };
    render(
        include_str!("../../../conf/weir.yaml"),
        &[
            ("scenario", scenario.title()),
            ("address", &order.address.to_string()),
            ("listener", &listener),
            ("origin", &order.origin()),
            ("service", service),
            ("issuers", &issuers),
            ("routes", &routes),
            ("dir", &text(&order.directory)),
        ],
    )
}

/// Only the first route tells which configuration is in force.
fn generation(order: &Order<'_>) -> String {
    match order.scenario {
        Scenario::Reload => {
            let value = order.generation;
            format!(", response_headers: {{ set: {{ x-generation: \"{value}\" }} }}")
        }
        _ => String::new(),
    }
}

/// Sidecars with identities of a control plane: the caller's outbound listener takes requests.
fn pair(programs: &Path, order: &Order<'_>) -> Result<Started> {
    let (api, mesh) = (free_address()?, free_address()?);
    let data = order.file("control-plane");
    let program = programs.join("weir-control-plane");
    let mut control_plane = Launch::of(program, LOAD_CORE, order.file("control-plane.log"))
        .args(["--api".to_owned(), api.to_string()])
        .args(["--mesh".to_owned(), mesh.to_string()])
        .args(["--data-dir".to_owned(), text(&data)])
        .start()?;
    eventually(DEADLINE, || {
        control_plane.check_runs()?;
        let answer = http::send(api, "GET", "/readyz", &[], "")?;
        ensure!(
            answer.status == 200,
            "the control plane answers {}",
            answer.status
        );
        Ok(())
    })?;
    let document = "services: { app: { mesh: app } }\n";
    let applied = http::send(api, "PUT", "/v1/config", &[], document)?;
    ensure!(
        applied.status == 200,
        "the document is refused: {}",
        applied.head
    );
    let sidecar = |service: &str, application: String, outbound: SocketAddr| -> Result<Process> {
        let inbound = free_address()?.to_string();
        let program = programs.join("weir-sidecar");
        Launch::of(program, PROXY_CORE, order.file(&format!("{service}.log")))
            .args(["--service", service, "--node", service, "--workers", "1"])
            .args(["--application".to_owned(), application])
            .args(["--control-plane".to_owned(), format!("https://{mesh}")])
            .args([
                "--join-token-file".to_owned(),
                text(&data.join("join-token")),
            ])
            .args(["--inbound", &inbound, "--advertise", &inbound])
            .args(["--outbound".to_owned(), outbound.to_string()])
            .args(["--admin".to_owned(), free_address()?.to_string()])
            .args(["--access-log".to_owned(), access_log(order, service)])
            .args([
                "--state-dir".to_owned(),
                text(&order.file(&format!("{service}-state"))),
            ])
            .start()
    };
    let application = sidecar("app", order.origin(), free_address()?)?;
    let caller = sidecar("caller", order.origin(), order.address)?;
    Ok(Started {
        processes: vec![caller, application],
        helpers: vec![control_plane],
        logs: vec![
            access_log(order, "app").into(),
            access_log(order, "caller").into(),
        ],
        reload: None,
    })
}

fn access_log(order: &Order<'_>, service: &str) -> String {
    text(&order.file(&format!("{service}-access.log")))
}

const DEADLINE: Duration = Duration::from_secs(30);
