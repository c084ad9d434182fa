//! Envoy: one worker thread; for a pair, two of them with mTLS between.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Order, Reload, Started, text};
use crate::harness::process::{Launch, PROXY_CORE, Process, free_address};
use crate::harness::scenario::{Scenario, route_prefix};
use crate::harness::stage::{APPLICATION_ID, AUDIENCE, CALLER_ID, ISSUER, Pair};

pub(super) fn start(order: &Order<'_>) -> Result<Started> {
    let log = order.file("envoy-access.log");
    if order.scenario == Scenario::Pair {
        return pair(order);
    }
    let routes = order.file("routes.json");
    if order.scenario == Scenario::Reload {
        fs::write(&routes, routes_file(order).to_string())?;
    }
    let tls = order.scenario.is_tls().then(|| server_tls(order));
    let http2 = order.scenario == Scenario::Grpc;
    let cluster = cluster(&order.origin(), http2, None);
    let listener = listener(order.address, connection_manager(order, &log), tls);
    let process = run(order, "envoy", &listener, &cluster)?;
    Ok(Started::one(
        process,
        vec![log],
        Some(Reload::Replace(routes)),
    ))
}

/// What RDS reads, as a file.
pub(super) fn routes_file(order: &Order<'_>) -> Value {
    let mut table = route_table(order);
    table["@type"] = type_url("config.route.v3.RouteConfiguration");
    json!({ "version_info": order.generation.to_string(), "resources": [table] })
}

fn pair(order: &Order<'_>) -> Result<Started> {
    let inbound = free_address()?;
    let tls = &order.stage.tls;
    let (application_log, caller_log) = (
        order.file("app-access.log"),
        order.file("caller-access.log"),
    );
    let server = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": type_url("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            "require_client_certificate": true,
            "common_tls_context": mutual(order, &tls.application, CALLER_ID),
        },
    });
    let client = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": type_url("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
            "common_tls_context": mutual(order, &tls.caller, APPLICATION_ID),
        },
    });
    let application = run(
        order,
        "app",
        &listener(
            inbound,
            connection_manager(order, &application_log),
            Some(server),
        ),
        &cluster(&order.origin(), false, None),
    )?;
    let caller = run(
        order,
        "caller",
        &listener(order.address, connection_manager(order, &caller_log), None),
        &cluster(&inbound.to_string(), false, Some(client)),
    )?;
    Ok(Started {
        processes: vec![caller, application],
        helpers: Vec::new(),
        logs: vec![application_log, caller_log],
        reload: None,
    })
}

fn run(order: &Order<'_>, name: &str, listener: &Value, cluster: &Value) -> Result<Process> {
    let file = order.file(&format!("{name}.json"));
    let bootstrap = json!({
        "node": { "id": name, "cluster": "bench" },
        "static_resources": { "listeners": [listener], "clusters": [cluster] },
    });
    fs::write(&file, bootstrap.to_string())?;
    Launch::of(
        &order.stage.tools.envoy,
        PROXY_CORE,
        order.file(&format!("{name}.log")),
    )
    .args(["-c".to_owned(), text(&file)])
    .args([
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ])
    .start()
}

fn listener(address: SocketAddr, manager: Value, tls: Option<Value>) -> Value {
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    }]});
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({ "name": "clients", "address": socket_address(address), "filter_chains": [chain] })
}

fn connection_manager(order: &Order<'_>, log: &Path) -> Value {
    let mut manager = json!({
        "@type": type_url("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "clients",
        "codec_type": match order.scenario {
            Scenario::H2 | Scenario::Grpc => "HTTP2",
            _ => "HTTP1",
        },
        "use_remote_address": true,
        "stream_idle_timeout": "0s",
        "common_http_protocol_options": { "idle_timeout": "3600s" },
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": type_url("extensions.access_loggers.file.v3.FileAccessLog"),
                "path": text(log),
            },
        }],
        "http_filters": filters(order),
    });
    if order.scenario == Scenario::Ws {
        manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    }
    if order.scenario == Scenario::Reload {
        manager["rds"] = json!({
            "route_config_name": ROUTE_TABLE,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": { "path": text(&order.file("routes.json")) },
            },
        });
    } else {
        manager["route_config"] = route_table(order);
    }
    manager
}

