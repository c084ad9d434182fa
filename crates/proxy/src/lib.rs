//! The engine shared by gateway and sidecar: connections, pools, exchanges, and their record.
//!
//! For: carrying requests out as `weir-policy` decides. Not for: deciding; and not for finding out
//! what to run, which is the business of the feeds on top. The one idea: every worker is a thread
//! that shares nothing with the others on the way of a request. It has its own runtime, listening
//! sockets (`SO_REUSEPORT`), connections to endpoints, and a handle to the configuration that a
//! request pins when it begins.
//!
//! [`Engine`] is the whole interface: start it, [`install`](Engine::install) configurations, tell
//! it [`set_members`](Engine::set_members), and [`drain`](Engine::drain) it at the end.

pub mod admin;
mod alarm;
mod attempt;
mod body;
mod cache;
mod call;
mod checks;
pub mod clock;
mod connect;
mod engine;
mod exchange;
pub mod feed;
mod files;
mod happenings;
mod header_maps;
mod http1;
mod http2;
mod interim;
pub mod keys;
mod listen;
mod membership;
pub mod memberships;
pub mod node;
mod outcome;
mod own;
mod pace;
mod peek;
mod pool;
mod proxy_protocol;
mod record;
mod respond;
mod serve;
mod solo;
pub mod store;
mod tls;
mod tunnel;
mod upgrade;
mod websocket;
mod wire;
mod worker;

pub use body::{Inbound, Reply};
pub use cache::{Cache, CacheStats, Purge};
pub use engine::{Binding, Engine, EngineOptions, EngineStats, InstallError, Installation};
pub use listen::{OwnSockets, Sockets, bind};
pub use own::OwnError;
pub use respond::{Decision, Decisions};
pub use solo::Solo;
