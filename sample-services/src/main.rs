//! Runs one service of the shop.
//!
//! Exits with 0 after a clean drain, 1 when requests were cut off at its deadline, 2 when it cannot
//! start.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weir_sample_services::arguments::{Arguments, CommonArguments, Service};
use weir_sample_services::serve::{Drained, Server};
use weir_sample_services::shell::Readiness;
use weir_sample_services::{orders, users};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(Drained::Whole) => ExitCode::SUCCESS,
        Ok(Drained::CutOff(connections)) => {
            tracing::warn!(connections, "drain deadline passed");
            ExitCode::from(1)
        }
        Err(error) => {
            // Logging may be what failed.
            eprintln!("weir-sample-services: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<Drained> {
    let readiness = Readiness::default();
    match arguments.service {
        Service::Orders(given) => {
            log_to_stderr(&given.common)?;
            let router = orders::router(&given, &readiness).context("--users-url")?;
            serve("orders", given.listen, &given.common, router, readiness).await
        }
        Service::Users(given) => {
            log_to_stderr(&given.common)?;
            let router = users::router(&given, &readiness)?;
            serve("users", given.listen, &given.common, router, readiness).await
        }
    }
}

async fn serve(
    service: &'static str,
    address: SocketAddr,
    common: &CommonArguments,
    router: Router,
    readiness: Readiness,
) -> anyhow::Result<Drained> {
    // Before anybody can know the address: a signal must never find the default action.
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another with --listen or WEIR_SHOP_LISTEN")
    })?;
    let address = listener
        .local_addr()
        .context("cannot tell the own address")?;
    tracing::info!(service, %address, faults = common.faults, "listening");
    let server = Server {
        drain_timeout: common.drain_timeout,
        is_resettable: common.faults,
        readiness,
    };
    let drained = server.run(listener, router, stop).await;
    tracing::info!(service, "stopped");
    Ok(drained)
}

fn log_to_stderr(common: &CommonArguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&common.log)
        .with_context(|| format!("--log {:?} is not a log filter", common.log))?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}
