//! Every case. Names are what the tests and the file of counts call them.

mod admission;
mod choice;
mod compilation;
mod framing;
mod line;
mod routing;

use admission::Guard;
use choice::Method;
use routing::Kind;

/// One operation that is set up and can then be run any number of times.
pub type Work = Box<dyn FnMut()>;

/// What is measured.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name: letters, digits and `_`.
    pub name: &'static str,
    /// Whether its instructions are counted in `make test`; all are timed by criterion.
    pub counted: bool,
    /// How many operations are counted.
    pub rounds: u32,
    /// Sets it up.
    pub make: fn() -> Work,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A case that is timed and counted.
const fn counted(name: &'static str, rounds: u32, make: fn() -> Work) -> Case {
    Case {
        name,
        counted: true,
        rounds,
        make,
    }
}

/// A case that is only timed, because to count it takes long and tells nothing more.
const fn timed(name: &'static str, make: fn() -> Work) -> Case {
    Case {
        name,
        counted: false,
        rounds: 1,
        make,
    }
}

/// Every case, by area.
pub const CASES: &[Case] = &[
    // Which route: hosts, templates, expressions, and none.
    counted("route_exact_10", 1024, || routing::lookup(Kind::Exact, 10)),
    counted("route_template_10", 1024, || {
        routing::lookup(Kind::Template, 10)
    }),
    counted("route_expression_10", 1024, || {
        routing::lookup(Kind::Expression, 10)
    }),
    counted("route_miss_10", 1024, || routing::lookup(Kind::Miss, 10)),
    timed("route_exact_1000", || routing::lookup(Kind::Exact, 1_000)),
    counted("route_template_1000", 1024, || {
        routing::lookup(Kind::Template, 1_000)
    }),
    counted("route_expression_1000", 1024, || {
        routing::lookup(Kind::Expression, 1_000)
    }),
    timed("route_miss_1000", || routing::lookup(Kind::Miss, 1_000)),
    counted("route_exact_10000", 1024, || {
        routing::lookup(Kind::Exact, 10_000)
    }),
    timed("route_template_10000", || {
        routing::lookup(Kind::Template, 10_000)
    }),
    timed("route_expression_10000", || {
        routing::lookup(Kind::Expression, 10_000)
    }),
    counted("route_miss_10000", 1024, || {
        routing::lookup(Kind::Miss, 10_000)
    }),
    // Whether it may go on.
    counted("admit_plain", 1024, || admission::admit(Guard::Nothing)),
    counted("admit_limit", 1024, || admission::admit(Guard::Limit)),
    counted("admit_token_warm", 1024, || {
        admission::admit(Guard::TokenWarm)
    }),
    counted("admit_token_cold", 16, || {
        admission::admit(Guard::TokenCold)
    }),
    counted("admit_token_limit", 1024, || admission::admit(Guard::Both)),
    // All five phases of a request without trouble.
    counted("phases_plain", 1024, || admission::phases(Guard::Nothing)),
    counted("phases_token_limit", 1024, || {
        admission::phases(Guard::Both)
    }),
    // The limit alone, over one key and over many.
    counted("limit_one_key", 1024, || admission::limit(1)),
    counted("limit_10000_keys", 1024, || admission::limit(10_000)),
    // Which endpoint.
    counted("choose_round_robin_10", 1024, || {
        choice::choose(Method::RoundRobin, 10)
    }),
    counted("choose_random_10", 1024, || {
        choice::choose(Method::Random, 10)
    }),
    counted("choose_least_request_10", 1024, || {
        choice::choose(Method::LeastRequest, 10)
    }),
    counted("choose_peak_ewma_10", 1024, || {
        choice::choose(Method::PeakEwma, 10)
    }),
    counted("choose_ring_hash_10", 1024, || {
        choice::choose(Method::RingHash, 10)
    }),
    counted("choose_maglev_10", 1024, || {
        choice::choose(Method::Maglev, 10)
    }),
    counted("choose_round_robin_5000", 1024, || {
        choice::choose(Method::RoundRobin, 5_000)
    }),
    counted("choose_random_5000", 1024, || {
        choice::choose(Method::Random, 5_000)
    }),
    counted("choose_least_request_5000", 1024, || {
        choice::choose(Method::LeastRequest, 5_000)
    }),
    counted("choose_peak_ewma_5000", 1024, || {
        choice::choose(Method::PeakEwma, 5_000)
    }),
    counted("choose_ring_hash_5000", 1024, || {
        choice::choose(Method::RingHash, 5_000)
    }),
    counted("choose_maglev_5000", 1024, || {
        choice::choose(Method::Maglev, 5_000)
    }),
    // A document becomes a snapshot.
    counted("compile_100", 4, || compilation::document(100)),
    timed("compile_10000", || compilation::document(10_000)),
    // What is HTTP at all.
    counted("framing_request_head", 1024, framing::request_head),
    counted("framing_response_head", 1024, framing::response_head),
    counted("framing_chunks", 1024, framing::chunks),
    counted("framing_http2_frames", 1024, framing::frames),
    // What is written about it.
    counted("log_line", line::LINES / 2, line::write),
];

/// The case of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}
