//! How an endpoint of a service is chosen.

use std::time::Duration;

use crate::bounds::MAGLEV_TABLE_MAX;
use crate::declare::{defaulted, object, optional, required, variants, words};
use crate::decode::{Complaint, Decoder};
use crate::limit::LimitKey;
use crate::shape::{Accepts, Shape};
use crate::syntax::auth::hash_key;
use crate::syntax::http::cookie_name;
use crate::syntax::plain::{whole, word};
use crate::syntax::text::Text;
use crate::syntax::unit::{duration, ratio};
use crate::syntax::variant::{by_key_shape, read_by_key};
use crate::syntax::{Declared, Syntax, of};
use crate::units::Ratio;
use crate::yaml::{Node, Value};

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Balance {
    /// The fewer active requests of two drawn at random.
    LeastRequest,
    /// By a key of the request: a table in which every endpoint has as many places as its weight
    /// says.
    Maglev(Maglev),
    /// The lower expected latency (decaying average times active requests) of two drawn at random.
    PeakEwma,
    /// Drawn at random by weight.
    Random,
    /// By a key of the request: the next point on a ring.
    RingHash(RingHash),
    /// In turn, by weight.
    #[default]
    RoundRobin,
}

impl Balance {
    /// How a document writes it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Balance::LeastRequest => Method::LeastRequest.as_str(),
            Balance::Maglev(_) => "maglev",
            Balance::PeakEwma => Method::PeakEwma.as_str(),
            Balance::Random => Method::Random.as_str(),
            Balance::RingHash(_) => "ring-hash",
            Balance::RoundRobin => Method::RoundRobin.as_str(),
        }
    }

    /// The key of a request that decides, where one does.
    pub fn key(&self) -> Option<&LimitKey> {
        match self {
            Balance::Maglev(maglev) => Some(&maglev.by),
            Balance::RingHash(ring) => Some(&ring.by),
            _ => None,
        }
    }

    /// The bound on an endpoint's load, relative to the mean; `None` for no bound.
    pub fn load_max(&self) -> Option<Ratio> {
        match self {
            Balance::Maglev(maglev) => maglev.load_max,
            Balance::RingHash(ring) => ring.load_max,
            _ => None,
        }
    }
}

words! {
    /// The methods that need nothing else to be said.
    enum Method {
        /// The fewer active requests of two drawn at random.
        LeastRequest = "least-request",
        /// The lower expected latency (decaying average times active requests) of two drawn at
        /// random.
        PeakEwma = "peak-ewma",
        /// Drawn at random by weight.
        Random = "random",
        /// In turn, by weight.
        RoundRobin = "round-robin",
    }
}

impl From<Method> for Balance {
    fn from(method: Method) -> Balance {
        match method {
            Method::LeastRequest => Balance::LeastRequest,
            Method::PeakEwma => Balance::PeakEwma,
            Method::Random => Balance::Random,
            Method::RoundRobin => Balance::RoundRobin,
        }
    }
}

variants! {
    /// The methods that choose by a key of the request.
    enum Hashing {
        /// `maglev: { by: header.x-user }`: the same key goes to the same endpoint, by a table.
        /// The most even one.
        Maglev(Maglev) = "maglev", of::<Maglev>() => Hashing::Maglev,
        /// `ring-hash: { by: header.x-user }`: the same key goes to the same endpoint, by a ring.
        /// The same choice as nginx makes with `hash … consistent`.
        RingHash(RingHash) = "ring-hash", of::<RingHash>() => Hashing::RingHash,
    }
}

impl Declared for Balance {
    fn read(node: &Node, decoder: &mut Decoder) -> Option<Self> {
        match &node.value {
            Value::Map(_) => read_by_key(node, decoder, "a method").map(|hashing| match hashing {
                Hashing::Maglev(maglev) => Balance::Maglev(maglev),
                Hashing::RingHash(ring) => Balance::RingHash(ring),
            }),
            _ => word::<Method>().read(node, decoder).map(Balance::from),
        }
    }

