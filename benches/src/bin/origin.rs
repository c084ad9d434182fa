//! `weir-bench-origin`: a fast origin on one thread.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use weir_benches::origin::{Bodies, Listeners, grpc_reply};

/// Answers on one thread, with bodies of known content. Every path without a body of its own gets
/// 1 KB.
#[derive(Debug, Parser)]
#[command(name = "weir-bench-origin")]
struct Arguments {
    /// Address for HTTP/1.1.
    #[arg(long)]
    http1: Option<SocketAddr>,
    /// Address for HTTP/2 with prior knowledge, gRPC included.
    #[arg(long)]
    http2: Option<SocketAddr>,
    /// Address for WebSocket echo.
    #[arg(long)]
    ws: Option<SocketAddr>,
    /// Bodies by their paths: `1k` is 1,024 bytes at /1k.
    #[arg(long, value_delimiter = ',', default_value = "1k,100k")]
    bodies: Vec<String>,
    /// Write the content of that body, or of `grpc`, to standard output and end.
    #[arg(long)]
    print: Option<String>,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench-origin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(name) = &arguments.print {
        let body = if name == "grpc" {
            grpc_reply()
        } else {
            Bodies::new(std::slice::from_ref(name))?.content(name)
        };
        std::io::stdout().write_all(&body)?;
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let bodies = Bodies::new(&arguments.bodies)?;
        let listeners = Listeners::bind(arguments.http1, arguments.http2, arguments.ws).await?;
        println!("ready");
        listeners.serve(bodies).await;
        Ok(())
    })
}
