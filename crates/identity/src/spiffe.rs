//! SPIFFE names: the trust domain, and the id of one workload in it.
//!
//! Follows the SPIFFE-ID specification: scheme `spiffe`, a trust domain of `[a-z0-9.-_]` up to 255
//! bytes, path segments of `[a-zA-Z0-9.-_]`, never empty and never `.` or `..`, no port, user,
//! query, fragment or percent-encoding, 2048 bytes in all. Stricter in one point: an id without a
//! path names a whole trust domain and never a workload, so it is not a [`SpiffeId`] here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Why a text is not a SPIFFE id or trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpiffeIdError {
    /// The text does not start with `spiffe://`.
    #[error("a SPIFFE id starts with \"spiffe://\"")]
    Scheme,
    /// Longer than the specification allows.
    #[error("a SPIFFE id is at most {ID_BYTES_MAX} bytes long, this one has {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The trust domain is empty.
    #[error("the trust domain is empty")]
    TrustDomainEmpty,
    /// The trust domain is longer than the specification allows.
    #[error("a trust domain is at most {TRUST_DOMAIN_BYTES_MAX} bytes long, this one has {bytes}")]
    TrustDomainTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The trust domain contains something else than `[a-z0-9.-_]`.
    #[error("a trust domain consists of a-z, 0-9, '.', '-' and '_', not {found:?}")]
    TrustDomainCharacter {
        /// The first character that is not allowed.
        found: char,
    },
    /// There is no path: the id names a whole trust domain, not a workload.
    #[error("the id names a whole trust domain, a workload's id has a path")]
    PathMissing,
    /// A path segment is empty: two slashes in a row, or one at the end.
    #[error("a path segment is empty")]
    SegmentEmpty,
    /// A path segment is `.` or `..`.
    #[error("a path segment must not be \".\" or \"..\"")]
    SegmentRelative,
    /// A path segment contains something else than `[a-zA-Z0-9.-_]`.
    #[error("a path segment consists of a-z, A-Z, 0-9, '.', '-' and '_', not {found:?}")]
    SegmentCharacter {
        /// The first character that is not allowed.
        found: char,
    },
}

/// The name of a trust domain, such as `weir.internal`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Reads a trust domain's name (without the scheme).
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        check_trust_domain(text)?;
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the domain itself, `spiffe://<name>`, which roots carry.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// Reads `spiffe://<name>`, as found in a root certificate.
    pub(crate) fn parse_uri(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TrustDomain({})", self.0)
    }
}

/// What a SPIFFE id says about its holder, by Weir's own layout of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role<'a> {
    /// `/control-plane`.
    ControlPlane,
    /// `/gateway/<node>`.
    Gateway(&'a str),
    /// Some other path: a workload that is not one of Weir's.
    Other,
    /// `/service/<name>`.
    Service(&'a str),
}

/// The SPIFFE id of one workload. Valid by construction and cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path starts in `text`. A function of `text`, so derived equality stays true.
    path_at: usize,
}

impl SpiffeId {
    /// Reads and validates `spiffe://<trust domain>/<path>`.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > ID_BYTES_MAX {
            return Err(SpiffeIdError::TooLong { bytes: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        check_trust_domain(domain)?;
        if domain.len() == rest.len() {
            return Err(SpiffeIdError::PathMissing);
        }
        path.split('/').try_for_each(check_segment)?;
        Ok(Self {
            text: text.into(),
            path_at: SCHEME.len() + domain.len(),
        })
    }

    /// `spiffe://<td>/service/<name>`: every instance of a service of the mesh.
    pub fn service(trust_domain: &TrustDomain, name: &str) -> Result<Self, SpiffeIdError> {
        check_segment(name)?;
        Self::parse(&format!("{SCHEME}{trust_domain}/service/{name}"))
    }

    /// `spiffe://<td>/gateway/<node>`: one gateway process.
    pub fn gateway(trust_domain: &TrustDomain, node: &str) -> Result<Self, SpiffeIdError> {
        check_segment(node)?;
        Self::parse(&format!("{SCHEME}{trust_domain}/gateway/{node}"))
    }

    /// `spiffe://<td>/control-plane`.
    pub fn control_plane(trust_domain: &TrustDomain) -> Self {
        let path_at = SCHEME.len() + trust_domain.as_str().len();
        Self {
            text: format!("{SCHEME}{trust_domain}{CONTROL_PLANE_PATH}").into(),
            path_at,
        }
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain's name.
    pub fn trust_domain_name(&self) -> &str {
        self.text
            .get(SCHEME.len()..self.path_at)
            .unwrap_or_default()
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_name().into())
    }

    /// The path, with its leading slash.
    pub fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }

    /// Whether the id belongs to this trust domain.
    pub fn is_in(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain_name() == trust_domain.as_str()
    }

    /// What the path says about the holder.
    pub fn role(&self) -> Role<'_> {
        let path = self.path();
        let only_segment_after = |prefix| {
            path.strip_prefix(prefix)
                .filter(|name: &&str| !name.contains('/'))
        };
        if path == CONTROL_PLANE_PATH {
            Role::ControlPlane
        } else if let Some(name) = only_segment_after("/service/") {
            Role::Service(name)
        } else if let Some(node) = only_segment_after("/gateway/") {
            Role::Gateway(node)
        } else {
            Role::Other
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SpiffeId({})", self.text)
    }
}

