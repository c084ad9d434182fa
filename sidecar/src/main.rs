//! The slim binary: a sidecar and nothing else.

use clap::Parser as _;
use weir_process::exit::Exit;
use weir_sidecar::{SidecarArgs, run};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: weir_allocator::Allocator = weir_allocator::Allocator;

fn main() -> Exit {
    run(SidecarArgs::parse())
}
