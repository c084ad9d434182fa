//! `weir-scale`: how costs grow. `make scale` builds what it needs and runs it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people who work on Weir"
)]

use std::path::{Path, PathBuf};

use clap::Parser;
use weir_benches::scale::report::{Chapter, Plot};
use weir_benches::scale::series::{Effort, Grows, measure};
use weir_benches::scale::{control_plane, report};

/// Measures how costs grow and writes a report with plots.
#[derive(Debug, Parser)]
struct Arguments {
    /// Series: routes, endpoints, services, connections, cores, proxies
    #[arg(long, value_delimiter = ',', default_value = "all")]
    series: Vec<String>,

    /// Directory of weir-gateway and weir-control-plane
    #[arg(long, default_value = "target/dist")]
    programs: PathBuf,

    /// Requests that are counted below callgrind at each size; 0 counts none
    #[arg(long, default_value_t = 2_000)]
    counted: usize,

    /// Requests of a timed slice
    #[arg(long, default_value_t = 20_000)]
    timed: usize,

    /// Timed slices of each size
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Most proxies
    #[arg(long, default_value_t = 1_000)]
    proxies: usize,

    /// Sizes of fleets, smallest first
    #[arg(long, value_delimiter = ',', default_values_t = FLEETS)]
    fleets: Vec<usize>,

    /// Directory of `SCALE.md`, in which the chapters of these series are replaced, and of `plots`
    #[arg(long, default_value = "target/scale")]
    out: PathBuf,
}

/// Sizes of fleets.
const FLEETS: [usize; 6] = [20, 60, 200, 600, 1_000, 2_000];

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let arguments = Arguments::parse();
    // The TLS of the mesh has one provider of cryptography for the process.
    weir_identity::install_provider();
    let work = tempfile::tempdir()?;
    let effort = Effort {
        programs: std::path::absolute(&arguments.programs)?,
        counted: arguments.counted,
        timed: arguments.timed,
        rounds: arguments.rounds,
    };
    let wants = |name: &str| {
        let mut series = arguments.series.iter();
        series.any(|wanted| wanted == name || wanted == "all")
    };
    std::fs::create_dir_all(arguments.out.join("plots"))?;
    for grows in Grows::ALL {
        if wants(grows.as_str()) {
            let directory = work.path().join(grows.as_str());
            let points = measure(grows, &effort, &directory)?;
            write(
                &arguments.out,
                grows.as_str(),
                &report::gateway(grows, &points),
            )?;
        }
    }
    if wants("proxies") {
        let mut fleets = arguments.fleets;
        fleets.retain(|size| *size <= arguments.proxies);
        fleets.sort_unstable();
        let directory = work.path().join("proxies");
        std::fs::create_dir_all(&directory)?;
        let (fleets, sizes) = control_plane::measure(&effort, &fleets, &directory)?;
        write(
            &arguments.out,
            "proxies",
            &report::control_plane(&fleets, sizes),
        )?;
    }
    Ok(())
}

fn write(out: &Path, name: &str, chapter: &Chapter) -> std::io::Result<()> {
    for Plot { name, text } in &chapter.plots {
        std::fs::write(out.join("plots").join(name), text)?;
    }
    let path = out.join("SCALE.md");
    let before = std::fs::read_to_string(&path).unwrap_or_else(|_| "# Scale\n".to_owned());
    std::fs::write(&path, report::spliced(&before, name, &chapter.text))?;
    println!("{}", path.display());
    Ok(())
}
