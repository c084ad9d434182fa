//! TLS towards an agent: rustls with aws-lc-rs, the roots of `CONSUL_CACERT` or the system's.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsConnector;

use super::error::Error;
use super::settings::{Authority, Settings};

/// What is needed to open TLS to one agent.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) server_name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(settings: &Settings, authority: &Authority) -> Result<Self, Error> {
        let name = settings.server_name.as_deref().unwrap_or(&authority.host);
        let server_name =
            ServerName::try_from(name.to_owned()).map_err(|error| Error::Setting {
                variable: "CONSUL_TLS_SERVER_NAME",
                problem: error.to_string(),
            })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unusable = |error: rustls::Error| Error::Setting {
            variable: "CONSUL_HTTP_ADDR",
            problem: format!("no TLS client can be made: {error}"),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots(settings)?);
        let mut config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let variable = "CONSUL_CLIENT_KEY";
                let failed = |problem| Error::Credentials {
                    variable,
                    path: key.clone(),
                    problem,
                };
                let der =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| failed(error.to_string()))?;
                builder
                    .with_client_auth_cert(certificates("CONSUL_CLIENT_CERT", chain)?, der)
                    .map_err(|error| failed(error.to_string()))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls {
            connector: TlsConnector::from(Arc::new(config)),
            server_name,
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

fn roots(settings: &Settings) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &settings.ca else {
        // Some roots of a system are often odd; what matters is that there are any.
        let (added, _ignored) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err(Error::Setting {
                variable: "CONSUL_CACERT",
                problem: "must be set: this system has no roots of its own".to_owned(),
            });
        }
        return Ok(roots);
    };
    let variable = "CONSUL_CACERT";
    for certificate in certificates(variable, path)? {
        roots.add(certificate).map_err(|error| Error::Credentials {
            variable,
            path: path.clone(),
            problem: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn certificates(
    variable: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |problem| Error::Credentials {
        variable,
        path: path.to_owned(),
        problem,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|error| failed(error.to_string()))?;
    match certificates.is_empty() {
        true => Err(failed("must hold at least one PEM certificate".to_owned())),
        false => Ok(certificates),
    }
}
