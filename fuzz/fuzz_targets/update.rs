//! A line of the control plane's stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_protocol::Update;

fuzz_target!(|data: &[u8]| {
    if let Ok(update) = serde_json::from_slice::<Update>(data) {
        let again = serde_json::to_vec(&update).expect("an update can be written");
        let read: Update = serde_json::from_slice(&again).expect("what was written can be read");
        assert_eq!(read, update);
    }
});
