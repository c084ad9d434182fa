//! nginx: a master with one worker.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{FILES, Order, Reload, Started, text};
use crate::harness::process::{Launch, PROXY_CORE};
use crate::harness::scenario::{Scenario, route_prefix};
use crate::harness::template::render;

pub(super) fn start(order: &Order<'_>) -> Result<Started> {
    let file = order.file("nginx.conf");
    fs::write(&file, configuration(order)?)?;
    let launch = Launch::of("nginx", PROXY_CORE, order.file("nginx.log"));
    let process = launch.args(["-c".to_owned(), text(&file)]).start()?;
    let logs = vec![order.file("nginx-access.log")];
    let reload = Reload::Signal(file, Signal::SIGHUP);
    Ok(Started::one(process, logs, Some(reload)))
}

pub(super) fn configuration(order: &Order<'_>) -> Result<String> {
    let scenario = order.scenario;
    let listen = match scenario {
        Scenario::H2 | Scenario::Grpc => " ssl http2",
        _ if scenario.is_tls() => " ssl",
        _ => "",
    };
    let mut server = String::new();
    if scenario.is_tls() {
        let tickets = if scenario == Scenario::Connections {
            "off"
        } else {
            "on"
        };
        server = render(
            include_str!("../../../conf/nginx-tls.conf"),
            &[
                ("cert", &text(&order.stage.tls.server.certificate)),
                ("key", &text(&order.stage.tls.server.key)),
                ("tickets", tickets),
            ],
        )?;
    }
    server += &locations(order);
    let limits = "limit_req_zone $server_name zone=all:1m rate=1000000r/s;\n  ";
    let http = match scenario {
        Scenario::Jwt => limits,
        _ => "",
    };
    render(
        include_str!("../../../conf/nginx.conf"),
        &[
            ("scenario", scenario.title()),
            ("files", FILES),
            ("dir", &text(&order.directory)),
            ("origin", &order.origin()),
            ("http", http),
            ("address", &order.address.to_string()),
            ("listen", listen),
            ("server", &server),
        ],
    )
}

fn locations(order: &Order<'_>) -> String {
    let mut text = String::new();
    for index in 0..order.routes() {
        let prefix = route_prefix(index);
        let _ = writeln!(
            text,
            "    location {prefix}/ {{ proxy_pass http://origin; }}"
        );
    }
    match order.scenario {
        Scenario::Routes => {}
        Scenario::Reload => {
            let _ = writeln!(text, "    add_header x-generation {};", order.generation);
        }
        Scenario::Grpc => text += "    location / { grpc_pass grpc://origin; }\n",
        Scenario::Jwt => {
            text += "    location / { limit_req zone=all burst=1000000 nodelay; \
                     proxy_pass http://origin; }\n";
        }
        Scenario::Ws => {
            text += "    location / { proxy_pass http://origin; proxy_read_timeout 1h;\n      \
                     proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; \
                     }\n";
        }
        _ => text += "    location / { proxy_pass http://origin; }\n",
    }
    text
}
