//! Arguments that several binaries take, each with its environment variable.

use std::convert::Infallible;
use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use weir_telemetry::access_log::LogTarget;
use weir_telemetry::logging::{self, LogControl, LogFormat, LoggingError};

use crate::parent::{ParentError, die_with_parent};

/// What the process logs about itself, to stderr.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Log level: off, error, warn, info, debug, trace, or `warn,weir_proxy=debug`
    #[arg(
        long,
        env = "WEIR_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log_level: String,

    /// How log lines look
    #[arg(
        long,
        env = "WEIR_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormatArg,
}

impl LogArgs {
    /// Starts logging for the process.
    pub fn start(&self) -> Result<LogControl, LoggingError> {
        logging::start(&self.log_level, self.log_format.into())
    }
}

/// How log lines look, as an argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormatArg {
    /// One JSON object per line
    Json,
    /// For people
    Text,
}

impl From<LogFormatArg> for LogFormat {
    fn from(format: LogFormatArg) -> Self {
        match format {
            LogFormatArg::Json => Self::Json,
            LogFormatArg::Text => Self::Text,
        }
    }
}

/// Where access-log lines go.
#[derive(Args, Clone, Debug)]
pub struct AccessLogArgs {
    /// Access log: stdout, off, or a file
    #[arg(long, env = "WEIR_ACCESS_LOG", default_value = "stdout", value_name = "TARGET",
          value_parser = log_target)]
    pub access_log: LogTarget,
}

fn log_target(text: &str) -> Result<LogTarget, Infallible> {
    text.parse()
}

/// Where the admin server listens.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// Address of the admin server; by default a port of its own on 127.0.0.1
    #[arg(long, env = "WEIR_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
}

impl AdminArgs {
    /// The address that was asked for, or this port on loopback.
    pub fn address(&self, port_default: u16) -> SocketAddr {
        self.admin
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port_default)))
    }
}

/// For processes that `weir up` starts and that end with it.
#[derive(Args, Clone, Debug)]
pub struct ParentArgs {
    /// Process id of the parent that this process ends with
    #[arg(long, env = "WEIR_PARENT", value_name = "PID", hide = true)]
    pub parent: Option<u32>,
}

impl ParentArgs {
    /// Ties this process to its parent, when one was named.
    pub fn apply(&self) -> Result<(), ParentError> {
        self.parent.map_or(Ok(()), die_with_parent)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct All {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        access_log: AccessLogArgs,
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        parent: ParentArgs,
    }

    #[test]
    fn every_flag_has_its_variable() {
        let command = All::command();
        command.clone().debug_assert();
        for argument in command.get_arguments() {
            let long = argument.get_long().unwrap();
            let variable = format!("WEIR_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(
                argument.get_env().unwrap().to_str(),
                Some(variable.as_str())
            );
        }
    }

    #[test]
    fn values_are_read() {
        let all = All::try_parse_from([
            "weir",
            "--log-level",
            "debug",
            "--log-format",
            "json",
            "--access-log",
            "off",
            "--admin",
            "127.0.0.1:1",
        ])
        .unwrap();
        assert_eq!(LogFormat::from(all.log.log_format), LogFormat::Json);
        assert_eq!(all.access_log.access_log, LogTarget::Off);
        assert_eq!(all.admin.address(9901).port(), 1);
        assert_eq!(
            AdminArgs { admin: None }.address(9901).to_string(),
            "127.0.0.1:9901"
        );
        assert!(all.parent.apply().is_ok());
        assert!(All::try_parse_from(["weir", "--admin", "9901"]).is_err());
    }
}
