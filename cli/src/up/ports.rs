//! Whether the ports are free, asked before anything starts.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

/// An address that some process will listen on.
#[derive(Clone, Debug)]
pub(super) struct Port {
    address: SocketAddr,
    purpose: String,
    /// Where another one is chosen: a flag, or a place in the document.
    chosen_by: String,
}

impl Port {
    pub(super) fn of(address: SocketAddr, purpose: &str, chosen_by: &str) -> Self {
        Self {
            address,
            purpose: purpose.to_owned(),
            chosen_by: chosen_by.to_owned(),
        }
    }

    fn remedy(&self) -> String {
        match self.chosen_by.as_str() {
            flag @ "--internal-base-port" => format!("choose other ports with {flag} PORT"),
            flag if flag.starts_with("--") => format!("choose another with {flag} ADDRESS"),
            place => format!("choose another in {place}"),
        }
    }
}

/// What is wrong with each port that cannot be used; all of them at once.
pub(super) fn complaints(ports: &[Port]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut taken: BTreeMap<SocketAddr, &Port> = BTreeMap::new();
    for port in ports {
        let Port {
            address, purpose, ..
        } = port;
        if address.port() == 0 {
            let remedy = port.remedy();
            complaints.push(format!(
                "{purpose} needs a port of its own, not 0; {remedy}"
            ));
        } else if let Some(other) = taken.insert(*address, port) {
            let (other, remedy) = (&other.purpose, port.remedy());
            complaints.push(format!(
                "{address} is for {other} and for {purpose}; {remedy}"
            ));
        } else {
            complaints.extend(complaint(port));
        }
    }
    complaints
}

fn complaint(port: &Port) -> Option<String> {
    let Port {
        address, purpose, ..
    } = port;
    // Closed at once: whoever takes the port between now and the start is told of by the process
    // that then cannot listen.
    let error = TcpListener::bind(address).err()?;
    let remedy = port.remedy();
    Some(match error.kind() {
        ErrorKind::AddrInUse => format!(
            "port {} is taken: {address} is for {purpose}; stop what uses it, or {remedy}",
            address.port()
        ),
        _ => format!("cannot listen on {address} for {purpose}: {error}; {remedy}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::net::TcpListener;

    use super::{Port, complaints};

    #[test]
    fn a_taken_port_is_named_with_its_purpose_and_its_flag() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let port = Port::of(address, "the API of the control plane", "--api");
        assert_eq!(
            complaints(&[port]),
            [format!(
                "port {} is taken: {address} is for the API of the control plane; stop what uses \
                 it, or choose another with --api ADDRESS",
                address.port()
            )]
        );
    }

    #[test]
    fn two_uses_of_one_address_are_found() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        drop(holder);
        let ports = [
            Port::of(address, "this", "--api"),
            Port::of(address, "that", "listeners.web.bind"),
        ];
        let complaints = complaints(&ports);
        assert_eq!(
            complaints,
            [format!(
                "{address} is for this and for that; choose another in listeners.web.bind"
            )]
        );
    }
}
