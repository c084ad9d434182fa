//! `weir status`: what runs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use weir_config::endpoint::Endpoint;
use weir_process::exit::Exit;
use weir_protocol::Role;

use crate::api::{Access, Api, Node, Nodes, Readiness, Services, block_on};
use crate::failure::{Failure, finish};
use crate::table::{age, aligned};
use crate::terminal::{self, Paint};

/// Arguments of `weir status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Exit code 0 when every proxy runs the newest revision, 1 when one does not.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    finish(status(arguments), arguments.json)
}

fn status(arguments: &Arguments) -> Result<Exit, Failure> {
    let api = Api::new(&arguments.access)?;
    let (readiness, nodes, services) = block_on(async {
        Ok((
            api.readiness().await?,
            api.nodes().await?,
            api.services().await?,
        ))
    })?;
    if arguments.json {
        terminal::answer_json(&json!({
            "control_plane": api.url().to_string(),
            "store": readiness.store,
            "revision": nodes.revision,
            "converged": nodes.converged,
            "nodes": nodes.nodes,
            "services": services.services,
        }));
    } else {
        let paint = Paint::for_stdout();
        terminal::answer(&head(&api, &readiness, &nodes, paint));
        terminal::answer(&section(
            "proxies",
            &node_rows(&nodes.nodes, unix_now()),
            paint,
        ));
        terminal::answer(&section("services", &service_rows(&services), paint));
    }
    Ok(if nodes.converged {
        Exit::Fine
    } else {
        Exit::No
    })
}

fn head(api: &Api, readiness: &Readiness, nodes: &Nodes, paint: Paint) -> String {
    let connected = nodes.nodes.iter().filter(|node| node.connected).count();
    let state = match (nodes.revision, connected, nodes.converged) {
        (0, _, _) => paint.warn("nothing was applied yet"),
        (_, 0, _) => paint.warn("no proxy is connected"),
        (_, _, true) => paint.good("every proxy runs it"),
        (_, _, false) => paint.bad("not every proxy runs it"),
    };
    format!(
        "control plane {} ({} store)\n{}, {state}\n",
        api.url(),
        readiness.store,
        paint.bold(&format!("revision {}", nodes.revision)),
    )
}

fn section(title: &str, rows: &[Vec<String>], paint: Paint) -> String {
    let body = if rows.is_empty() {
        "  none\n".to_owned()
    } else {
        aligned(rows)
    };
    format!("\n{}\n{body}", paint.bold(title))
}

fn node_rows(nodes: &[Node], now_unix: u64) -> Vec<Vec<String>> {
    let row = |node: &Node| {
        let role = match (node.role, &node.service) {
            (Role::Gateway, _) => "gateway".to_owned(),
            (Role::Sidecar, Some(service)) => format!("sidecar of {service}"),
            (Role::Sidecar, None) => "sidecar".to_owned(),
        };
        let since = age(now_unix.saturating_sub(node.since_unix));
        let connected = if node.connected { "connected" } else { "away" };
        let mut runs = match node.running {
            0 => "runs nothing yet".to_owned(),
            number => format!("runs revision {number}"),
        };
        if !node.errors.is_empty() {
            runs.push_str(&format!(", refused {}: {}", node.answered, node.errors[0]));
        }
        let version = format!("v{}", node.version);
        vec![
            node.node.clone(),
            role,
            version,
            format!("{connected} for {since}"),
            runs,
        ]
    };
    nodes.iter().map(row).collect()
}

fn service_rows(services: &Services) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for service in &services.services {
        let mut name = service.service.clone();
        if service.endpoints.is_empty() {
            rows.push(vec![name, "no endpoint".to_owned()]);
            continue;
        }
        for endpoint in &service.endpoints {
            rows.push(vec![
                std::mem::take(&mut name),
                endpoint.address.clone(),
                said(endpoint),
            ]);
        }
    }
    rows
}

fn said(endpoint: &Endpoint) -> String {
    let mut said = vec![
        if endpoint.healthy {
            "healthy"
        } else {
            "not healthy"
        }
        .to_owned(),
    ];
    if endpoint.weight != 1 {
        said.push(format!("weight {}", endpoint.weight));
    }
    if let Some(identity) = &endpoint.identity {
        said.push(identity.clone());
    }
    said.join(", ")
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
