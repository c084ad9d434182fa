//! Measuring the gateway beside its peers: a load generator and an origin that cost little, and
//! check everything.

pub mod harness;
pub mod http1;
pub mod load;
pub mod origin;
pub mod plot;
pub mod scale;
pub mod websocket;

/// As many descriptors as the machine lets this process have.
pub(crate) fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // Without it the connections that are too many fail, and are counted.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
