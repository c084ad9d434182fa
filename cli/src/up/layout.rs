//! Which addresses and directories the processes of `weir up` have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::Arguments;
use super::ports::Port;

/// Addresses and directories.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) state_dir: PathBuf,
    pub(super) api: SocketAddr,
    pub(super) mesh: SocketAddr,
    pub(super) gateway_admin: SocketAddr,
    pub(super) users: Instance,
    pub(super) orders: Instance,
    pub(super) consul: Option<String>,
}

/// One service of the shop and the sidecar beside it.
#[derive(Debug)]
pub(super) struct Instance {
    /// The service's name.
    pub(super) service: &'static str,
    /// Where the service itself listens.
    pub(super) application: SocketAddr,
    /// Where its sidecar takes requests from other proxies.
    pub(super) inbound: SocketAddr,
    /// Where its sidecar takes requests from the service.
    pub(super) outbound: SocketAddr,
    /// The sidecar's admin server.
    pub(super) admin: SocketAddr,
}

impl Layout {
    pub(super) fn of(arguments: &Arguments) -> Self {
        let base = arguments.internal_base_port;
        let local = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, base + offset));
        let instance = |service, application, sidecar: u16| Instance {
            service,
            application: local(application),
            inbound: local(sidecar),
            outbound: local(sidecar + 1),
            admin: local(sidecar + 2),
        };
        Self {
            state_dir: arguments.state_dir.clone(),
            api: arguments.api,
            mesh: arguments.mesh,
            gateway_admin: arguments.gateway_admin,
            users: instance("users", 0, 2),
            orders: instance("orders", 1, 5),
            consul: arguments.consul.clone(),
        }
    }

    /// A directory or file of the state.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.state_dir.join(name)
    }

    /// The control plane's own directory.
    pub(super) fn control_plane(&self) -> PathBuf {
        self.state(CONTROL_PLANE)
    }

    /// The token that proxies join with.
    pub(super) fn join_token(&self) -> PathBuf {
        self.control_plane().join("join-token")
    }

    /// The log of a process.
    pub(super) fn log(&self, process: &str) -> PathBuf {
        self.state(LOGS).join(format!("{process}.log"))
    }

    /// Every port but those of the document's listeners.
    pub(super) fn ports(&self) -> Vec<Port> {
        let mut ports = vec![
            Port::of(self.api, "the API of the control plane", "--api"),
            Port::of(self.mesh, "the mesh port of the control plane", "--mesh"),
            Port::of(
                self.gateway_admin,
                "the admin server of the gateway",
                "--gateway-admin",
            ),
        ];
        for Instance {
            service,
            application,
            inbound,
            outbound,
            admin,
        } in [&self.users, &self.orders]
        {
            let mut internal = |address, purpose: String| {
                ports.push(Port::of(address, &purpose, "--internal-base-port"));
            };
            internal(*application, format!("the service {service}"));
            internal(
                *inbound,
                format!("the inbound listener of the sidecar of {service}"),
            );
            internal(
                *outbound,
                format!("the outbound listener of the sidecar of {service}"),
            );
            internal(
                *admin,
                format!("the admin server of the sidecar of {service}"),
            );
        }
        ports
    }

    /// Removes what earlier runs left, and nothing else that may be in the directory.
    pub(super) fn wipe(&self) -> std::io::Result<()> {
        for name in [
            CONTROL_PLANE,
            GATEWAY,
            LOGS,
            USERS,
            USERS_SIDECAR,
            ORDERS_SIDECAR,
        ] {
            match std::fs::remove_dir_all(self.state(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether an earlier run left a control plane's state.
    pub(super) fn is_used(&self) -> bool {
        self.consul.is_some() || is_filled(&self.control_plane())
    }
}

fn is_filled(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// The address by which a process on this machine reaches one that is bound so.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How many ports follow the base port, itself included.
pub(super) const INTERNAL_PORTS: u16 = 8;

/// Directories of the state.
const CONTROL_PLANE: &str = "control-plane";
const LOGS: &str = "logs";
pub(super) const GATEWAY: &str = "gateway";
pub(super) const USERS: &str = "users";
pub(super) const USERS_SIDECAR: &str = "users-sidecar";
pub(super) const ORDERS_SIDECAR: &str = "orders-sidecar";

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn an_address_for_everybody_is_reached_by_loopback() {
        let reached = |text: &str| text.parse().map(|address| reachable(address).to_string());
        assert_eq!(reached("0.0.0.0:80"), Ok("127.0.0.1:80".to_owned()));
        assert_eq!(reached("[::]:80"), Ok("[::1]:80".to_owned()));
        assert_eq!(reached("10.0.0.1:80"), Ok("10.0.0.1:80".to_owned()));
    }
}
