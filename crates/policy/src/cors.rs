//! Cross-origin resource sharing: which pages may read answers, and preflights.
//!
//! For: the CORS protocol of the Fetch standard (3.2). Not for: stopping requests; a page that may
//! not read an answer can still cause a simple request, which tokens and limits are for. The one
//! idea: what the document says is the only word on it, so what a service says is taken out.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use weir_config::cors::{Cors, OriginPattern};

use crate::refusal::{Code, Refusal};
use crate::request::RequestView;
use crate::rewrite::has_token;

/// CORS as one route has it.
#[derive(Debug)]
pub struct CorsPlan {
    any: bool,
    exact: Vec<Box<str>>,
    below: Vec<(Box<str>, Box<str>)>,
    methods: Vec<Method>,
    methods_value: HeaderValue,
    /// `None`: those that are asked for.
    headers_value: Option<HeaderValue>,
    headers: Vec<HeaderName>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

impl CorsPlan {
    /// What was written.
    #[must_use]
    pub fn compile(written: &Cors) -> CorsPlan {
        let mut plan = CorsPlan {
            any: false,
            exact: Vec::new(),
            below: Vec::new(),
            methods: written.methods.clone(),
            methods_value: listed(written.methods.iter().map(Method::as_str))
                .unwrap_or(HeaderValue::from_static("GET")),
            headers_value: listed(written.headers.iter().map(HeaderName::as_str)),
            headers: written.headers.clone(),
            expose: listed(written.expose.iter().map(HeaderName::as_str)),
            credentials: written.credentials,
            max_age: HeaderValue::from(written.max_age.as_secs()),
        };
        for origin in &written.origins {
            match origin {
                OriginPattern::Any => plan.any = true,
                OriginPattern::Exact(origin) => plan.exact.push(origin.as_str().into()),
                OriginPattern::Below { scheme, suffix } => {
                    plan.below
                        .push((scheme.as_str().into(), suffix.as_str().into()));
                }
            }
        }
        plan
    }

    /// What the answer to this request says in `Access-Control-Allow-Origin`; `None` for requests
    /// that no page of another origin sent, and for pages that may not read it.
    #[must_use]
    pub fn grant(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let mut origins = request.get_all(ORIGIN).iter();
        let origin = origins.next()?;
        if origins.next().is_some() {
            return None;
        }
        if self.any {
            // Refused together with credentials when a document is read.
            return Some(HeaderValue::from_static("*"));
        }
        self.allows(origin).then(|| origin.clone())
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let below = |(scheme, suffix): &(Box<str>, Box<str>)| {
            origin
                .strip_prefix(&**scheme)
                .and_then(|host| host.strip_suffix(&**suffix))
                .is_some_and(|labels| !labels.is_empty() && labels.bytes().all(is_host_byte))
        };
        self.exact.iter().any(|exact| **exact == *origin) || self.below.iter().any(below)
    }

    /// The answer to a preflight.
    ///
    /// # Errors
    /// `origin-denied` where the page, the method or a header that it wants to send is not allowed.
    pub(crate) fn preflight(
        &self,
        asked: &Method,
        request: &HeaderMap,
    ) -> Result<Response<bytes::Bytes>, Refusal> {
        let denied = |what: &str| Refusal::new(Code::OriginDenied).with_detail(what.to_owned());
        let grant = self
            .grant(request)
            .ok_or_else(|| denied("this origin is not among `cors.origins`"))?;
        if !self.methods.contains(asked) {
            return Err(denied("this method is not among `cors.methods`"));
        }
        let wanted = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if let (false, Some(wanted)) = (self.headers.is_empty(), wanted) {
            let allowed = |name: &[u8]| {
                let name = name.trim_ascii();
                self.headers
                    .iter()
                    .any(|header| header.as_str().as_bytes().eq_ignore_ascii_case(name))
            };
            if !wanted.as_bytes().split(|&byte| byte == b',').all(allowed) {
                return Err(denied("a header is not among `cors.headers`"));
            }
        }
        let mut response = Response::new(bytes::Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods_value.clone());
        if let Some(allowed) = self.headers_value.as_ref().or(wanted) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        headers.insert(VARY, VARY_OF_PREFLIGHTS);
        self.share(Some(grant), headers, false);
        Ok(response)
    }

