//! The slim binary: a gateway and nothing else.

use clap::Parser as _;
use weir_gateway::{GatewayArgs, run};
use weir_process::exit::Exit;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: weir_allocator::Allocator = weir_allocator::Allocator;

fn main() -> Exit {
    run(GatewayArgs::parse())
}
