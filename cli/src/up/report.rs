//! What `weir up` says when everything runs.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use weir_config::Document;
use weir_protocol::RevisionNumber;

use super::children::Children;
use super::layout::{Layout, reachable};
use crate::terminal::Paint;

/// What runs now.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) revision: RevisionNumber,
    pub(super) document: Document,
    pub(super) took: Duration,
}

/// A command to try, and what it shows.
#[derive(Debug, PartialEq, Eq)]
struct Try {
    shows: &'static str,
    command: String,
}

impl Running {
    /// For people.
    pub(super) fn text(&self, layout: &Layout, paint: Paint) -> String {
        let mut out = format!(
            "\n{} (revision {}, after {:.1} s)\n\n",
            paint.good("Weir is up"),
            self.revision,
            self.took.as_secs_f32(),
        );
        let mut line = |what: &str, address: &str| {
            out.push_str(&format!("  {what:<24}{address}\n"));
        };
        for (name, url) in self.listeners() {
            line(&format!("gateway ({name})"), &url);
        }
        line("gateway admin", &format!("http://{}", layout.gateway_admin));
        line("control plane", &format!("http://{}", layout.api));
        line("logs", &layout.state("logs").display().to_string());
        out.push_str("\nTry in another terminal:\n");
        for (index, it) in self.commands(layout).iter().enumerate() {
            let shows = paint.dim(&format!("# {}", it.shows));
            out.push_str(&format!(
                "\n  {}. {shows}\n     {}\n",
                index + 1,
                it.command
            ));
        }
        out.push_str("\nCtrl-C ends it all.\n");
        out
    }

    /// For programs.
    pub(super) fn json(&self, layout: &Layout, children: &Children) -> Value {
        let listeners: serde_json::Map<String, Value> = self
            .listeners()
            .map(|(name, url)| (name.to_owned(), url.into()))
            .collect();
        let processes: Vec<Value> = children
            .list()
            .map(|(name, pid, log)| json!({ "name": name, "pid": pid, "log": log }))
            .collect();
        let commands: Vec<String> = self
            .commands(layout)
            .into_iter()
            .map(|it| it.command)
            .collect();
        json!({
            "revision": self.revision,
            "ready_after_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "listeners": listeners,
            "gateway_admin": format!("http://{}", layout.gateway_admin),
            "control_plane": format!("http://{}", layout.api),
            "mesh": layout.mesh,
            "processes": processes,
            "try": commands,
        })
    }

    fn listeners(&self) -> impl Iterator<Item = (&str, String)> {
        self.document.listeners.iter().map(|(name, listener)| {
            let scheme = if listener.tls.is_some() {
                "https"
            } else {
                "http"
            };
            (
                name.value.as_str(),
                format!("{scheme}://{}", reachable(listener.bind)),
            )
        })
    }

    fn commands(&self, layout: &Layout) -> Vec<Try> {
        let weir = std::env::args().next().unwrap_or_else(|| "weir".to_owned());
        let plain = self
            .document
            .listeners
            .iter()
            .find(|(_, listener)| listener.tls.is_none());
        let at = plain.map(|(_, listener)| reachable(listener.bind));
        let is_shop = ["login", "orders", "welcome"].iter().all(|wanted| {
            let mut names = self
                .document
                .routes
                .iter()
                .filter_map(|route| route.name.as_ref());
            names.any(|name| name.value == *wanted)
        });
        match at {
            Some(at) if is_shop => shop_commands(at, reachable(layout.api), &weir).into(),
            _ => Vec::new(),
        }
    }
}

fn shop_commands(gateway: SocketAddr, api: SocketAddr, weir: &str) -> [Try; 3] {
    let access = if api.to_string() == API_DEFAULT {
        String::new()
    } else {
        format!(" --control-plane http://{api}")
    };
    [
        Try {
            shows: "log in and list the orders",
            command: format!(
                "curl -s http://{gateway}/api/orders -H \"authorization: Bearer $(curl -s \
                 http://{gateway}/api/users/login -H 'content-type: application/json' -d \
                 '{{\"email\":\"demo@weir.example\",\"password\":\"demo\"}}' | sed \
                 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')\""
            ),
        },
        Try {
            shows: "ask why a request without a token is refused, and by which line",
            command: format!("{weir} explain GET http://{gateway}/api/orders{access}"),
        },
        Try {
            shows: "change the configuration, wait until every proxy runs it, and see",
            command: format!(
                "curl -s http://{api}/v1/config | sed 's/Welcome to/You changed/' | {weir} apply \
                 --wait{access} - && curl -s http://{gateway}/"
            ),
        },
    ]
}

const API_DEFAULT: &str = "127.0.0.1:9900";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::super::document::SHOP;
    use super::shop_commands;

    #[test]
    fn the_address_of_the_api_is_named_where_it_is_not_the_usual() {
        let gateway = "127.0.0.1:8080".parse().unwrap();
        let [_, explain, apply] = shop_commands(gateway, "127.0.0.1:9900".parse().unwrap(), "weir");
        assert_eq!(
            explain.command,
            "weir explain GET http://127.0.0.1:8080/api/orders"
        );
        assert!(!apply.command.contains("--control-plane"));
        let [_, explain, _] = shop_commands(gateway, "127.0.0.1:1".parse().unwrap(), "weir");
        assert!(
            explain
                .command
                .ends_with(" --control-plane http://127.0.0.1:1")
        );
    }

    #[test]
    fn what_the_third_command_changes_is_in_the_document() {
        assert_eq!(SHOP.matches("Welcome to").count(), 1);
    }
}
