//! The bench that every table uses: compiles a document and puts one request to it.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Version, request, response};
use weir_config::{ConfigErrors, Document};
use weir_policy::auth::Local;
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::moment::Moment;
use weir_policy::note::Recorder;
use weir_policy::pipeline::{self, Admitted, Then};
use weir_policy::refusal::Refusal;
use weir_policy::request::RequestView;
use weir_policy::snapshot::{ListenerId, Role, Snapshot};

pub const AT: Moment = Moment {
    nanos: 1_000_000_000,
    unix_seconds: 1_700_000_000,
};

pub fn document(yaml: &str) -> Document {
    Document::from_yaml(yaml).unwrap_or_else(|errors| panic!("{}", errors.render(yaml, "test")))
}

pub fn gateway(yaml: &str) -> Snapshot {
    compiled(yaml, &Role::Gateway).unwrap_or_else(|errors| panic!("{errors}"))
}

pub fn sidecar(yaml: &str) -> Snapshot {
    let application = "127.0.0.1:5000".parse().unwrap();
    let role = Role::Sidecar {
        service: "users".into(),
        application,
    };
    compiled(yaml, &role).unwrap_or_else(|errors| panic!("{errors}"))
}

pub fn compiled(yaml: &str, role: &Role) -> Result<Snapshot, ConfigErrors> {
    compile(Arc::new(document(yaml)), role, "test", &Live::default())
}

/// A request; what is not said is the plainest.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub listener: u16,
    pub remote: IpAddr,
    pub peer: Option<&'static str>,
    pub body_bytes: Option<u64>,
    pub secure: bool,
    pub draw: u64,
    pub at: Moment,
}

/// `GET /x`, with `Host: shop.example`.
pub fn ask(line: &str) -> Ask {
    let (method, target) = line.split_once(' ').expect("METHOD /target");
    let mut headers = HeaderMap::new();
    headers.insert("host", "shop.example".parse().unwrap());
    Ask {
        method: method.parse().unwrap(),
        target: target.to_owned(),
        headers,
        listener: 0,
        remote: "192.0.2.7".parse().unwrap(),
        peer: None,
        body_bytes: None,
        secure: false,
        draw: 0,
        at: AT,
    }
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        let name: HeaderName = name.parse().unwrap();
        match name.as_str() {
            "host" => drop(self.headers.insert(name, value.parse().unwrap())),
            _ => drop(self.headers.append(name, value.parse().unwrap())),
        }
        self
    }

    pub fn from(mut self, remote: &str) -> Ask {
        self.remote = remote.parse().unwrap();
        self
    }

    pub fn admit(&self, snapshot: &Snapshot) -> Result<Admitted, Refusal> {
        self.noted(snapshot).0
    }

    pub fn noted(&self, snapshot: &Snapshot) -> (Result<Admitted, Refusal>, Recorder) {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        let view = RequestView {
            listener: ListenerId(self.listener),
            method: &self.method,
            secure: self.secure,
            authority: None,
            path,
            query,
            headers: &self.headers,
            version: Version::HTTP_11,
            remote: self.remote,
            peer: self.peer,
            body_bytes: self.body_bytes,
        };
        let mut recorder = Recorder::default();
        let mut local = Local::default();
        let admitted = pipeline::admit(
            snapshot,
            &mut local,
            &view,
            self.at,
            self.draw,
            &mut recorder,
        );
        (admitted, recorder)
    }

    /// The route's name, or the refusal's code.
    pub fn outcome(&self, snapshot: &Snapshot) -> String {
        match self.admit(snapshot) {
            Ok(admitted) => snapshot.route(admitted.route).name.to_string(),
            Err(refusal) => refusal.code.as_str().to_owned(),
        }
    }

    /// The head that leaves.
    pub fn prepared(&self, snapshot: &Snapshot) -> request::Parts {
        let admitted = self.admit(snapshot).unwrap();
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = self.method.clone();
        head.uri = self.target.parse().unwrap();
        head.headers = self.headers.clone();
        pipeline::prepare(
            snapshot,
            &admitted,
            self.secure,
            &self.remote.into(),
            &mut head,
        );
        head
    }
}

/// The service that an admitted request goes to.
pub fn service_of(snapshot: &Snapshot, admitted: &Admitted) -> String {
    match &admitted.then {
        Then::Forward(forward) => snapshot.service(forward.service).name.to_string(),
        Then::Answer(response) => response.status().to_string(),
        Then::Delayed(delayed) => format!("waits {:?}", delayed.pause),
    }
}

/// The response head after `settle`.
pub fn settled(snapshot: &Snapshot, ask: &Ask, fields: &[(&str, &str)], status: u16) -> HeaderMap {
    let admitted = ask.admit(snapshot).unwrap();
    let (mut head, ()): (response::Parts, ()) = http::Response::new(()).into_parts();
    head.status = status.try_into().unwrap();
    for (name, value) in fields {
        head.headers
            .append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    pipeline::settle(
        snapshot,
        admitted.route,
        admitted.version,
        admitted.filled.as_deref(),
        &mut head,
    );
    head.headers
}
