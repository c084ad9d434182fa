//! gRPC calls: their deadlines, and what is said about them.

use std::time::Duration;

use weir_policy::grpc::Flavour;
use weir_policy::pipeline::Then;

use crate::bench::{ask, gateway};

const BASE: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services:
  any: { endpoints: ["127.0.0.1:1"], protocol: http2, timeouts: { response: 2s, total: 3s } }
  short: { endpoints: ["127.0.0.1:1"], protocol: http2, timeouts: { grpc: 10s, idle: 20s } }
routes:
  - { path: "/any/*", to: any }
  - { path: "/short/*", to: short }
  - { path: "/own/*", to: short, timeouts: { grpc: 1m } }
"#;

#[test]
fn a_call_may_take_what_its_client_asks_for_and_the_route_grants() {
    let snapshot = gateway(BASE);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let table = [
        ("/any/A", None, None, 300),
        ("/any/A", Some("5H"), seconds(18_000), 300),
        ("/short/A", None, None, 20),
        (
            "/short/A",
            Some("9999m"),
            Some(Duration::from_millis(9999)),
            20,
        ),
        ("/short/A", Some("10S"), seconds(10), 20),
        ("/short/A", Some("10001m"), seconds(10), 20),
        ("/own/A", Some("2M"), seconds(60), 20),
    ];
    for (path, asked, deadline, response) in table {
        let mut ask = ask(&format!("POST {path}")).header("content-type", "application/grpc");
        if let Some(asked) = asked {
            ask = ask.header("grpc-timeout", asked);
        }
        let admitted = ask.admit(&snapshot).unwrap();
        let Then::Forward(forward) = &admitted.then else {
            panic!("{path}")
        };
        assert_eq!(forward.call, Some(Flavour::Grpc));
        assert_eq!(forward.timeouts.total, deadline, "{path} {asked:?}");
        // The head may come as late as any message.
        assert_eq!(
            forward.timeouts.response,
            Duration::from_secs(response),
            "{path}"
        );
    }
}

#[test]
fn what_is_no_call_has_the_deadlines_of_its_route() {
    let snapshot = gateway(BASE);
    let ask = ask("POST /any/A")
        .header("content-type", "application/json")
        .header("grpc-timeout", "nonsense");
    let admitted = ask.admit(&snapshot).unwrap();
    let Then::Forward(forward) = &admitted.then else {
        panic!()
    };
    assert_eq!(forward.call, None);
    assert_eq!(forward.timeouts.response, Duration::from_secs(2));
    assert_eq!(forward.timeouts.total, Some(Duration::from_secs(3)));
}

#[test]
fn a_deadline_that_is_none_is_refused() {
    let snapshot = gateway(BASE);
    let call = ask("POST /any/A").header("content-type", "application/grpc+proto");
    let refusal = call
        .clone()
        .header("grpc-timeout", "5")
        .admit(&snapshot)
        .unwrap_err();
    assert_eq!(refusal.code.as_str(), "grpc-timeout-invalid");
    let (admitted, recorder) = call.header("grpc-timeout", "5S").noted(&snapshot);
    assert!(admitted.is_ok());
    let said: Vec<_> = recorder
        .steps
        .iter()
        .filter(|step| step.area == "grpc")
        .collect();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].said, "a gRPC call that may take 5s");
}