    /// Says in the head of an answer who may read it; with `replace`, whatever the service said of
    /// it goes.
    pub fn share(&self, grant: Option<HeaderValue>, headers: &mut HeaderMap, replace: bool) {
        if replace {
            for name in [
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                ACCESS_CONTROL_ALLOW_HEADERS,
                ACCESS_CONTROL_ALLOW_METHODS,
                ACCESS_CONTROL_ALLOW_ORIGIN,
                ACCESS_CONTROL_EXPOSE_HEADERS,
                ACCESS_CONTROL_MAX_AGE,
            ] {
                headers.remove(name);
            }
        }
        if !self.any && !has_token(headers, &VARY, "origin") {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = grant else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if let Some(expose) = &self.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// The method that a preflight asks about; `None` for every other request.
pub(crate) fn preflight_of(request: &RequestView<'_>) -> Option<Method> {
    if *request.method != Method::OPTIONS || !request.headers.contains_key(ORIGIN) {
        return None;
    }
    let asked = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

fn listed<'a>(items: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let text = items.collect::<Vec<_>>().join(", ");
    // Names of methods and headers make header values.
    HeaderValue::try_from(text)
        .ok()
        .filter(|value| !value.is_empty())
}

/// What a host name, with its labels, is made of.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

const VARY_OF_PREFLIGHTS: HeaderValue =
    HeaderValue::from_static("access-control-request-headers, access-control-request-method");

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn plan(cors: &str) -> CorsPlan {
        let text = format!("routes: [{{ path: /, respond: {{ status: 200 }}, cors: {cors} }}]");
        let document = weir_config::Document::from_yaml(&text).unwrap();
        CorsPlan::compile(document.routes[0].cors.as_ref().unwrap())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_listed_origins_are_granted() {
        let listed = plan(
            "[https://shop.example, \"https://*.partner.example\", \"http://localhost:3000\"]",
        );
        for (origin, granted) in [
            ("https://shop.example", true),
            ("https://a.partner.example", true),
            ("https://a.b.partner.example", true),
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("http://shop.example", false),
            ("https://shop.example:8443", false),
            ("https://shop.example.evil.example", false),
            ("https://evilshop.example", false),
            ("https://partner.example", false),
            ("https://evil.example/.partner.example", false),
            ("https://evil.example#.partner.example", false),
            ("https://user@a.partner.example", false),
            ("null", false),
        ] {
            let grant = listed.grant(&headers(&[("origin", origin)]));
            assert_eq!(grant.is_some(), granted, "{origin}");
            assert!(grant.is_none_or(|grant| grant == origin));
        }
        assert_eq!(listed.grant(&HeaderMap::new()), None);
        let twice = headers(&[("origin", "https://shop.example"), ("origin", "null")]);
        assert_eq!(listed.grant(&twice), None);
        let any = plan("[\"*\"]");
        assert_eq!(any.grant(&headers(&[("origin", "null")])).unwrap(), "*");
    }

    #[test]
    fn a_preflight_is_answered_for_what_it_asks() {
        let told = plan(
            "{ origins: [https://a.example], methods: [GET, PUT], headers: [x-a, content-type], \
             credentials: true, max_age: 1h }",
        );
        let asking = |more: &[(&'static str, &str)]| {
            let mut all = headers(&[("origin", "https://a.example")]);
            all.extend(headers(more));
            all
        };
        let asked = asking(&[("access-control-request-headers", "X-A , content-type")]);
        let answer = told.preflight(&Method::PUT, &asked).unwrap();
        assert_eq!(answer.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "x-a, content-type"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "3600"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
        for (method, more) in [
            (Method::DELETE, ("x", "")),
            (Method::PUT, ("access-control-request-headers", "x-b")),
            (Method::PUT, ("access-control-request-headers", "x-a,")),
        ] {
            let refused = told.preflight(&method, &asking(&[more])).unwrap_err();
            assert_eq!(refused.code, Code::OriginDenied);
        }
        let stranger = headers(&[("origin", "https://b.example")]);
        assert!(told.preflight(&Method::GET, &stranger).is_err());

        let free = plan("[https://a.example]");
        let asked = asking(&[("access-control-request-headers", "x-anything")]);
        let answer = free.preflight(&Method::PATCH, &asked).unwrap();
        assert_eq!(
            answer.headers()["access-control-allow-headers"],
            "x-anything"
        );
    }

    #[test]
    fn what_the_service_says_is_replaced() {
        let told = plan("{ origins: [https://a.example], expose: [x-total] }");
        let said = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("vary", "accept"),
        ];
        let mut head = headers(&said);
        told.share(
            Some(HeaderValue::from_static("https://a.example")),
            &mut head,
            true,
        );
        assert_eq!(head["access-control-allow-origin"], "https://a.example");
        assert_eq!(head["access-control-expose-headers"], "x-total");
        assert!(!head.contains_key("access-control-allow-credentials"));
        assert_eq!(
            head.get_all("vary").iter().collect::<Vec<_>>(),
            ["accept", "origin"]
        );

        let mut head = headers(&said);
        told.share(None, &mut head, true);
        assert!(!head.contains_key("access-control-allow-origin"));
        assert!(head.get_all("vary").iter().any(|vary| vary == "origin"));
    }
}