    fn shape() -> Shape {
        Shape::Object(|| {
            by_key_shape::<Hashing>(
                "Balance",
                "How an endpoint is chosen: one word, or by a key of the request. A request that \
                 has no such key is balanced by `round-robin`.",
                word::<Method>().shape(),
            )
        })
    }
}

object! {
    /// Consistent hashing on a ring: 160 points for each unit of weight, at most a million in all.
    /// The key alone says it too.
    pub struct RingHash: Eq {
        short hash_key() => |by, _| RingHash { by, load_max: None };
        /// What decides: `client`, `path`, `header.NAME`, `cookie.NAME`, `query.NAME` or
        /// `claim.NAME`.
        pub by: LimitKey = required(hash_key()),
        /// Most requests in flight at one endpoint, relative to the mean of all: the next one on
        /// the ring takes what is more.
        pub load_max: Option<Ratio> = optional(load_max()).note("no bound"),
    }
}

object! {
    /// Consistent hashing by a table, as Maglev does it. The key alone says it too.
    pub struct Maglev: Eq {
        short hash_key() => |by, _| Maglev { by, load_max: None, table: MAGLEV_TABLE_DEFAULT };
        check Maglev::check;
        /// What decides: `client`, `path`, `header.NAME`, `cookie.NAME`, `query.NAME` or
        /// `claim.NAME`.
        pub by: LimitKey = required(hash_key()),
        /// Most requests in flight at one endpoint, relative to the mean of all: another one takes
        /// what is more.
        pub load_max: Option<Ratio> = optional(load_max()).note("no bound"),
        /// Places of the table, a prime number: a hundred times the number of endpoints keeps
        /// their shares within a percent.
        pub table: u32 = defaulted(whole(MAGLEV_TABLE_MIN, MAGLEV_TABLE_MAX), MAGLEV_TABLE_DEFAULT),
    }
}

object! {
    /// Stickiness by a cookie that Weir issues: it names the endpoint, in a form that says nothing
    /// about its address, and goes to scripts of no page (`HttpOnly; SameSite=Lax`, over TLS also
    /// `Secure`). When the endpoint is gone or unfit, another is chosen and named. The name of the
    /// cookie alone says it too.
    pub struct Sticky: Eq {
        short cookie_name() => |cookie, _| Sticky { cookie, ttl: None, key: None };
        /// Name of the cookie. Services whose requests share a host need different ones.
        pub cookie: String = required(cookie_name()),
        /// How long it holds, from when it was issued.
        pub ttl: Option<Duration> = optional(duration()).note("until the browser is closed"),
        /// Any text of at least 16 characters, the same at every gateway, with which addresses are
        /// hashed. Without one, who can guess an address can find out that it is the one.
        pub key: Option<Secret> = optional(secret()).note("the service's name"),
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn secret() -> Text<Secret> {
    Text {
        what: "a secret text of at least 16 characters",
        pattern: Some("^[\\s\\S]{16,}$"),
        accepts: Accepts::Text,
        parse: |text| match text.chars().count() {
            16.. => Ok(Secret(text.to_owned())),
            short => Err(Complaint::new(format!(
                "the key has {short} characters; at least 16"
            ))),
        },
        write: |_| String::new(),
    }
}

fn load_max() -> impl Syntax<Value = Ratio> {
    ratio().within(Ratio::WHOLE, Ratio(10_000))
}

impl Maglev {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        let prime = next_prime(self.table);
        if prime != self.table {
            let complaint = Complaint::new(format!("{} is not a prime number", self.table))
                .hint(format!("the next one is {prime}"));
            decoder.in_key("table", |decoder| decoder.report(node.at, complaint));
        }
    }
}

/// The first prime number from here on.
pub fn next_prime(from: u32) -> u32 {
    let is_prime = |number: &u32| {
        let mut divisors = 2..=number.isqrt();
        *number > 1 && divisors.all(|divisor| !number.is_multiple_of(divisor))
    };
    // There is one below twice any number, and nobody asks for one near the end of the range.
    (from..=u32::MAX).find(is_prime).unwrap_or(from)
}

/// As the paper has it for hundreds of endpoints.
const MAGLEV_TABLE_DEFAULT: u32 = 65_537;
const MAGLEV_TABLE_MIN: u32 = 251;
