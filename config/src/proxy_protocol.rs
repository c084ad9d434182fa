//! The PROXY protocol: how a proxy tells the next hop, at the start of a connection, whose
//! connection it is. Load balancers tell a listener; a service's endpoints are told.

use ipnet::IpNet;

use crate::declare::{object, place, required, words};
use crate::position::Position;
use crate::syntax::host::network;
use crate::syntax::list;

object! {
    /// A listener behind load balancers that send the PROXY protocol. Every connection from their
    /// networks must begin with a header of version 1 or 2, within `header_timeout`; every other
    /// connection is closed, so that nobody passes the balancers by. The client is then who the
    /// header names.
    pub struct ProxyProtocolFrom: Eq {
        /// Networks of the load balancers.
        pub from: Vec<IpNet> = required(list(network()).not_empty()),
        /// Where it was written.
        pub at: Position = place(),
    }
}

words! {
    /// A version of the PROXY protocol.
    pub enum ProxyProtocol {
        /// One line of text.
        V1 = "v1",
        /// Binary.
        V2 = "v2",
    }
}
