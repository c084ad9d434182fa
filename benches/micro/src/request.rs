//! A request as the engine would show it to policy.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method, Version, request};
use weir_policy::moment::Moment;
use weir_policy::request::RequestView;
use weir_policy::snapshot::ListenerId;

/// When everything happens.
pub const AT: Moment = Moment {
    nanos: 1_000_000_000,
    unix_seconds: 1_900_000_000,
};

/// What a browser or a client library sends at least.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Path, without query.
    pub path: String,
    /// Header fields.
    pub headers: HeaderMap,
    /// Address of the other side.
    pub remote: IpAddr,
}

impl Asked {
    /// `GET` of this path on this host, with the fields that nearly every client sends.
    #[must_use]
    pub fn new(host: &str, path: &str) -> Asked {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", host),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) micro/1.0"),
            ("accept", "application/json, text/plain;q=0.9, */*;q=0.8"),
            ("accept-encoding", "gzip, deflate, br"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
        ] {
            headers.insert(name, HeaderValue::from_str(value).expect("a field value"));
        }
        Asked {
            method: Method::GET,
            path: path.to_owned(),
            headers,
            remote: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        }
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Asked {
        let value = HeaderValue::from_str(value).expect("a field value");
        self.headers.insert(name, value);
        self
    }

    /// How policy sees it.
    #[must_use]
    pub fn view(&self) -> RequestView<'_> {
        RequestView {
            listener: ListenerId(0),
            method: &self.method,
            secure: false,
            authority: None,
            path: &self.path,
            query: None,
            headers: &self.headers,
            version: Version::HTTP_11,
            remote: self.remote,
            peer: None,
            body_bytes: None,
        }
    }

    /// The head that the engine would send on.
    #[must_use]
    pub fn head(&self) -> request::Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = self.method.clone();
        head.uri = self.path.parse().expect("a path");
        head.headers = self.headers.clone();
        head
    }
}
