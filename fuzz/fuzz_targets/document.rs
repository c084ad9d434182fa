//! A document that somebody wrote: reading and checking it never panics, what is refused has an
//! error that says why, and what is accepted compiles.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use weir_policy::compile::{Elsewhere, check, compile};
use weir_policy::live::Live;
use weir_policy::snapshot::Role;

fuzz_target!(|text: &str| match check(text, &Elsewhere) {
    Ok(checked) => {
        let document = Arc::new(checked.document);
        assert!(compile(document, &Role::Gateway, "fuzz", &Live::default()).is_ok());
    }
    Err(errors) => assert!(!errors.0.is_empty()),
});
