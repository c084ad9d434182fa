//! HAProxy: one thread; master and worker where it is reloaded.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{Order, Reload, Started, text};
use crate::harness::process::{Launch, PROXY_CORE};
use crate::harness::scenario::{Scenario, route_prefix};
use crate::harness::stage::{AUDIENCE, ISSUER};
use crate::harness::template::render;

pub(super) fn start(order: &Order<'_>) -> Result<Started> {
    let file = order.file("haproxy.cfg");
    fs::write(&file, configuration(order)?)?;
    if order.routes() > 0 {
        let mut map = String::new();
        for index in 0..order.routes() {
            let _ = writeln!(map, "{}/ origin", route_prefix(index));
        }
        fs::write(order.file("routes.map"), map)?;
    }
    let mut launch = Launch::of("haproxy", PROXY_CORE, order.file("haproxy.log")).arg("-db");
    if order.scenario == Scenario::Reload {
        launch = launch.arg("-W");
    }
    let process = launch.args(["-f".to_owned(), text(&file)]).start()?;
    let reload = Reload::Signal(file, Signal::SIGUSR2);
    Ok(Started::one(process, Vec::new(), Some(reload)))
}

pub(super) fn configuration(order: &Order<'_>) -> Result<String> {
    let scenario = order.scenario;
    let tls = &order.stage.tls.server;
    let bind = match scenario {
        Scenario::H2 | Scenario::Grpc => format!(" ssl crt {} alpn h2", text(&tls.both())),
        _ if scenario.is_tls() => format!(" ssl crt {}", text(&tls.both())),
        _ => String::new(),
    };
    let (mut global, mut tables, mut frontend) = (String::new(), "", String::new());
    if order.routes() > 0 {
        let map = text(&order.file("routes.map"));
        frontend = format!("use_backend %[path,map_beg({map},origin)]");
    }
    match scenario {
        Scenario::Jwt => {
            tables = "backend limits\n  stick-table type string len 32 size 1k expire 1m store \
                      http_req_rate(1s)";
            frontend = render(
                include_str!("../../../conf/haproxy-jwt.cfg"),
                &[
                    ("issuer", ISSUER),
                    ("audience", AUDIENCE),
                    ("public_key", &text(&order.stage.token.public_key)),
                ],
            )?;
        }
        Scenario::Reload => {
            let _ = write!(
                frontend,
                "\n  http-response set-header x-generation {}",
                order.generation
            );
            // The new process takes the listening sockets over from the old one.
            let socket = text(&order.file("haproxy.sock"));
            global = format!("stats socket {socket} level admin expose-fd listeners");
        }
        _ => {}
    }
    let server = match scenario {
        Scenario::Grpc => " proto h2",
        _ => "",
    };
    let tickets = match scenario {
        Scenario::Connections => " no-tls-tickets",
        _ => "",
    };
    render(
        include_str!("../../../conf/haproxy.cfg"),
        &[
            ("scenario", scenario.title()),
            ("connections", CONNECTIONS),
            ("log", &order.stage.syslog.to_string()),
            ("tickets", tickets),
            ("global", &global),
            ("tables", tables),
            ("address", &order.address.to_string()),
            ("bind", &bind),
            ("frontend", &frontend),
            ("origin", &order.origin()),
            ("server", server),
        ],
    )
}

/// HAProxy wants two descriptors for each, and has no more than the process may open.
const CONNECTIONS: &str = "12000";