fn route_table(order: &Order<'_>) -> Value {
    let to_origin = json!({ "cluster": "origin", "timeout": "0s" });
    let mut routes: Vec<Value> = (0..order.routes())
        .map(|index| {
            let prefix = route_prefix(index) + "/";
            json!({ "match": { "prefix": prefix }, "route": to_origin })
        })
        .collect();
    if routes.is_empty() {
        routes.push(json!({ "match": { "prefix": "/" }, "route": to_origin }));
    }
    let mut table = json!({
        "name": ROUTE_TABLE,
        "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
    });
    if order.scenario == Scenario::Reload {
        let value = order.generation.to_string();
        table["response_headers_to_add"] = json!([
            { "header": { "key": "x-generation", "value": value } }
        ]);
    }
    table
}

fn filters(order: &Order<'_>) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": type_url("extensions.filters.http.router.v3.Router") },
    });
    if order.scenario != Scenario::Jwt {
        return json!([router]);
    }
    let provider = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "forward": true,
        "local_jwks": { "inline_string": order.stage.token.jwks_text },
        "jwt_cache_config": { "jwt_cache_size": 1000 },
    });
    let jwt = json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": type_url("extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
            "providers": { "id": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "id" } }],
        },
    });
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    let limit = json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": type_url("extensions.filters.http.local_ratelimit.v3.LocalRateLimit"),
            "stat_prefix": "limit",
            "token_bucket": {
                "max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s",
            },
            "filter_enabled": always,
            "filter_enforced": always,
        },
    });
    json!([jwt, limit, router])
}

fn cluster(origin: &str, http2: bool, tls: Option<Value>) -> Value {
    let mut cluster = json!({
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "origin",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": origin_address(origin) } }] }],
        },
    });
    if http2 {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": type_url("extensions.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
    }
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls;
    }
    cluster
}

fn server_tls(order: &Order<'_>) -> Value {
    let scenario = order.scenario;
    let alpn = match scenario {
        Scenario::H2 | Scenario::Grpc => "h2",
        _ => "http/1.1",
    };
    let mut context = json!({
        "@type": type_url("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        "common_tls_context": {
            "alpn_protocols": [alpn],
            "tls_params": only_tls13(),
            "tls_certificates": [files(&order.stage.tls.server)],
        },
    });
    if scenario == Scenario::Connections {
        context["disable_stateless_session_resumption"] = json!(true);
        context["disable_stateful_session_resumption"] = json!(true);
    }
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

/// One end of mTLS that wants this id at the other end.
fn mutual(order: &Order<'_>, own: &Pair, other: &str) -> Value {
    json!({
        "tls_params": only_tls13(),
        "tls_certificates": [files(own)],
        "validation_context": {
            "trusted_ca": { "filename": text(&order.stage.tls.authority) },
            "match_typed_subject_alt_names": [
                { "san_type": "URI", "matcher": { "exact": other } }
            ],
        },
    })
}

fn only_tls13() -> Value {
    json!({
        "tls_minimum_protocol_version": "TLSv1_3",
        "tls_maximum_protocol_version": "TLSv1_3",
    })
}

fn files(pair: &Pair) -> Value {
    json!({
        "certificate_chain": { "filename": text(&pair.certificate) },
        "private_key": { "filename": text(&pair.key) },
    })
}

fn origin_address(origin: &str) -> Value {
    let (host, port) = origin.rsplit_once(':').unwrap_or((origin, "80"));
    let port: u16 = port.parse().unwrap_or(80);
    json!({ "socket_address": { "address": host, "port_value": port } })
}

fn socket_address(address: SocketAddr) -> Value {
    origin_address(&address.to_string())
}

fn type_url(message: &str) -> Value {
    json!(format!("type.googleapis.com/envoy.{message}"))
}

const ROUTE_TABLE: &str = "routes";
