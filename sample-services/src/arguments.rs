//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderName, Uri};
use clap::{Args, Parser, Subcommand};

use crate::units;

/// The services of the sample shop.
#[derive(Debug, Parser)]
#[command(name = "weir-sample-services", version)]
pub struct Arguments {
    /// Which service to run.
    #[command(subcommand)]
    pub service: Service,
}

/// One service of the shop.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Orders of customers. Calls users.
    Orders(OrdersArguments),
    /// Accounts, logins and the keys that verify their tokens.
    Users(UsersArguments),
}

/// What every service takes.
#[derive(Args, Clone, Debug)]
pub struct CommonArguments {
    /// How long to wait for requests under way after SIGTERM or SIGINT.
    #[arg(long, env = "WEIR_SHOP_DRAIN_TIMEOUT", default_value = "10s", value_parser = units::duration)]
    pub drain_timeout: Duration,
    /// Obey x-fault-… request headers, and serve /faults and /flaky. Never where strangers call.
    #[arg(long, env = "WEIR_SHOP_FAULTS")]
    pub faults: bool,
    /// Which log events to write: error, warn, info, debug or trace, or a filter of tracing.
    #[arg(long, env = "WEIR_SHOP_LOG", default_value = "info")]
    pub log: String,
}

/// What users takes.
#[derive(Args, Clone, Debug)]
pub struct UsersArguments {
    /// What every service takes.
    #[command(flatten)]
    pub common: CommonArguments,
    /// Where the signing keys are kept; made on first use.
    #[arg(long, env = "WEIR_SHOP_KEY_DIR")]
    pub key_dir: PathBuf,
    /// Where to listen.
    #[arg(long, env = "WEIR_SHOP_LISTEN", default_value = "127.0.0.1:9910")]
    pub listen: SocketAddr,
}

/// What orders takes.
#[derive(Args, Clone, Debug)]
pub struct OrdersArguments {
    /// A request header in which the proxy in front tells the caller's user id. Only for a proxy
    /// that removes this header from what comes in. Without it, the id is the subject of the
    /// bearer token, which the proxy has verified.
    #[arg(long, env = "WEIR_SHOP_CALLER_HEADER")]
    pub caller_header: Option<HeaderName>,
    /// What every service takes.
    #[command(flatten)]
    pub common: CommonArguments,
    /// Where to listen.
    #[arg(long, env = "WEIR_SHOP_LISTEN", default_value = "127.0.0.1:9911")]
    pub listen: SocketAddr,
    /// The Host by which users is called.
    #[arg(long, env = "WEIR_SHOP_USERS_HOST", default_value = "users")]
    pub users_host: String,
    /// Where users is called: its own address, or that of the sidecar's outbound listener.
    #[arg(long, env = "WEIR_SHOP_USERS_URL")]
    pub users_url: Uri,
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
