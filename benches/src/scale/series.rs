//! The series: what grows, at which sizes, on which documents.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_micro::documents;

use super::gateway::{Gateway, Load};
use super::origin;
use super::request;

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grows {
    /// Client connections, all of them used in turn.
    Connections,
    /// Worker threads.
    Cores,
    /// Endpoints of one service, all of them used.
    Endpoints,
    /// Routes, ten on each host, requests spread over all hosts.
    Routes,
    /// Services that a thousand routes go to.
    Services,
}

/// One size of a series.
#[derive(Debug, Clone)]
pub struct Point {
    /// The size.
    pub size: usize,
    /// Instructions in user space per request; `None` when they were not counted.
    pub instructions: Option<f64>,
    /// Processor time per request of each slice, microseconds, undisturbed ones only.
    pub cpu_us: Vec<f64>,
    /// Slices that were thrown away because the host took more than 6 % of the time.
    pub disturbed: usize,
    /// Resident memory after the slices, bytes.
    pub resident: u64,
    /// Wake-ups of each thread in ten seconds at rest; counted at the largest size of routes.
    pub wake_ups: Option<Vec<(String, u64)>>,
}

/// How much is done.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Where the programs are.
    pub programs: PathBuf,
    /// Requests that are counted below callgrind.
    pub counted: usize,
    /// Requests of one timed slice.
    pub timed: usize,
    /// Timed slices of each size, interleaved with those of the other sizes.
    pub rounds: usize,
}

/// More than this share of time taken away by the host makes a slice worthless.
const STEAL_MAX: f64 = 0.06;

impl Grows {
    /// Every series that is measured at the gateway.
    pub const ALL: [Grows; 5] = [
        Grows::Routes,
        Grows::Endpoints,
        Grows::Services,
        Grows::Connections,
        Grows::Cores,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Grows::Connections => "connections",
            Grows::Cores => "cores",
            Grows::Endpoints => "endpoints",
            Grows::Routes => "routes",
            Grows::Services => "services",
        }
    }

    /// What is measured, in a sentence.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Grows::Connections => {
                "Client connections, each used in turn, 32 requests under way; one route."
            }
            Grows::Cores => {
                "Workers, each with a core of its own; 64 connections. On a machine with two cores \
                 the load generator has to share them with two workers."
            }
            Grows::Endpoints => {
                "Endpoints of one service, round robin, a warm connection to each; 32 connections."
            }
            Grows::Routes => {
                "Routes, ten on each host (exact, templates, a prefix, regular expressions); requests \
                 spread over all hosts; one endpoint; 32 connections."
            }
            Grows::Services => {
                "Services with an endpoint each, which a thousand routes on a hundred hosts go to; a \
                 warm connection to each; 32 connections."
            }
        }
    }

    /// The sizes that are measured.
    #[must_use]
    pub fn sizes(self) -> &'static [usize] {
        match self {
            Grows::Connections => &[100, 300, 1_000, 3_000, 9_000],
            Grows::Cores => &[1, 2],
            Grows::Endpoints => &[10, 100, 1_000, 2_500, 5_000],
            Grows::Routes => &[10, 100, 1_000, 3_000, 10_000],
            Grows::Services => &[10, 30, 100, 300, 1_000],
        }
    }

    /// The sizes that a model is asked about beyond what was measured.
    #[must_use]
    pub fn beyond(self) -> &'static [usize] {
        match self {
            Grows::Connections => &[100_000],
            Grows::Cores => &[],
            Grows::Endpoints => &[10_000],
            Grows::Routes => &[50_000],
            Grows::Services => &[10_000],
        }
    }

    fn load(self, size: usize, endpoints: &[SocketAddr]) -> Load {
        let one = || Load {
            document: format!(
                "{LISTENER}services:\n{}routes:\n{ALL}",
                service("s0", &endpoints[..1])
            ),
            requests: vec![request::get("shop.example", "/api/items")],
            warm_up: 1_000,
            connections: 32,
            workers: 1,
        };
        match self {
            Grows::Connections => Load {
                connections: size,
                warm_up: 2 * size,
                ..one()
            },
            Grows::Cores => Load {
                connections: 64,
                workers: size,
                ..one()
            },
            Grows::Endpoints => Load {
                document: format!(
                    "{LISTENER}services:\n{}routes:\n{ALL}",
                    service("s0", &endpoints[..size])
                ),
                // Twice round, and once more what a first round may have opened beside it.
                warm_up: 1_000 + 3 * size,
                ..one()
            },
            Grows::Routes => {
                let service = |_: usize| service("s0", &endpoints[..1]);
                routed(size, 1, service, one())
            }
            Grows::Services => {
                let service = |nr: usize| service(&format!("s{nr}"), &endpoints[nr..=nr]);
                let load = routed(SERVICE_ROUTES, size, service, one());
                Load {
                    warm_up: 1_000 + 3 * size,
                    ..load
                }
            }
        }
    }

    /// How many endpoints its largest size needs.
    fn endpoints(self) -> usize {
        match self {
            Grows::Endpoints | Grows::Services => self.sizes().iter().copied().max().unwrap_or(1),
            Grows::Connections | Grows::Cores | Grows::Routes => 1,
        }
    }
}