fn check_trust_domain(name: &str) -> Result<(), SpiffeIdError> {
    if name.is_empty() {
        return Err(SpiffeIdError::TrustDomainEmpty);
    }
    if name.len() > TRUST_DOMAIN_BYTES_MAX {
        return Err(SpiffeIdError::TrustDomainTooLong { bytes: name.len() });
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
    match name.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(SpiffeIdError::TrustDomainCharacter { found }),
        None => Ok(()),
    }
}

fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    if segment.is_empty() {
        return Err(SpiffeIdError::SegmentEmpty);
    }
    if segment == "." || segment == ".." {
        return Err(SpiffeIdError::SegmentRelative);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match segment.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(SpiffeIdError::SegmentCharacter { found }),
        None => Ok(()),
    }
}

const SCHEME: &str = "spiffe://";
const CONTROL_PLANE_PATH: &str = "/control-plane";
const ID_BYTES_MAX: usize = 2048;
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{Role, SpiffeId, SpiffeIdError, TrustDomain};

    #[test]
    fn constructors_agree_with_the_parser() {
        let domain = TrustDomain::parse("weir.internal").unwrap();
        let service = SpiffeId::service(&domain, "orders").unwrap();
        assert_eq!(service.to_string(), "spiffe://weir.internal/service/orders");
        assert_eq!(SpiffeId::parse(service.as_str()).unwrap(), service);
        assert_eq!(service.role(), Role::Service("orders"));
        assert_eq!(service.trust_domain(), domain);
        assert!(service.is_in(&domain));

        let control = SpiffeId::control_plane(&domain);
        assert_eq!(SpiffeId::parse(control.as_str()).unwrap(), control);
        assert_eq!(
            (control.role(), control.path()),
            (Role::ControlPlane, "/control-plane")
        );

        let gateway = SpiffeId::gateway(&domain, "edge-1").unwrap();
        assert_eq!(gateway.role(), Role::Gateway("edge-1"));
        let other = SpiffeId::parse("spiffe://weir.internal/service/a/b").unwrap();
        assert_eq!(other.role(), Role::Other);
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        let cases = [
            ("http://a/b", SpiffeIdError::Scheme),
            ("SPIFFE://a/b", SpiffeIdError::Scheme),
            ("spiffe:///b", SpiffeIdError::TrustDomainEmpty),
            ("spiffe://", SpiffeIdError::TrustDomainEmpty),
            ("spiffe://a", SpiffeIdError::PathMissing),
            ("spiffe://a/", SpiffeIdError::SegmentEmpty),
            ("spiffe://a//b", SpiffeIdError::SegmentEmpty),
            ("spiffe://a/b/", SpiffeIdError::SegmentEmpty),
            ("spiffe://a/b/../c", SpiffeIdError::SegmentRelative),
            ("spiffe://a/.", SpiffeIdError::SegmentRelative),
            (
                "spiffe://A/b",
                SpiffeIdError::TrustDomainCharacter { found: 'A' },
            ),
            (
                "spiffe://a:80/b",
                SpiffeIdError::TrustDomainCharacter { found: ':' },
            ),
            (
                "spiffe://u@a/b",
                SpiffeIdError::TrustDomainCharacter { found: '@' },
            ),
            (
                "spiffe://a?q",
                SpiffeIdError::TrustDomainCharacter { found: '?' },
            ),
            (
                "spiffe://a/b?q",
                SpiffeIdError::SegmentCharacter { found: '?' },
            ),
            (
                "spiffe://a/b#f",
                SpiffeIdError::SegmentCharacter { found: '#' },
            ),
            (
                "spiffe://a/b%20c",
                SpiffeIdError::SegmentCharacter { found: '%' },
            ),
            (
                "spiffe://a/\u{e9}",
                SpiffeIdError::SegmentCharacter { found: '\u{e9}' },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(SpiffeId::parse(text).expect_err(text), expected, "{text}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let domain = "d".repeat(255);
        assert!(SpiffeId::parse(&format!("spiffe://{domain}/x")).is_ok());
        assert_eq!(
            TrustDomain::parse(&"d".repeat(256)).unwrap_err(),
            SpiffeIdError::TrustDomainTooLong { bytes: 256 }
        );
        let path = "p".repeat(2048 - "spiffe://a/".len());
        assert!(SpiffeId::parse(&format!("spiffe://a/{path}")).is_ok());
        assert_eq!(
            SpiffeId::parse(&format!("spiffe://a/{path}p")).unwrap_err(),
            SpiffeIdError::TooLong { bytes: 2049 }
        );
    }

    #[test]
    fn names_cannot_smuggle_segments() {
        let domain = TrustDomain::parse("d").unwrap();
        assert!(SpiffeId::service(&domain, "a/b").is_err());
        assert!(SpiffeId::service(&domain, "").is_err());
        assert!(SpiffeId::gateway(&domain, "..").is_err());
    }
}
