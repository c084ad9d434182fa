//! `weir`: the operator's command.

use weir_process::exit::Exit;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Exit {
    weir_cli::main()
}
