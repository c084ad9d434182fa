//! Who may call: token issuers and what a route asks of a token.

use std::path::PathBuf;
use std::time::Duration;

use crate::bounds::LEEWAY_MAX;
use crate::declare::{
    by_key, defaulted, empty, object, optional, place, required, variants, words,
};
use crate::decode::{Complaint, Decoder};
use crate::position::{Located, Position};
use crate::shape::Shape;
use crate::syntax::auth::claim;
use crate::syntax::host::key_url;
use crate::syntax::path::target_path;
use crate::syntax::plain::word;
use crate::syntax::text::{any_text, file, name, text};
use crate::syntax::unit::any_duration;
use crate::syntax::{Declared, Syntax, at, list, map, mapped, of};
use crate::yaml::Node;

object! {
    /// An issuer of JSON Web Tokens.
    pub struct Issuer {
        /// What `iss` must be.
        pub issuer: String = required(text()),
        /// What `aud` must contain (any of these). At least one.
        pub audience: Vec<String> = required(list(text()).not_empty()),
        /// Where its signing keys come from: a URL, a file, or a path on one of the services.
        pub jwks: Jwks = required(of::<Jwks>()),
        /// Signature algorithms allowed. Never `none`, never HMAC.
        pub algorithms: Vec<Located<Algorithm>> =
            defaulted(list(at(word::<Algorithm>())).not_empty(), default_algorithms()),
        /// Clock difference forgiven.
        pub leeway: Duration = defaulted(
            any_duration().within(Duration::ZERO, LEEWAY_MAX),
            Duration::from_secs(30),
        ),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Issuer {
    /// For one that cannot be read.
    pub(crate) fn stand_in() -> Self {
        Issuer {
            issuer: String::new(),
            audience: Vec::new(),
            jwks: Jwks::File(PathBuf::new()),
            algorithms: Vec::new(),
            leeway: Duration::ZERO,
            at: Position::default(),
        }
    }
}

/// What issuers use today; RSA-PSS and the larger curves have to be asked for.
fn default_algorithms() -> Vec<Located<Algorithm>> {
    [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
        .map(|value| Located {
            value,
            at: Position::default(),
        })
        .to_vec()
}

/// Where signing keys come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Jwks {
    /// A file, re-read when it changes.
    File(PathBuf),
    /// A path on one of this document's services (through the mesh, where it is a mesh service).
    Service {
        /// The service's name.
        service: Located<String>,
        /// The path, `/.well-known/jwks.json` unless told.
        path: String,
    },
    /// A URL; `https`, or `http` on a loopback address.
    Url(Located<String>),
}

const JWKS_PATH: &str = "/.well-known/jwks.json";

object! {
    /// Where signing keys come from.
    struct JwksFrom {
        check JwksFrom::check;
        /// File or service.
        pub source: JwksSource = by_key(),
        /// The path on the service.
        pub path: Option<String> =
            optional(target_path()).unless_told(JWKS_PATH.to_owned()),
    }
}

variants! {
    enum JwksSource {
        /// A file with a JSON Web Key Set, re-read when it changes.
        File(PathBuf) = "file", file() => JwksSource::File,
        /// The name of a service of this document that answers with a JSON Web Key Set.
        Service(Located<String>) = "service", at(name()) => JwksSource::Service,
    }
}

impl JwksFrom {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if matches!(self.source, JwksSource::File(_)) && self.path.is_some() {
            let complaint = Complaint::new("`path` belongs to `service`, not to `file`");
            decoder.report(node.at, complaint);
        }
    }
}

impl Declared for Jwks {
    fn read(node: &Node, decoder: &mut Decoder) -> Option<Self> {
        if node.is_scalar() {
            return at(key_url()).read(node, decoder).map(Jwks::Url);
        }
        let JwksFrom { source, path } = JwksFrom::read(node, decoder)?;
        Some(match source {
            JwksSource::File(file) => Jwks::File(file),
            JwksSource::Service(service) => Jwks::Service {
                service,
                path: path.unwrap_or_else(|| JWKS_PATH.to_owned()),
            },
        })
    }

    fn shape() -> Shape {
        Shape::AnyOf(vec![key_url().shape(), JwksFrom::shape()])
    }
}

words! {
    /// Signature algorithms that can be allowed (RFC 7518, RFC 8037).
    pub enum Algorithm {
        /// ECDSA P-256.
        Es256 = "ES256",
        /// ECDSA P-384.
        Es384 = "ES384",
        /// Ed25519.
        EdDsa = "EdDSA",
        /// RSASSA-PSS SHA-256.
        Ps256 = "PS256",
        /// RSASSA-PSS SHA-384.
        Ps384 = "PS384",
        /// RSASSA-PSS SHA-512.
        Ps512 = "PS512",
        /// RSASSA-PKCS1-v1_5 SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 SHA-384.
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 SHA-512.
        Rs512 = "RS512",
    }
}

object! {
    /// What a route asks of its callers: `auth: { jwt: shop }`.
    pub struct Auth {
        /// The name of an issuer: a token of it is wanted, in `Authorization: Bearer`.
        pub jwt: Option<Located<String>> = required(mapped(at(name()), Some)),
        /// Claims the token must carry: claim name → one of these values (for a list claim or a
        /// space-separated `scope`: contains one of them). Dots in a name go into objects.
        pub claims: Vec<ClaimRule> =
            empty(mapped(map(claim(), list(any_text()).not_empty()), claim_rules)),
        /// Where it was written.
        pub at: Position = place(),
    }
}

/// One required claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRule {
    /// Claim name; dots go into objects.
    pub claim: String,
    /// Any of these values.
    pub any_of: Vec<String>,
    /// Where it was written.
    pub at: Position,
}

fn claim_rules(entries: Vec<(Located<String>, Vec<String>)>) -> Vec<ClaimRule> {
    entries
        .into_iter()
        .map(|(claim, any_of)| ClaimRule {
            claim: claim.value,
            any_of,
            at: claim.at,
        })
        .collect()
}
