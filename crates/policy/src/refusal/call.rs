//! How gRPC calls are told of a refusal: a response without messages, its status in the head.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::Refusal;
use crate::grpc::{Flavour, MESSAGE_HEADER, PUSHBACK_HEADER, STATUS_HEADER, Status};

impl Refusal {
    /// The whole answer to a gRPC call: always 200, see `PROTOCOL-HTTP2.md`, "Trailers-Only".
    #[must_use]
    pub fn call_response(&self, flavour: Flavour, decision_id: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.extend(self.headers(decision_id));
        headers.insert(CONTENT_TYPE, flavour.content_type());
        self.write_status(headers);
        if let Some(after) = self.retry_after {
            let millis = after.as_nanos().div_ceil(1_000_000);
            let millis = i32::try_from(millis).unwrap_or(i32::MAX);
            headers.insert(PUSHBACK_HEADER, HeaderValue::from(millis));
        }
        response
    }

    /// The trailers of a call that ends so after its response has begun.
    #[must_use]
    pub fn call_trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        self.write_status(&mut trailers);
        trailers.insert(
            super::REASON_HEADER,
            HeaderValue::from_static(self.code.as_str()),
        );
        trailers
    }

    /// The status that a call ends with.
    #[must_use]
    pub fn call_status(&self) -> Status {
        let row = self.code.row();
        match self.status() == row.status {
            true => row.grpc,
            false => Status::of_http(self.status()),
        }
    }

    fn write_status(&self, fields: &mut HeaderMap) {
        let row = self.code.row();
        fields.insert(
            STATUS_HEADER,
            HeaderValue::from_static(self.call_status().as_str()),
        );
        let message = match &self.detail {
            Some(detail) => format!("{}: {detail}", row.title),
            None => row.title.to_owned(),
        };
        let message = utf8_percent_encode(&message, MESSAGE_ENCODED).to_string();
        if let Ok(message) = HeaderValue::try_from(message) {
            fields.insert(MESSAGE_HEADER, message);
        }
    }
}

/// What `grpc-message` may not hold as it is; beyond ASCII everything is encoded anyway.
const MESSAGE_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::time::Duration;

    use super::super::Code;
    use super::*;

    #[test]
    fn a_call_is_told_by_status_and_message() {
        let refusal = Refusal::new(Code::RateLimited)
            .with_detail("1/s, 100 % used\u{e4}")
            .with_retry_after(Duration::from_micros(1500));
        let response = refusal.call_response(Flavour::Grpc, "d-1");
        assert_eq!(response.status(), 200);
        assert!(response.body().is_empty());
        let expected = [
            ("content-type", "application/grpc"),
            ("grpc-status", "8"),
            ("grpc-message", "Too many requests: 1/s, 100 %25 used%C3%A4"),
            ("grpc-retry-pushback-ms", "2"),
            ("weir-reason", "rate-limited"),
            ("weir-decision", "d-1"),
            ("retry-after", "1"),
        ];
        for (name, value) in expected {
            assert_eq!(response.headers()[name], value, "{name}");
        }
        let web = Refusal::new(Code::NoRoute).call_response(Flavour::WebText, "d");
        assert_eq!(
            web.headers()["content-type"],
            "application/grpc-web-text+proto"
        );
        assert!(!web.headers().contains_key("grpc-retry-pushback-ms"));
    }

    #[test]
    fn statuses_that_clients_rely_on() {
        let table = [
            (Code::BadPath, 13),
            (Code::BodyTooLarge, 8),
            (Code::BreakerOpen, 14),
            (Code::ClaimDenied, 7),
            (Code::ConnectTimeout, 14),
            (Code::GrpcDeadline, 4),
            (Code::GrpcTimeout, 4),
            (Code::Internal, 13),
            (Code::MethodNotAllowed, 12),
            (Code::NoRoute, 12),
            (Code::TokenMissing, 16),
            (Code::TotalTimeout, 4),
            (Code::UpstreamReset, 14),
            (Code::UpstreamTimeout, 4),
        ];
        for (code, status) in table {
            assert_eq!(code.row().grpc.number(), status, "{code}");
        }
    }
}
