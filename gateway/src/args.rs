//! The gateway's arguments, each with its environment variable.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use weir_config::units::parse_duration;
use weir_process::args::{AdminArgs, LogArgs, ParentArgs};
use weir_process::build_info::VERSION;
use weir_process::drain::DrainTimes;
use weir_proxy::node::ConfigSource;
use weir_proxy::node::link::ControlPlaneUrl;
use weir_proxy::node::name::{host_name, is_node_id, state_directory, zone};
use weir_telemetry::access_log::LogTarget;
use weir_telemetry::logging::{self, LogControl, LoggingError};

/// Runs the edge gateway
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-gateway", version = VERSION)]
#[command(group = ArgGroup::new("source").required(true).args(["config", "control_plane"]))]
pub struct GatewayArgs {
    /// Configuration file; watched, and put in force when it changes
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Mesh port of the control plane that the configuration comes from: https://host:port
    #[arg(long, env = "WEIR_CONTROL_PLANE", value_name = "URL")]
    pub control_plane: Option<ControlPlaneUrl>,

    /// File with the join token, for the first certificate
    #[arg(long, env = "WEIR_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,

    /// Id of this gateway in the control plane; by default made from the name of the machine
    #[arg(long, env = "WEIR_NODE", value_name = "ID", value_parser = node_id)]
    pub node: Option<String>,

    /// Worker threads; by default one for each core
    #[arg(long, env = "WEIR_WORKERS", value_name = "COUNT", value_parser = workers)]
    pub workers: Option<usize>,

    /// Zone of this gateway: it prefers endpoints in it
    #[arg(long, env = "WEIR_ZONE", value_name = "NAME", value_parser = zone)]
    pub zone: Option<String>,

    /// Directory for what outlives the process: certificate, last good configuration
    #[arg(long, env = "WEIR_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,

    /// Take the listening sockets over from the gateway that runs now and gets SIGQUIT next
    #[arg(long, env = "WEIR_UPGRADE")]
    pub upgrade: bool,

    /// Socket over which they are taken; by default in the state directory
    #[arg(long, env = "WEIR_UPGRADE_SOCKET", value_name = "PATH")]
    pub upgrade_socket: Option<PathBuf>,

    /// File that the process id is written to
    #[arg(long, env = "WEIR_PID_FILE", value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// How long requests under way may take to end, once the process is to end
    #[arg(long, env = "WEIR_DRAIN", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    pub drain: Duration,

    /// How long to keep accepting after readiness failed, for load balancers to notice; part of
    /// --drain
    #[arg(long, env = "WEIR_DRAIN_DELAY", value_name = "TIME", default_value = "0s",
          value_parser = duration)]
    pub drain_delay: Duration,

    /// Access log, in place of what the configuration says: stdout, off, or a file
    #[arg(long, env = "WEIR_ACCESS_LOG", value_name = "TARGET")]
    pub access_log: Option<LogTarget>,

    /// Where the admin server listens
    #[command(flatten)]
    pub admin: AdminArgs,

    /// What the process logs
    #[command(flatten)]
    pub log: LogArgs,

    /// For `weir up`
    #[command(flatten)]
    pub parent: ParentArgs,
}

impl GatewayArgs {
    /// The node's id.
    pub(crate) fn node_id(&self) -> String {
        self.node
            .clone()
            .unwrap_or_else(|| format!("gateway-{}", host_name()))
    }

    /// Where state is kept.
    pub(crate) fn state_directory(&self) -> PathBuf {
        self.state_dir
            .clone()
            .unwrap_or_else(|| state_directory(&self.node_id()))
    }

    /// Where sockets are handed over.
    pub(crate) fn upgrade_path(&self) -> PathBuf {
        let path = self.upgrade_socket.clone();
        path.unwrap_or_else(|| self.state_directory().join("upgrade.sock"))
    }

    /// How many workers.
    pub(crate) fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cores).min(WORKERS_MAX)
    }

    /// How long the end takes.
    pub(crate) fn drain_times(&self) -> DrainTimes {
        DrainTimes {
            leaving: self.drain_delay,
            total: self.drain,
        }
    }

    /// Where the configuration comes from. The group of arguments allows exactly one.
    pub(crate) fn source(&self) -> Option<ConfigSource> {
        match (&self.config, &self.control_plane) {
            (Some(file), _) => Some(ConfigSource::File(file.clone())),
            (None, Some(url)) => Some(ConfigSource::ControlPlane {
                url: url.clone(),
                join_token_file: self.join_token_file.clone(),
            }),
            (None, None) => None,
        }
    }

    /// Starts logging. Pingora tells each step of its start at `info`, and each second of waiting
    /// for a hand-over at `error`; unless somebody wants more, only its warnings are of use.
    pub(crate) fn start_log(&self) -> Result<LogControl, LoggingError> {
        if self.log.log_level.trim().eq_ignore_ascii_case("info") {
            return logging::start(LEVEL_USUAL, self.log.log_format.into());
        }
        self.log.start()
    }
}

/// `info`, with less of Pingora.
const LEVEL_USUAL: &str = "info,pingora_core=warn,pingora_core::server::transfer_fd=off";

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("{error}; {}", error.hint()))
}

fn node_id(text: &str) -> Result<String, String> {
    if is_node_id(text) {
        Ok(text.to_owned())
    } else {
        Err("a node id has 1 to 128 of the characters A-Z a-z 0-9 . _ -".to_owned())
    }
}

fn workers(text: &str) -> Result<usize, String> {
    let count = text
        .parse()
        .ok()
        .filter(|count| (1..=WORKERS_MAX).contains(count));
    count.ok_or_else(|| format!("a count of workers is 1 to {WORKERS_MAX}"))
}

/// Each worker costs a thread, and a socket for each listener.
const WORKERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use clap::CommandFactory as _;

    use super::*;

    fn parsed(args: &[&str]) -> Result<GatewayArgs, clap::Error> {
        GatewayArgs::try_parse_from(std::iter::once(&"weir-gateway").chain(args))
    }

    #[test]
    fn every_flag_has_its_variable() {
        let command = GatewayArgs::command();
        command.clone().debug_assert();
        for argument in command
            .get_arguments()
            .filter(|argument| argument.get_env().is_some())
        {
            let long = argument.get_long().unwrap();
            let variable = format!("WEIR_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(
                argument.get_env().unwrap().to_str(),
                Some(variable.as_str())
            );
        }
    }

    #[test]
    fn exactly_one_source_is_wanted() {
        assert!(parsed(&[]).is_err());
        assert!(parsed(&["--config", "a", "--control-plane", "https://b:1"]).is_err());
        let file = parsed(&["--config", "weir.yaml"]).unwrap();
        assert_eq!(file.source(), Some(ConfigSource::File("weir.yaml".into())));
        assert_eq!(file.drain, Duration::from_secs(30));
        assert_eq!(file.drain_delay, Duration::ZERO);
        assert!(file.worker_count() >= 1);
        let joined = parsed(&[
            "--control-plane",
            "https://127.0.0.1:9902",
            "--drain",
            "1500ms",
        ]);
        assert_eq!(joined.unwrap().drain, Duration::from_millis(1500));
        for wrong in [
            ["--control-plane", "http://127.0.0.1"],
            ["--drain", "soon"],
            ["--node", "a b"],
            ["--workers", "0"],
        ] {
            assert!(
                parsed(&[&["--config", "a"], &wrong[..]].concat()).is_err(),
                "{wrong:?}"
            );
        }
    }
}
