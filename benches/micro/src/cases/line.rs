//! One line of the access log into the buffer of its worker.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use weir_telemetry::access_log::{AccessLog, AccessRecord, LogTarget};
use weir_telemetry::registry::Registry;
use weir_telemetry::termination::Termination;

use super::Work;

/// So many lines stay in the buffer: nothing is handed to the writer while half of them are
/// counted, after the other half.
pub(super) const LINES: u32 = 48;

pub(super) fn write() -> Work {
    let target = LogTarget::File("/dev/null".into());
    let log = AccessLog::start(target, &Registry::new(1)).expect("a writer");
    let mut buffer = log.buffer(0);
    let mut record = AccessRecord {
        time_unix_ms: 1_900_000_000_000,
        listener: "web",
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        client_port: 40_000,
        method: "GET",
        scheme: "https",
        host: b"shop.example",
        path: b"/api/north/orders5/4711?page=2",
        protocol: http::Version::HTTP_11,
        status: 200,
        grpc_status: None,
        termination: Termination::Ok,
        reason: None,
        decision_id: None,
        route: Some("h1.example /api/{tenant}/orders5/{id}"),
        api_version: None,
        service: Some("orders"),
        endpoint: Some("10.0.0.5:5000"),
        attempts: 1,
        request_bytes: 0,
        response_bytes: 1024,
        duration_us: 1_234,
        upstream_us: Some(1_100),
        fault_delay_us: None,
        fallback: None,
        cache: None,
        hedge: None,
        mock: false,
        openapi_report: None,
        trace_id: None,
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64) micro/1.0"),
        peer: None,
        revision: 17,
    };
    // The buffer is there before anything is measured.
    buffer.write(&record);
    buffer.flush();
    buffer.write(&record);
    Box::new(move || {
        let _keeps = &log;
        record.time_unix_ms += 1;
        buffer.write(black_box(&record));
    })
}
