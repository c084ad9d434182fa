//! How to reach an agent: the same environment variables that Consul's own tools read.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;

/// Where an agent is and how to talk to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://host:port`, `https://host:port` or `host:port`. `CONSUL_HTTP_ADDR`.
    pub address: String,
    /// Sent with every call. `CONSUL_HTTP_TOKEN`, `CONSUL_HTTP_TOKEN_FILE`.
    pub token: Option<Token>,
    /// PEM roots to trust with `https`; the system's when unset. `CONSUL_CACERT`.
    pub ca: Option<PathBuf>,
    /// PEM chain and key to present with `https`. `CONSUL_CLIENT_CERT` and `CONSUL_CLIENT_KEY`.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Name to verify with `https`; the address' host when unset. `CONSUL_TLS_SERVER_NAME`.
    pub server_name: Option<String>,
    /// Deadline of one call, from connecting to the end of the body.
    pub call_timeout: Duration,
    /// How long a blocking query waits for a change, at most ten minutes.
    pub wait: Duration,
    /// How long an answer that turned empty across an outage must stand before it is believed.
    pub empty_grace: Duration,
}

/// A secret that never shows in logs.
#[derive(Clone)]
pub struct Token(TokenFrom);

#[derive(Clone)]
enum TokenFrom {
    File(PathBuf),
    Text(String),
}

/// The address of an agent on the same machine, as Consul's own tools assume it.
const ADDRESS_DEFAULT: &str = "http://127.0.0.1:8500";
/// Port when the address names none.
const PORT_DEFAULT: u16 = 8500;
/// Long enough for an election of a leader to pass, short enough to be noticed.
const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Consul's own default.
const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// As long as those who registered may need to find out that they were forgotten.
const EMPTY_GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest token file: a token is a UUID, or a signed token of a few kilobytes.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

impl Settings {
    /// Settings for the agent at `address`, the rest as by default.
    pub fn new(address: impl Into<String>) -> Self {
        Settings {
            address: address.into(),
            token: None,
            ca: None,
            client: None,
            server_name: None,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            wait: WAIT_DEFAULT,
            empty_grace: EMPTY_GRACE_DEFAULT,
        }
    }

    /// Settings as the environment says; the agent on this machine unless told.
    pub fn from_env() -> Result<Self, Error> {
        Settings::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut address = set("CONSUL_HTTP_ADDR").unwrap_or_else(|| ADDRESS_DEFAULT.to_owned());
        let tls = set("CONSUL_HTTP_SSL").is_some_and(|value| value == "true" || value == "1");
        if tls && !address.contains("://") {
            address.insert_str(0, "https://");
        }
        let client = match (set("CONSUL_CLIENT_CERT"), set("CONSUL_CLIENT_KEY")) {
            (Some(chain), Some(key)) => Some((chain.into(), key.into())),
            (None, None) => None,
            _ => {
                return Err(Error::Setting {
                    variable: "CONSUL_CLIENT_CERT",
                    problem: "needs CONSUL_CLIENT_KEY beside it; set both or neither".to_owned(),
                });
            }
        };
        let token_file = set("CONSUL_HTTP_TOKEN_FILE").map(|path| Token::file(path.into()));
        Ok(Settings {
            token: set("CONSUL_HTTP_TOKEN").map(Token::text).or(token_file),
            ca: set("CONSUL_CACERT").map(PathBuf::from),
            client,
            server_name: set("CONSUL_TLS_SERVER_NAME"),
            ..Settings::new(address)
        })
    }
}

impl Token {
    /// This text.
    pub fn text(text: impl Into<String>) -> Self {
        Token(TokenFrom::Text(text.into()))
    }

    /// What the file holds when a call is made, so that a renewed token needs no restart.
    pub fn file(path: PathBuf) -> Self {
        Token(TokenFrom::File(path))
    }

    pub(super) async fn read(&self) -> Result<String, Error> {
        let path = match &self.0 {
            TokenFrom::Text(text) => return Ok(text.clone()),
            TokenFrom::File(path) => path,
        };
        let failed = |problem: String| Error::Credentials {
            variable: "CONSUL_HTTP_TOKEN_FILE",
            path: path.clone(),
            problem,
        };
        let size = tokio::fs::metadata(path)
            .await
            .map_err(|error| failed(error.to_string()))?;
        if size.len() > TOKEN_BYTES_MAX {
            return Err(failed(format!("must be at most {TOKEN_BYTES_MAX} bytes")));
        }
        let text = tokio::fs::read_to_string(path).await;
        Ok(text
            .map_err(|error| failed(error.to_string()))?
            .trim()
            .to_owned())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            TokenFrom::File(path) => f.debug_tuple("Token").field(path).finish(),
            TokenFrom::Text(_) => f.write_str("Token(…)"),
        }
    }
}

/// An address taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Authority {
    pub(super) fn parse(address: &str) -> Result<Self, Error> {
        // The value is not repeated: someone may have written credentials into it.
        let wrong = |problem: &str| Error::Setting {
            variable: "CONSUL_HTTP_ADDR",
            problem: problem.to_owned(),
        };
        let (tls, rest) = match address.split_once("://") {
            None | Some(("http", _)) => (false, address.trim_start_matches("http://")),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong("must start with http:// or https://")),
        };
        let authority: http::uri::Authority = rest
            .trim_end_matches('/')
            .parse()
            .map_err(|_| wrong("must be http://host:port without a path"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("must hold no credentials; use CONSUL_HTTP_TOKEN"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(wrong("must name a host"));
        }
        // Not `authority.port()`, which says of an impossible port that there is none.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => PORT_DEFAULT,
            rest => rest
                .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                .ok_or_else(|| wrong("has no valid port"))?,
        };
        Ok(Authority { tls, host, port })
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn addresses_as_consul_writes_them() {
        for (address, shown) in [
            ("127.0.0.1:8500", "http://127.0.0.1:8500"),
            ("http://consul.internal", "http://consul.internal:8500"),
            (
                "https://consul.internal:8501/",
                "https://consul.internal:8501",
            ),
            ("http://[::1]:8500", "http://[::1]:8500"),
        ] {
            assert_eq!(Authority::parse(address).unwrap().to_string(), shown);
        }
        for address in [
            "",
            "unix:///run/consul.sock",
            "http://",
            "http://a/b",
            "http://a:x",
        ] {
            assert!(Authority::parse(address).is_err(), "{address:?}");
        }
        let error = Authority::parse("http://me:secret@a:8500")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("credentials") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn the_environment_decides() {
        assert_eq!(from(&[]).unwrap().address, "http://127.0.0.1:8500");
        let settings = from(&[
            ("CONSUL_HTTP_ADDR", "consul.internal:8501"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_CACERT", "/ca.pem"),
            ("CONSUL_HTTP_TOKEN", "s3cret"),
        ])
        .unwrap();
        assert_eq!(settings.address, "https://consul.internal:8501");
        assert_eq!(settings.ca, Some(PathBuf::from("/ca.pem")));
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert!(from(&[("CONSUL_CLIENT_CERT", "/c.pem")]).is_err());
    }

    #[tokio::test]
    async fn a_token_file_is_read_at_each_call() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let token = Token::file(path.clone());
        assert!(
            token
                .read()
                .await
                .unwrap_err()
                .to_string()
                .contains("CONSUL_HTTP_TOKEN_FILE")
        );
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(token.read().await.unwrap(), "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(token.read().await.unwrap(), "two");
    }
}
