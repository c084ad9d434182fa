//! `weir-load`: makes verified requests and prints one JSON object about them.

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use weir_benches::load::{Arguments, run};

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let plan = arguments.plan()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let ready = |open| println!("{}", serde_json::json!({ "ready": true, "open": open }));
        let report = run(plan, stop, ready).await?;
        for text in &report.failure_texts {
            eprintln!("weir-load: {text}");
        }
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    })
}
