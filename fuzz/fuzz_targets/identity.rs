//! What a peer or an operator presents: SPIFFE ids, join tokens, PEM bundles, certificates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_identity::{JoinToken, SpiffeId, TrustBundle, peer_id};

fuzz_target!(|data: &[u8]| {
    let _ = peer_id(&[data.into()]);
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(id) = SpiffeId::parse(text) {
            assert_eq!(
                id.to_string(),
                text,
                "an accepted id is written as it was read"
            );
        }
        let _ = JoinToken::parse(text);
        let _ = TrustBundle::from_pem(text);
    }
});
