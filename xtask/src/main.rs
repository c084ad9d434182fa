//! `cargo run -p weir-xtask -- generate`: writes the generated files.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("generate") => match weir_xtask::generate::write(&weir_xtask::root()) {
            Ok(written) => {
                for path in written {
                    println!("{path}");
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("generate: {error}");
                ExitCode::from(1)
            }
        },
        _ => {
            eprintln!("usage: xtask generate");
            ExitCode::from(2)
        }
    }
}
