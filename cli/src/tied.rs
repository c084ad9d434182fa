//! `weir tied`: asks the system for a signal when the parent ends, then becomes another program,
//! which keeps that wish. So `weir up` can tie programs to itself that know nothing of it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use weir_process::exit::Exit;
use weir_process::parent::die_with_parent;

use crate::terminal;

/// Arguments of `weir tied`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Process id of the parent
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Only returns when the program cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    if let Err(error) = die_with_parent(arguments.parent) {
        terminal::tell(&format!("weir: {error}\n"));
        return Exit::Unusable;
    }
    let Some((program, rest)) = arguments.program.split_first() else {
        return Exit::Unusable;
    };
    let error = Command::new(program).args(rest).exec();
    terminal::tell(&format!(
        "weir: cannot start {}: {error}\n",
        program.display()
    ));
    Exit::Unusable
}
