//! The sidecar's arguments, each with its environment variable.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use weir_config::units::parse_duration;
use weir_process::args::{AdminArgs, LogArgs, ParentArgs};
use weir_process::build_info::VERSION;
use weir_process::drain::DrainTimes;
use weir_proxy::node::link::ControlPlaneUrl;
use weir_proxy::node::name::{host_name, is_node_id, node_name, state_directory, zone};
use weir_telemetry::access_log::LogTarget;

use crate::pod_labels::PodLabels;

/// Runs the sidecar of one service instance
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-sidecar", version = VERSION)]
pub struct SidecarArgs {
    /// Name of the service that the application is an instance of
    #[arg(long, env = "WEIR_SERVICE", value_name = "NAME", value_parser = node_id)]
    pub service: String,

    /// Where the application listens: 127.0.0.1:PORT
    #[arg(long, env = "WEIR_APPLICATION", value_name = "ADDRESS")]
    pub application: SocketAddr,

    /// Path that answers below 400 while the application is well; by default, that it accepts
    /// connections is enough
    #[arg(long, env = "WEIR_APPLICATION_HEALTH", value_name = "PATH", value_parser = path)]
    pub application_health: Option<String>,

    /// Mesh port of the control plane: https://host:port
    #[arg(long, env = "WEIR_CONTROL_PLANE", value_name = "URL")]
    pub control_plane: ControlPlaneUrl,

    /// File with the join token, for the first certificate
    #[arg(long, env = "WEIR_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,

    /// Where other proxies reach this instance, by mTLS
    #[arg(
        long,
        env = "WEIR_INBOUND",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:15008"
    )]
    pub inbound: SocketAddr,

    /// host:port that other proxies are told; by default the inbound address, with the address
    /// from which the control plane is reached in place of 0.0.0.0
    #[arg(long, env = "WEIR_ADVERTISE", value_name = "HOST:PORT", value_parser = host_port)]
    pub advertise: Option<String>,

    /// Where the application reaches other services, in clear text
    #[arg(
        long,
        env = "WEIR_OUTBOUND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15001"
    )]
    pub outbound: SocketAddr,

    /// Address that serves /healthz and /readyz and nothing else, for the kubelet
    #[arg(long, env = "WEIR_HEALTH", value_name = "ADDRESS")]
    pub health: Option<SocketAddr>,

    /// Id of this sidecar in the control plane; by default made from the service, the name of the
    /// machine and the inbound port
    #[arg(long, env = "WEIR_NODE", value_name = "ID", value_parser = node_id)]
    pub node: Option<String>,

    /// Worker threads
    #[arg(long, env = "WEIR_WORKERS", value_name = "COUNT", default_value_t = 1,
          value_parser = workers)]
    pub workers: usize,

    /// Label of this instance, such as zone=a; may be given several times
    #[arg(long = "label", env = "WEIR_LABEL", value_name = "KEY=VALUE", value_delimiter = ',',
          value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Labels of the pod as Kubernetes' downward API writes them, a file with lines such as
    /// version="2"; --label goes before. Labels with a prefix are passed over, except
    /// topology.kubernetes.io/zone, which is the zone
    #[arg(long, env = "WEIR_LABELS_FILE", value_name = "FILE", value_parser = PodLabels::read)]
    pub labels_file: Option<PodLabels>,

    /// Zone of this instance: others in it prefer it, and it prefers them; short for the label zone
    #[arg(long, env = "WEIR_ZONE", value_name = "NAME", value_parser = zone)]
    pub zone: Option<String>,

    /// Directory for what outlives the process: certificate, last good configuration
    #[arg(long, env = "WEIR_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,

    /// How long requests under way may take to end, once the process is to end
    #[arg(long, env = "WEIR_DRAIN", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    pub drain: Duration,

    /// How long to keep accepting after the control plane was told, for other proxies to notice;
    /// part of --drain
    #[arg(long, env = "WEIR_DRAIN_DELAY", value_name = "TIME", default_value = "500ms",
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

impl SidecarArgs {
    /// The node's id.
    pub(crate) fn node_id(&self) -> String {
        let port = self.inbound.port();
        let made = || format!("{}-{}-{port}", node_name(&self.service), host_name());
        self.node.clone().unwrap_or_else(made)
    }

