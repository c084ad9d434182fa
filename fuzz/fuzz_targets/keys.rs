//! A JSON Web Key Set of an issuer, and a token of a client that is checked with it. Nobody has
//! signed the token, so nothing lets it in.
#![no_main]

use std::sync::{Arc, LazyLock};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Version};
use libfuzzer_sys::fuzz_target;
use weir_config::Document;
use weir_config::auth::Algorithm;
use weir_policy::auth::Local;
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::moment::Moment;
use weir_policy::pipeline::admit;
use weir_policy::request::RequestView;
use weir_policy::snapshot::{ListenerId, Role, Snapshot};

/// One route that wants a token.
static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let document = Document::from_yaml(
        r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
issuers: { shop: { issuer: i, audience: a, jwks: "https://id.example/jwks.json" } }
routes: [{ path: "/*", auth: { jwt: shop }, respond: { status: 200 } }]
"#,
    )
    .expect("the document is valid");
    compile(Arc::new(document), &Role::Gateway, "fuzz", &Live::default())
        .expect("the document compiles")
});

fuzz_target!(|data: (&[u8], &[u8])| {
    let (keys, token) = data;
    let live = &SNAPSHOT.issuers[0].live;
    if let Ok(usable) = live.install(
        keys,
        &[Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
    ) {
        assert!(usable > 0);
        assert_eq!(live.status().keys.len(), usable);
    }
    let mut headers = HeaderMap::new();
    let Ok(bearer) = HeaderValue::from_bytes(&[b"Bearer ", token].concat()) else {
        return;
    };
    headers.insert(AUTHORIZATION, bearer);
    let request = RequestView {
        listener: ListenerId(0),
        method: &Method::GET,
        secure: false,
        authority: Some("a"),
        path: "/",
        query: None,
        headers: &headers,
        version: Version::HTTP_11,
        remote: [127, 0, 0, 1].into(),
        peer: None,
        body_bytes: Some(0),
    };
    let mut local = Local::default();
    let admitted = admit(
        &SNAPSHOT,
        &mut local,
        &request,
        Moment {
            nanos: 0,
            unix_seconds: 1_800_000_000,
        },
        0,
        &mut (),
    );
    assert!(admitted.is_err(), "a token that nobody signed");
});
