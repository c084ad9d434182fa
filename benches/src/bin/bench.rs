//! `weir-bench`: measures Weir beside other proxies on equal work.

use std::process::ExitCode;

use clap::Parser as _;
use weir_benches::harness::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
