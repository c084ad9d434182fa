//! What all proxies of a scenario have in common: the programs, the origin, certificates, a token.

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::process::{LOAD_CORE, Launch, Process, eventually, free_address};
use crate::harness::scenario::Peer;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Tools {
    /// `weir-load`.
    pub load: PathBuf,
    /// `weir-bench-origin`.
    pub origin: PathBuf,
    /// Directory of `weir-gateway`, `weir-sidecar` and `weir-control-plane`.
    pub weir: PathBuf,
    /// Directory of another build of them.
    pub other_weir: Option<PathBuf>,
    /// Directory of `peer-pingora`, `peer-hyper` and `peer-epoll`.
    pub peers: PathBuf,
    /// Envoy's binary.
    pub envoy: PathBuf,
}

impl Tools {
    /// Directory of that build of Weir.
    #[must_use]
    pub fn weir(&self, peer: Peer) -> &Path {
        match (&self.other_weir, peer) {
            (Some(other), Peer::WeirOther) => other,
            _ => &self.weir,
        }
    }
}

/// Everything around the proxies; what it started ends with it.
pub struct Stage {
    /// The programs.
    pub tools: Tools,
    /// The origin's HTTP/1.1 address.
    pub http1: SocketAddr,
    /// The origin's HTTP/2 address (clear text, prior knowledge).
    pub http2: SocketAddr,
    /// The origin's WebSocket address.
    pub websocket: SocketAddr,
    /// Certificates.
    pub tls: Tls,
    /// A token and what verifies it.
    pub token: Token,
    /// Where HAProxy's log goes: a socket that nobody reads.
    pub syslog: SocketAddr,
    _syslog: UdpSocket,
    _origin: Process,
    // After the processes: they write there until they are gone.
    directory: TempDir,
}

/// PEM files. Keys are ECDSA P-256.
pub struct Tls {
    /// The authority of all certificates.
    pub authority: PathBuf,
    /// The proxies' certificate for `localhost`.
    pub server: Pair,
    /// The sidecar in front of the application: a SPIFFE id.
    pub application: Pair,
    /// The sidecar of the caller: a SPIFFE id.
    pub caller: Pair,
}

/// A certificate with its key.
pub struct Pair {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

/// A token and what verifies it.
pub struct Token {
    /// The token.
    pub jwt: String,
    /// A file with the key as a JSON Web Key Set.
    pub jwks: PathBuf,
    /// The same key set.
    pub jwks_text: String,
    /// A file with the key as PEM.
    pub public_key: PathBuf,
}

impl Stage {
    /// Starts the origin and makes certificates and a token in a new temporary directory.
    ///
    /// # Errors
    /// A program that is missing or does not start.
    pub fn start(tools: Tools) -> Result<Self> {
        let directory = TempDir::with_prefix("weir-bench-")?;
        // Workers of nginx may run as another user.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let (http1, http2, websocket) = (free_address()?, free_address()?, free_address()?);
        let mut origin = Launch::of(
            &tools.origin,
            LOAD_CORE,
            directory.path().join("origin.log"),
        )
        .args(["--http1", &http1.to_string()])
        .args(["--http2", &http2.to_string()])
        .args(["--ws", &websocket.to_string()])
        .args(["--bodies", "1k,100k"])
        .start()?;
        for address in [http1, http2, websocket] {
            eventually(START_DEADLINE, || {
                origin.check_runs()?;
                Ok(TcpStream::connect(address)?)
            })
            .context("the origin does not listen")?;
        }
        let syslog = UdpSocket::bind("127.0.0.1:0")?;
        Ok(Self {
            tls: Tls::write(directory.path())?,
            token: Token::write(directory.path())?,
            tools,
            http1,
            http2,
            websocket,
            syslog: syslog.local_addr()?,
            _syslog: syslog,
            _origin: origin,
            directory,
        })
    }

    /// A directory of that name, made empty.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fresh_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Ok(path)
    }

    /// A file in the temporary directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Tls {
    fn write(directory: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "weir-bench");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = directory.join("authority.pem");
        fs::write(&authority, issuer.pem())?;
        let issue = |name: &str, subjects: Vec<SanType>| -> Result<Pair> {
            let mut params = CertificateParams::default();
            params.subject_alt_names = subjects;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &issuer)?.pem();
            let pair = Pair {
                certificate: directory.join(format!("{name}.pem")),
                key: directory.join(format!("{name}.key")),
            };
            fs::write(&pair.certificate, &certificate)?;
            fs::write(&pair.key, key.serialize_pem())?;
            // HAProxy wants both in one file.
            let both = certificate + &key.serialize_pem();
            fs::write(directory.join(format!("{name}.both.pem")), both)?;
            Ok(pair)
        };
        let spiffe = |id: &str| -> Result<Vec<SanType>> { Ok(vec![SanType::URI(id.try_into()?)]) };
        Ok(Self {
            server: issue("server", vec![SanType::DnsName("localhost".try_into()?)])?,
            application: issue("application", spiffe(APPLICATION_ID)?)?,
            caller: issue("caller", spiffe(CALLER_ID)?)?,
            authority,
        })
    }
}

impl Pair {
    /// Certificate and key in one file.
    #[must_use]
    pub fn both(&self) -> PathBuf {
        self.certificate.with_extension("both.pem")
    }
}

impl Token {
    fn write(directory: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        // An uncompressed point: 4, then both coordinates (SEC 1, 2.3.3).
        let point = key.der_bytes();
        ensure!(point.len() == 65 && point[0] == 4, "not a P-256 point");
        let jwks_text = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        }]})
        .to_string();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "bench", "iat": now.as_secs(),
            "exp": (now + TOKEN_LIFE).as_secs(),
        });
        let header = Header {
            kid: Some(KEY_ID.to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        let signing = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes())?;
        let token = Self {
            jwt: jsonwebtoken::encode(&header, &claims, &signing)?,
            jwks: directory.join("jwks.json"),
            public_key: directory.join("token.pub.pem"),
            jwks_text,
        };
        fs::write(&token.jwks, &token.jwks_text)?;
        fs::write(&token.public_key, key.public_key_pem())?;
        Ok(token)
    }
}

/// `iss` of the token.
pub const ISSUER: &str = "https://id.example";
/// `aud` of the token.
pub const AUDIENCE: &str = "shop-api";
/// SPIFFE id of the sidecar in front of the application.
pub const APPLICATION_ID: &str = "spiffe://weir.internal/service/app";
/// SPIFFE id of the caller's sidecar.
pub const CALLER_ID: &str = "spiffe://weir.internal/service/caller";
const KEY_ID: &str = "bench";
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
const START_DEADLINE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{AUDIENCE, ISSUER, Tls, Token};
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    #[test]
    fn the_key_set_verifies_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let token = Token::write(directory.path()).unwrap();
        let keys: JwkSet = serde_json::from_slice(&std::fs::read(&token.jwks).unwrap()).unwrap();
        let key = DecodingKey::from_jwk(&keys.keys[0]).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        jsonwebtoken::decode::<serde_json::Value>(&token.jwt, &key, &validation).unwrap();
    }

    #[test]
    fn every_certificate_has_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let tls = Tls::write(directory.path()).unwrap();
        for pair in [&tls.server, &tls.application, &tls.caller] {
            for file in [&pair.certificate, &pair.key, &pair.both()] {
                assert!(file.is_file(), "{}", file.display());
            }
        }
    }
}
