//! The address of the control plane's API.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use thiserror::Error;

/// `http://host:port` or `https://host:port`, with a path in front of the API's where a proxy adds
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl {
    pub(super) is_secure: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// As `Host` says it.
    pub(super) authority: String,
    /// Without a slash at its end.
    prefix: String,
}

/// Why a text is not the address of an API.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApiUrlError {
    /// It is no URL with scheme and host.
    #[error("must be a URL such as http://127.0.0.1:9900")]
    Form,
    /// It has parts that an address of an API has not.
    #[error("must have neither user, query nor fragment")]
    Parts,
    /// Its scheme is not known.
    #[error("must begin with http:// or https://, not with {scheme}://")]
    Scheme {
        /// What it begins with.
        scheme: String,
    },
}

impl ApiUrl {
    /// A path of the API as the request line says it.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl FromStr for ApiUrl {
    type Err = ApiUrlError;

    fn from_str(text: &str) -> Result<Self, ApiUrlError> {
        if text.contains('#') {
            return Err(ApiUrlError::Parts);
        }
        let uri: Uri = text.parse().map_err(|_| ApiUrlError::Form)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(ApiUrlError::Form);
        };
        let (is_secure, port_default) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            other => {
                return Err(ApiUrlError::Scheme {
                    scheme: other.to_owned(),
                });
            }
        };
        if uri.query().is_some() || authority.as_str().contains('@') {
            return Err(ApiUrlError::Parts);
        }
        let host = authority.host();
        Ok(Self {
            is_secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(port_default),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{ApiUrl, ApiUrlError};

    #[test]
    fn addresses_are_read() {
        let url: ApiUrl = "http://127.0.0.1:9900".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.is_secure),
            ("127.0.0.1", 9900, false)
        );
        assert_eq!(url.target("/v1/config"), "/v1/config");
        assert_eq!(url.to_string(), "http://127.0.0.1:9900");
        let url: ApiUrl = "https://[::1]/weir/".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.is_secure),
            ("::1", 443, true)
        );
        assert_eq!(url.target("/v1/config"), "/weir/v1/config");
    }

    #[test]
    fn other_texts_are_refused() {
        let parse = |text: &str| text.parse::<ApiUrl>().unwrap_err();
        assert_eq!(parse("127.0.0.1:9900"), ApiUrlError::Form);
        assert_eq!(parse("/v1"), ApiUrlError::Form);
        assert_eq!(
            parse("ftp://a"),
            ApiUrlError::Scheme {
                scheme: "ftp".to_owned()
            }
        );
        assert_eq!(parse("http://a:1/?x"), ApiUrlError::Parts);
        assert_eq!(parse("http://user@a:1"), ApiUrlError::Parts);
    }
}