/// So many routes of `weir-micro`'s making that go to so many services.
fn routed(count: usize, services: usize, service: impl Fn(usize) -> String, load: Load) -> Load {
    let paths = [
        "/api/items0",
        "/api/items3",
        "/api/north/orders5/4711",
        "/files/a/b",
        "/static/page9",
    ];
    let requests = (0..documents::hosts(count)).flat_map(|nr| {
        let host = documents::host(count, nr, false);
        paths.map(|path| request::get(&host, path))
    });
    Load {
        document: routed_document(LISTENER, count, services, service),
        requests: requests.collect(),
        ..load
    }
}

/// The document of those routes.
pub(super) fn routed_document(
    listener: &str,
    count: usize,
    services: usize,
    service: impl Fn(usize) -> String,
) -> String {
    let text = documents::routes(count);
    // Its routes, with services of our own before them.
    let routes = text
        .split_once("routes:\n")
        .map_or("", |(_, routes)| routes);
    let mut document = format!("{listener}services:\n");
    for nr in 0..services {
        document.push_str(&service(nr));
    }
    document.push_str("routes:\n");
    for (nr, line) in routes.lines().enumerate() {
        let conditions = line
            .rsplit_once(", to: ")
            .map_or(line, |(before, _)| before);
        let _ = writeln!(document, "{conditions}, to: s{} }}", nr % services);
    }
    document
}

/// Measures a series.
///
/// # Errors
/// A gateway does not start, or does not answer as it should.
pub fn measure(grows: Grows, effort: &Effort, directory: &Path) -> io::Result<Vec<Point>> {
    let endpoints = origin::start(grows.endpoints())?;
    let program = effort.programs.join("weir-gateway");
    let mut points: Vec<Point> = Vec::new();
    for &size in grows.sizes() {
        let load = grows.load(size, &endpoints);
        let directory = directory.join(format!("{}-{size}-counted", grows.as_str()));
        std::fs::create_dir_all(&directory)?;
        let instructions = match effort.counted {
            0 => None,
            counted => {
                // All requests as often as each other.
                let counted = counted.next_multiple_of(load.requests.len());
                let counted = counted.max(load.connections);
                let gateway = Gateway::start(&program, &directory, &load, true)?;
                Some(gateway.instructions(counted)?)
            }
        };
        eprintln!("{} {size}: {instructions:?} instructions", grows.as_str());
        points.push(Point {
            size,
            instructions,
            cpu_us: Vec::new(),
            disturbed: 0,
            resident: 0,
            wake_ups: None,
        });
    }
    for round in 0..effort.rounds {
        for point in &mut points {
            let name = format!("{}-{}-{round}", grows.as_str(), point.size);
            let directory = directory.join(name);
            let load = grows.load(point.size, &endpoints);
            time(point, &program, &directory, &load, effort.timed)?;
            eprintln!("{} {}: {:?} µs", grows.as_str(), point.size, point.cpu_us);
        }
    }
    if grows == Grows::Routes
        && let Some(largest) = points.last_mut()
    {
        let load = grows.load(largest.size, &endpoints);
        let directory = directory.join("at-rest");
        let gateway = Gateway::start(&program, &directory, &load, false)?;
        std::thread::sleep(REST);
        largest.wake_ups = Some(gateway.wake_ups(REST)?);
    }
    Ok(points)
}

fn time(
    point: &mut Point,
    program: &Path,
    directory: &Path,
    load: &Load,
    requests: usize,
) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut gateway = Gateway::start(program, directory, load, false)?;
    let requests = requests.max(load.connections);
    let slice = gateway.time(requests)?;
    match slice.steal > STEAL_MAX {
        true => point.disturbed += 1,
        false => point.cpu_us.push(slice.cpu_us),
    }
    point.resident = gateway.resident()?;
    Ok(())
}

/// One service in a document, with its endpoints.
fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let addresses: Vec<_> = endpoints.iter().map(|it| format!("\"{it}\"")).collect();
    format!("  {name}: {{ endpoints: [{}] }}\n", addresses.join(", "))
}

const LISTENER: &str = "access_log: { file: /dev/null }\nlisteners:\n  web:\n    bind: \"{bind}\"\n    \
    connections_max: 20000\n    client_connections_max: 20000\n";
const ALL: &str = "  - { path: \"/*\", to: s0 }\n";
const SERVICE_ROUTES: usize = 1_000;
/// How long a gateway is let alone before its wake-ups are counted, and then over which they are.
const REST: Duration = Duration::from_secs(10);
