//! The operator's command: everything a person does with Weir, and `weir up`.
//!
//! Each verb is a module with its arguments and a `run` that gives the exit code: 0 fine, 1 the
//! answer is no, 2 the question could not be asked. What a verb answers goes to stdout (as JSON
//! with `--json`); what is wrong goes to stderr. Verbs that run a proxy or the control plane only
//! call those libraries.

use clap::{Parser, Subcommand};
use weir_process::exit::Exit;

mod api;
mod apply;
mod check;
mod compiled;
mod diff;
mod explain;
mod failure;
mod files;
mod history;
mod inject;
mod rollback;
mod schema;
mod source;
mod status;
mod table;
mod terminal;
mod tied;
mod up;
mod written;

/// The command line of `weir`.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "API gateway and service mesh, configured by one YAML document",
    after_help = "Exit codes: 0 fine; 1 the answer is no (invalid, refused, would be denied); \
                  2 wrong usage or unreachable."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start control plane, gateway and the sample shop on this machine; Ctrl-C drains it all
    Up(up::Arguments),
    /// Run the gateway
    Gateway(Box<weir_gateway::GatewayArgs>),
    /// Run the sidecar of one service instance
    Sidecar(Box<weir_sidecar::SidecarArgs>),
    /// Run the control plane
    ControlPlane(Box<weir_control_plane::ControlPlaneArgs>),
    /// Check documents as every proxy would, and show every error at once
    Check(check::Arguments),
    /// Say what would happen to a request, and which line of the document decides
    Explain(explain::Arguments),
    /// Make a document the next revision
    Apply(apply::Arguments),
    /// Show how a document differs from the one in force
    Diff(diff::Arguments),
    /// List the revisions
    History(history::Arguments),
    /// Make an earlier revision's document the next revision
    Rollback(rollback::Arguments),
    /// Show what runs: revision, proxies, services
    Status(status::Arguments),
    /// Put the sidecar into Kubernetes manifests
    Inject(inject::Arguments),
    /// Print the JSON Schema of the document, for editors
    Schema(schema::Arguments),
    /// Become another program that ends with its parent; `weir up` starts its processes so
    #[command(hide = true)]
    Tied(tied::Arguments),
}

/// Runs the command line of this process.
pub fn main() -> Exit {
    weir_identity::install_provider();
    match Arguments::parse().verb {
        Verb::Apply(arguments) => apply::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::ControlPlane(arguments) => weir_control_plane::run(*arguments),
        Verb::Diff(arguments) => diff::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Gateway(arguments) => weir_gateway::run(*arguments),
        Verb::History(arguments) => history::run(&arguments),
        Verb::Inject(arguments) => inject::run(&arguments),
        Verb::Rollback(arguments) => rollback::run(&arguments),
        Verb::Schema(arguments) => schema::run(&arguments),
        Verb::Sidecar(arguments) => weir_sidecar::run(*arguments),
        Verb::Status(arguments) => status::run(&arguments),
        Verb::Tied(arguments) => tied::run(&arguments),
        Verb::Up(arguments) => up::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_verbs_are_those_of_the_contract() {
        let command = Arguments::command();
        let verbs: Vec<&str> = command
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        assert_eq!(
            verbs.join(" "),
            "up gateway sidecar control-plane check explain apply diff history rollback status \
             inject schema"
        );
    }
}
