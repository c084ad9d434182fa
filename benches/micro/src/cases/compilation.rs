//! Reading and compiling a whole document, as every proxy does for every revision.

use std::hint::black_box;

use weir_policy::compile::{Elsewhere, read};
use weir_policy::live::Live;
use weir_policy::snapshot::Role;

use super::Work;
use crate::documents;

pub(super) fn read_and_compile(yaml: &str) {
    let live = Live::default();
    let snapshot = read(yaml, &Role::Gateway, "micro", &live, &Elsewhere);
    drop(black_box(snapshot.expect("a snapshot")));
}

pub(super) fn document(routes: usize) -> Work {
    let yaml = documents::routes(routes);
    Box::new(move || read_and_compile(black_box(&yaml)))
}
