//! What is started: which program, with which arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use super::layout::{GATEWAY, Instance, Layout, ORDERS_SIDECAR, USERS, USERS_SIDECAR, reachable};

/// When a process ends: the gateway first, so that nobody is sent to what ends after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    ControlPlane,
    Gateway,
    Mesh,
}

/// The stages in the order in which they end.
pub(super) const ENDING: [Stage; 3] = [Stage::Gateway, Stage::Mesh, Stage::ControlPlane];

/// One program and its arguments.
#[derive(Debug)]
pub(super) struct Program {
    /// Its name in messages and of its log.
    pub(super) name: &'static str,
    pub(super) stage: Stage,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// Answers 200 when it is ready.
    pub(super) ready: String,
}

/// Finds the programs.
#[derive(Debug)]
pub(super) struct Programs {
    own: PathBuf,
    directory: PathBuf,
}

impl Programs {
    /// Those beside this executable.
    pub(super) fn beside(own: PathBuf) -> Self {
        let directory = own.parent().map(PathBuf::from).unwrap_or_default();
        Self { own, directory }
    }

    /// The control plane.
    pub(super) fn control_plane(&self, layout: &Layout) -> Program {
        let mut arguments = vec![
            flag("api", layout.api),
            flag("mesh", layout.mesh),
            flag("data-dir", layout.control_plane().display()),
        ];
        if let Some(consul) = &layout.consul {
            arguments.push(flag("consul", consul));
        }
        let ready = format!("http://{}", reachable(layout.api));
        self.weir(
            "control-plane",
            "control-plane",
            Stage::ControlPlane,
            arguments,
            ready,
        )
    }

    /// The gateway.
    pub(super) fn gateway(&self, layout: &Layout) -> Program {
        let mut arguments = joining(layout, GATEWAY, "gateway");
        arguments.push(flag("admin", layout.gateway_admin));
        let ready = format!("http://{}", reachable(layout.gateway_admin));
        self.weir("gateway", "gateway", Stage::Gateway, arguments, ready)
    }

    /// The sidecar of users.
    pub(super) fn users_sidecar(&self, layout: &Layout) -> Program {
        self.sidecar(USERS_SIDECAR, layout, &layout.users)
    }

    /// The sidecar of orders.
    pub(super) fn orders_sidecar(&self, layout: &Layout) -> Program {
        self.sidecar(ORDERS_SIDECAR, layout, &layout.orders)
    }

    fn sidecar(&self, name: &'static str, layout: &Layout, instance: &Instance) -> Program {
        let mut arguments = joining(layout, name, name);
        arguments.extend([
            flag("service", instance.service),
            flag("application", instance.application),
            flag("application-health", "/readyz"),
            flag("inbound", instance.inbound),
            flag("advertise", instance.inbound),
            flag("outbound", instance.outbound),
            flag("admin", instance.admin),
        ]);
        self.weir(
            name,
            "sidecar",
            Stage::Mesh,
            arguments,
            format!("http://{}", instance.admin),
        )
    }

    /// The service users.
    pub(super) fn users(&self, layout: &Layout) -> Program {
        let key_dir = layout.state(USERS);
        self.service(&layout.users, vec![flag("key-dir", key_dir.display())])
    }

    /// The service orders, which calls users by way of its sidecar.
    pub(super) fn orders(&self, layout: &Layout) -> Program {
        let users_url = format!("http://{}", layout.orders.outbound);
        self.service(&layout.orders, vec![flag("users-url", users_url)])
    }

    fn service(&self, instance: &Instance, more: Vec<OsString>) -> Program {
        let mut arguments = vec![
            instance.service.into(),
            flag("listen", instance.application),
        ];
        arguments.extend(["--faults".into(), flag("drain-timeout", DRAIN)]);
        arguments.extend(more);
        Program {
            name: instance.service,
            stage: Stage::Mesh,
            path: self.directory.join("weir-sample-services"),
            arguments,
            ready: format!("http://{}", instance.application),
        }
    }

    /// A program of Weir: its own small binary, or else a verb of this one.
    fn weir(
        &self,
        name: &'static str,
        verb: &str,
        stage: Stage,
        mut arguments: Vec<OsString>,
        ready: String,
    ) -> Program {
        let slim = self.directory.join(format!("weir-{verb}"));
        let path = if slim.is_file() {
            slim
        } else {
            arguments.insert(0, verb.into());
            self.own.clone()
        };
        Program {
            name,
            stage,
            path,
            arguments,
            ready,
        }
    }
}

/// How a proxy joins.
fn joining(layout: &Layout, directory: &str, node: &str) -> Vec<OsString> {
    vec![
        flag(
            "control-plane",
            format!("https://{}", reachable(layout.mesh)),
        ),
        flag("join-token-file", layout.join_token().display()),
        flag("state-dir", layout.state(directory).display()),
        flag("node", node),
        flag("drain", DRAIN),
    ]
}

/// How long requests under way may take at the end: less than what a stage has.
const DRAIN: &str = "8s";

fn flag(name: &str, value: impl std::fmt::Display) -> OsString {
    format!("--{name}={value}").into()
}