    /// The instance's labels, its zone among them.
    pub(crate) fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = match &self.labels_file {
            Some(labels) => labels.of_instance(),
            None => BTreeMap::new(),
        };
        labels.extend(self.labels.iter().cloned());
        if let Some(zone) = &self.zone {
            labels.insert("zone".to_owned(), zone.clone());
        }
        labels
    }

    /// Where state is kept.
    pub(crate) fn state_directory(&self) -> PathBuf {
        self.state_dir
            .clone()
            .unwrap_or_else(|| state_directory(&self.node_id()))
    }

    /// How long the end takes.
    pub(crate) fn drain_times(&self) -> DrainTimes {
        DrainTimes {
            leaving: self.drain_delay,
            total: self.drain,
        }
    }

    /// What other proxies are told; `None` when no address of this machine is known.
    pub(crate) fn advertised(&self) -> Option<String> {
        if let Some(advertise) = &self.advertise {
            return Some(advertise.clone());
        }
        if !self.inbound.ip().is_unspecified() {
            return Some(self.inbound.to_string());
        }
        let ip = address_towards(self.control_plane.authority())?;
        Some(SocketAddr::new(ip, self.inbound.port()).to_string())
    }
}

/// The address of this machine from which that one is reached. No packet is sent.
fn address_towards(authority: &str) -> Option<IpAddr> {
    let other = authority.to_socket_addrs().ok()?.next()?;
    let any: SocketAddr = match other {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(other).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("{error}; {}", error.hint()))
}

fn node_id(text: &str) -> Result<String, String> {
    if is_node_id(text) {
        Ok(text.to_owned())
    } else {
        Err("it has 1 to 128 of the characters A-Z a-z 0-9 . _ -".to_owned())
    }
}

fn path(text: &str) -> Result<String, String> {
    let parsed = text.parse::<http::uri::PathAndQuery>();
    match parsed {
        Ok(path) if text.starts_with('/') => Ok(path.to_string()),
        _ => Err("a path starts with a slash".to_owned()),
    }
}

fn host_port(text: &str) -> Result<String, String> {
    let authority = text.parse::<http::uri::Authority>().ok();
    match authority {
        Some(authority) if authority.port().is_some() && !text.contains('@') => Ok(text.to_owned()),
        _ => Err("write host:port".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value".to_owned()),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    let count = text
        .parse()
        .ok()
        .filter(|count| (1..=WORKERS_MAX).contains(count));
    count.ok_or_else(|| format!("a count of workers is 1 to {WORKERS_MAX}"))
}

const WORKERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use clap::CommandFactory as _;

    use super::*;

    const NEEDED: [&str; 7] = [
        "weir-sidecar",
        "--service",
        "users",
        "--application",
        "127.0.0.1:5000",
        "--control-plane",
        "https://127.0.0.1:9902",
    ];

    fn parsed(more: &[&str]) -> Result<SidecarArgs, clap::Error> {
        SidecarArgs::try_parse_from([&NEEDED, more].concat())
    }

    #[test]
    fn every_flag_has_its_variable() {
        let command = SidecarArgs::command();
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
    fn what_others_are_told_can_be_reached() {
        let args = parsed(&[]).unwrap();
        assert_eq!(args.advertised().unwrap(), "127.0.0.1:15008");
        assert!(is_node_id(&args.node_id()) && args.node_id().starts_with("users-"));
        let args = parsed(&["--inbound", "127.0.0.2:1"]).unwrap();
        assert_eq!(args.advertised().unwrap(), "127.0.0.2:1");
        let args = parsed(&["--advertise", "pod-1.example:15008"]).unwrap();
        assert_eq!(args.advertised().unwrap(), "pod-1.example:15008");
    }

    #[test]
    fn labels_come_several_at_a_time() {
        let args = parsed(&["--label", "zone=a", "--label", "version=2,track=canary"]).unwrap();
        let pairs: Vec<_> = args
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(pairs, ["zone=a", "version=2", "track=canary"]);
        let args = parsed(&["--label", "zone=a,v=2", "--zone", "b"]).unwrap();
        let labels = args.all_labels();
        assert_eq!((labels["zone"].as_str(), labels.len()), ("b", 2));
        let file = std::env::temp_dir().join(format!("weir-labels-{}", std::process::id()));
        std::fs::write(
            &file,
            "track=\"stable\"\ntopology.kubernetes.io/zone=\"c\"\n",
        )
        .unwrap();
        let of_pod = ["--labels-file", file.to_str().unwrap()];
        let labels = parsed(&of_pod).unwrap().all_labels();
        assert_eq!((&*labels["track"], &*labels["zone"]), ("stable", "c"));
        let own = [&of_pod[..], &["--label", "track=canary", "--zone", "d"]].concat();
        let labels = parsed(&own).unwrap().all_labels();
        assert_eq!((&*labels["track"], &*labels["zone"]), ("canary", "d"));
        std::fs::remove_file(&file).unwrap();
        for wrong in [
            ["--labels-file", "/nowhere"],
            ["--label", "zone"],
            ["--zone", ""],
            ["--advertise", "pod"],
            ["--application-health", "health"],
            ["--workers", "0"],
        ] {
            assert!(parsed(&wrong).is_err(), "{wrong:?}");
        }
    }
}
