//! `weir`: the operator's command.

use weir_process::exit::Exit;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: weir_allocator::Allocator = weir_allocator::Allocator;

fn main() -> Exit {
    weir_cli::main()
}
