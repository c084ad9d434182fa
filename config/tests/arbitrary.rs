//! No text makes the decoder panic or run away, and what it says always has a place in the text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use weir_config::units::{Percent, Rate, Size, duration_text, parse_duration};
use weir_config::{Document, schema};

static VALIDATOR: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&schema::schema()).unwrap());

fn check(text: &str) {
    let Err(errors) = Document::from_yaml(text) else {
        return;
    };
    assert!(!errors.0.is_empty());
    let lines = text.split(['\n', '\r']).count();
    for error in &errors.0 {
        assert!(error.at.line as usize <= lines + 1, "{error}");
        assert!(
            !error.problem.is_empty() && !error.problem.contains('\n'),
            "{error:?}"
        );
    }
    errors.render(text, "weir.yaml");
}

/// Pieces that YAML and the language know, so that random sequences get further than noise does.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "listeners",
        "services",
        "routes",
        "issuers",
        "access_log",
        "trusted_proxies",
        "bind",
        "endpoints",
        "dns",
        "mesh",
        "consul",
        "file",
        "path",
        "to",
        "respond",
        "redirect",
        "limit",
        "rate",
        "by",
        "auth",
        "jwt",
        "claims",
        "retry",
        "outlier",
        "timeouts",
        "status",
        "weight",
        "service",
        "headers",
        "request_headers",
        "set",
        "tls",
        "certificates",
        "jwks",
        ": ",
        ":\n  ",
        "\n- ",
        "\n",
        "\n  ",
        "\n    ",
        "{ ",
        " }",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!str ",
        "!x ",
        "|\n",
        ">-\n",
        "# ",
        "---\n",
        "...\n",
        "? ",
        "<<: ",
        "\t",
        "\u{feff}",
        "0",
        "-1",
        "1e9",
        "true",
        "~",
        "5s",
        "64KiB",
        "100/s",
        "20%",
        "/x/*",
        "\"/{id}\"",
        "127.0.0.1:80",
        "\"[::]:80\"",
        "ä",
        "\u{0}",
        "\u{85}",
        "\\",
        "%",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(piece(), 0..60)) {
        check(&pieces.concat());
    }

    /// A good document with one stretch of it replaced.
    #[test]
    fn any_damage(
        example in prop::sample::select(vec![
            include_str!("../examples/auth-and-limits.yaml"),
            include_str!("../examples/edge-tls.yaml"),
            include_str!("../examples/mesh.yaml"),
            include_str!("../examples/resilience.yaml"),
        ]),
        from in any::<prop::sample::Index>(),
        length in 0..30_usize,
        instead in prop_oneof![piece(), Just(String::new())],
    ) {
        let characters: Vec<char> = example.chars().collect();
        let from = from.index(characters.len());
        let to = characters.len().min(from + length);
        let mut text: String = characters[..from].iter().collect();
        text.push_str(&instead);
        text.extend(&characters[to..]);
        check(&text);
        // The schema is never stricter than the decoder.
        if Document::from_yaml(&text).is_ok() {
            let instance = schema::instance(&text).unwrap();
            if let Err(error) = VALIDATOR.validate(&instance) {
                panic!("{}: {error}\n{text}", error.instance_path());
            }
        }
    }

    #[test]
    fn units_of_any_text(text in any::<String>()) {
        let _ = text.parse::<Size>();
        let _ = text.parse::<Rate>();
        let _ = text.parse::<Percent>();
        let _ = parse_duration(&text);
    }

    #[test]
    fn units_read_what_they_write(
        bytes in any::<u64>(),
        count in 1..u32::MAX,
        share in 0..=100_000_u32,
        window_ms in 1..=86_400_000_u64,
        ms in 0..=604_800_000_u64,
    ) {
        let size = Size(bytes);
        assert_eq!(size.to_string().parse(), Ok(size));
        let rate = Rate { count, per: Duration::from_millis(window_ms) };
        assert_eq!(rate.to_string().parse(), Ok(rate));
        let percent = Percent(share);
        assert_eq!(percent.to_string().parse(), Ok(percent));
        let duration = Duration::from_millis(ms);
        assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
    }
}
