//! `weir up`: the whole system on this machine, each part as a process of its own.
//!
//! For trying Weir, for demonstrations, and for tests. The one idea: nothing outlives this command.
//! Everything it starts is ended in order when it is told to end, when one part fails, and by the
//! system itself when this process is killed.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use weir_config::bounds::DOCUMENT_BYTES_MAX;
use weir_process::exit::Exit;

use crate::source::Source;
use crate::terminal::{self, Paint};

mod children;
mod document;
mod failure;
mod layout;
mod ports;
mod programs;
mod report;
mod start;
mod stop;

use children::{Children, END_TIMEOUT};
use failure::UpError;
use layout::{INTERNAL_PORTS, Layout};
use programs::{ENDING, Programs};
use start::Start;
use stop::Stop;

/// Arguments of `weir up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the gateway listens for HTTP: the document's listener `web` [shop: 127.0.0.1:8080]
    #[arg(long, env = "WEIR_UP_HTTP", value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Where it listens for HTTPS: the document's listener `websecure` [shop: 127.0.0.1:8443]
    #[arg(long, env = "WEIR_UP_HTTPS", value_name = "ADDRESS")]
    https: Option<SocketAddr>,
    /// The gateway's admin server
    #[arg(
        long,
        env = "WEIR_UP_GATEWAY_ADMIN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9901"
    )]
    gateway_admin: SocketAddr,
    /// The control plane's API
    #[arg(
        long,
        env = "WEIR_UP_API",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9900"
    )]
    api: SocketAddr,
    /// The control plane's mesh port
    #[arg(
        long,
        env = "WEIR_UP_MESH",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9902"
    )]
    mesh: SocketAddr,
    /// First of the eight ports on 127.0.0.1 that services and sidecars use
    #[arg(long, env = "WEIR_UP_INTERNAL_BASE_PORT", value_name = "PORT", default_value_t = 9910,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(u16::MAX - INTERNAL_PORTS)))]
    internal_base_port: u16,
    /// Keeps configuration, certificates and logs between runs
    #[arg(
        long,
        env = "WEIR_UP_STATE_DIR",
        value_name = "DIR",
        default_value = ".weir"
    )]
    state_dir: PathBuf,
    /// Forget what earlier runs kept (not what they wrote to a Consul)
    #[arg(long)]
    fresh: bool,
    /// Run this document instead of the shop's
    #[arg(long, env = "WEIR_UP_CONFIG", value_name = "FILE")]
    config: Option<String>,
    /// Keep revisions in this Consul, and find services in its catalog
    #[arg(long, env = "WEIR_CONSUL", value_name = "URL")]
    consul: Option<String>,
    /// Say as JSON what runs
    #[arg(long)]
    json: bool,
}

/// Runs until told to end, or until a part fails.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    // On the main thread: the system ends children with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(UpError::Signals)
        .and_then(|runtime| runtime.block_on(up(arguments)));
    result.unwrap_or_else(|error| {
        terminal::tell(&format!("weir up: {error}\n"));
        error.exit()
    })
}

async fn up(arguments: &Arguments) -> Result<Exit, UpError> {
    let given = arguments
        .config
        .as_ref()
        .map(|path| Source::read(path, DOCUMENT_BYTES_MAX));
    let given = given.transpose()?;
    let layout = Layout::of(arguments);
    let _lock = prepare_state(&layout, arguments.fresh)?;
    let own = std::env::current_exe().map_err(|source| UpError::Spawn {
        program: "weir".into(),
        source,
    })?;
    let start = Start {
        arguments,
        layout: &layout,
        programs: Programs::beside(own),
        given,
    };
    start.check_ports()?;

    let mut stop = Stop::new().map_err(UpError::Signals)?;
    let mut children = Children::default();
    terminal::tell(&format!(
        "weir up: state in {}\n",
        layout.state_dir.display()
    ));
    let end = live(&start, &mut children, &mut stop).await;
    if let Err(error) = &end {
        terminal::tell(&format!("weir up: {error}\n"));
    }
    let is_clean = drain(&mut children, &mut stop).await;
    Ok(match end {
        Err(error) => error.exit(),
        Ok(()) if is_clean => Exit::Fine,
        Ok(()) => Exit::No,
    })
}

/// Comes up and stays up. Returns when it is told to end.
async fn live(start: &Start<'_>, children: &mut Children, stop: &mut Stop) -> Result<(), UpError> {
    let running = tokio::select! {
        () = stop.asked() => return Ok(()),
        running = start.run(children) => running?,
    };
    if start.arguments.json {
        terminal::answer_json(&running.json(start.layout, children));
    } else {
        terminal::answer(&running.text(start.layout, Paint::for_stdout()));
    }
    tokio::select! {
        () = stop.asked() => Ok(()),
        ended = children.first_end() => Err(UpError::Died(ended)),
    }
}

/// Ends everything, stage by stage. Gives whether all of it ended by itself.
async fn drain(children: &mut Children, stop: &mut Stop) -> bool {
    terminal::tell("weir up: draining; once more to end at once\n");
    let mut killed = Vec::new();
    let mut is_hurried = false;
    for stage in ENDING {
        if !is_hurried {
            let end = tokio::time::timeout(END_TIMEOUT, children.end(stage));
            tokio::select! {
                _ended_or_late = end => {}
                () = stop.asked() => is_hurried = true,
            }
        }
        killed.extend(children.kill(stage).await);
    }
    if !killed.is_empty() {
        let names = killed.join(", ");
        terminal::tell(&format!("weir up: did not end by itself: {names}\n"));
    }
    killed.is_empty()
}

/// The directory of the state, for this process alone.
fn prepare_state(layout: &Layout, is_fresh: bool) -> Result<File, UpError> {
    let path = layout.state_dir.clone();
    let failed = |source| UpError::StateDir {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(&path).map_err(failed)?;
    let lock = lock(&path)?;
    if is_fresh {
        layout.wipe().map_err(failed)?;
    }
    std::fs::create_dir_all(layout.state("logs")).map_err(failed)?;
    Ok(lock)
}

fn lock(directory: &Path) -> Result<File, UpError> {
    let failed = |source| UpError::StateDir {
        path: directory.to_owned(),
        source,
    };
    let file = File::create(directory.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(UpError::Locked(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
