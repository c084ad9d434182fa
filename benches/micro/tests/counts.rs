//! No case takes more instructions or allocations than it did (`baseline.txt`), and every counted
//! case has a test here and a line there.
//!
//! Each test is one case in a process of its own below valgrind. They mean something only in the
//! profile that the baseline is of, so that elsewhere they are ignored.

#![allow(clippy::expect_used, reason = "tests")]

use std::path::Path;

use weir_micro::baseline::{Baseline, Environment};
use weir_micro::callgrind;
use weir_micro::cases::{self, CASES};

fn check(name: &str) {
    let case = cases::named(name).expect("a case of this name");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = Path::new(env!("CARGO_BIN_EXE_weir-micro"));
    let baseline = Baseline::read(&Baseline::path()).expect("a baseline");
    let here = Environment::here();
    let now = callgrind::count(program, case, directory).expect("a count");
    println!("{name}: {now:?}, {here}");
    if let Err(why) = baseline.compare(name, now, &here) {
        panic!("\n{why}\n");
    }
}

macro_rules! counted {
    ($($name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            #[cfg_attr(
                debug_assertions,
                ignore = "counts are of the profile `counted`: make micro-check"
            )]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

counted! {
    route_exact_10 route_template_10 route_expression_10 route_miss_10
    route_template_1000 route_expression_1000 route_exact_10000 route_miss_10000
    admit_plain admit_limit admit_token_warm admit_token_cold admit_token_limit
    phases_plain phases_token_limit
    limit_one_key limit_10000_keys
    choose_round_robin_10 choose_random_10 choose_least_request_10
    choose_peak_ewma_10 choose_ring_hash_10 choose_maglev_10
    choose_round_robin_5000 choose_random_5000 choose_least_request_5000
    choose_peak_ewma_5000 choose_ring_hash_5000 choose_maglev_5000
    compile_100
    framing_request_head framing_response_head framing_chunks framing_http2_frames
    log_line
}

#[test]
fn every_counted_case_has_a_test_and_a_line() {
    let mut counted: Vec<_> = CASES.iter().filter(|case| case.counted).collect();
    counted.sort_by_key(|case| case.name);
    let names: Vec<_> = counted.iter().map(|case| case.name).collect();
    let mut tested = TESTED.to_vec();
    tested.sort_unstable();
    assert_eq!(tested, names, "tests beside cases");
    let baseline = Baseline::read(&Baseline::path()).expect("a baseline");
    let written: Vec<_> = baseline.names().collect();
    assert_eq!(written, names, "lines of baseline.txt beside cases");
}

#[test]
fn every_case_runs() {
    for case in CASES.iter().filter(|case| !case.name.contains("0000")) {
        let mut work = (case.make)();
        (0..3).for_each(|_| work());
    }
}
