//! Edge listeners and plain TLS upstreams in handshakes: SNI, reload, resumption, clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::{ClientConfig, Error, ProtocolVersion, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tempfile::TempDir;
use weir_identity::{
    CertificateFiles, EdgeCertificateSet, EdgeCertificates, EdgeClients, UpstreamTrust,
    edge_server_config, edge_server_config_with_clients, provider, self_signed,
    upstream_client_config,
};

use crate::wire::{Connection, connect};

/// A certificate for these names, in its own directory under `dir`.
fn certificate(dir: &Path, own: &str, names: &[&str]) -> CertificateFiles {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    self_signed(&names, &dir.join(own), SystemTime::now()).unwrap()
}

fn load(all: &[CertificateFiles]) -> EdgeCertificateSet {
    EdgeCertificateSet::load(all, SystemTime::now()).unwrap()
}

fn leaf(files: &CertificateFiles) -> Vec<u8> {
    CertificateDer::from_pem_file(&files.certificate)
        .unwrap()
        .to_vec()
}

fn call(server: &Arc<ServerConfig>, trust: &CertificateFiles, name: &str) -> Connection {
    let trust = UpstreamTrust::File(trust.certificate.clone());
    let client = upstream_client_config(&trust, None, &[b"h2"]).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = connect(&client, server, name).unwrap();
    assert!(connection.talks());
    connection
}

#[test]
fn the_requested_name_chooses_the_certificate() {
    let dir = TempDir::new().unwrap();
    let first = certificate(dir.path(), "first", &["first.test", "unknown.elsewhere"]);
    let exact = certificate(dir.path(), "exact", &["api.x.test"]);
    let wild = certificate(dir.path(), "wild", &["*.x.test"]);
    let set = load(&[first.clone(), wild.clone(), exact.clone()]);
    assert_eq!(set.warnings(), []);
    assert_eq!(
        set.names(),
        ["*.x.test", "api.x.test", "first.test", "unknown.elsewhere"]
    );
    let server = edge_server_config(&EdgeCertificates::new(set), &[b"h2", b"http/1.1"]).unwrap();

    let cases = [
        ("first.test", &first),
        ("api.x.test", &exact),
        ("API.X.test", &exact),
        ("www.x.test", &wild),
        ("unknown.elsewhere", &first),
    ];
    for (name, expected) in cases {
        let connection = call(&server, expected, name);
        assert_eq!(connection.server_leaf(), leaf(expected), "{name}");
        assert_eq!(connection.client.alpn_protocol(), Some(b"h2".as_slice()));
    }
}

#[test]
fn a_name_nobody_has_and_no_name_at_all_get_the_first_certificate() {
    let dir = TempDir::new().unwrap();
    let first = certificate(dir.path(), "first", &["a.test", "127.0.0.1", "b.a.x.test"]);
    let hosts = vec!["a.test".to_owned()];
    let first = CertificateFiles { hosts, ..first };
    let wild = certificate(dir.path(), "wild", &["*.x.test"]);
    let set = load(&[first.clone(), wild]);
    let server = edge_server_config(&EdgeCertificates::new(set), &[]).unwrap();
    // An address is never sent as a name; a wildcard covers one label only.
    for name in ["127.0.0.1", "b.a.x.test"] {
        assert_eq!(
            call_without_alpn(&server, &first, name).server_leaf(),
            leaf(&first)
        );
    }
}

#[test]
fn a_reload_counts_for_the_next_handshake_and_open_connections_go_on() {
    let dir = TempDir::new().unwrap();
    let old = certificate(dir.path(), "old", &["a.test"]);
    let new = certificate(dir.path(), "new", &["a.test"]);
    let certificates = EdgeCertificates::new(load(std::slice::from_ref(&old)));
    let server = edge_server_config(&certificates, &[b"h2"]).unwrap();
    let mut open = call(&server, &old, "a.test");
    certificates.replace(load(std::slice::from_ref(&new)));
    assert_eq!(call(&server, &new, "a.test").server_leaf(), leaf(&new));
    assert!(open.talks());
}

#[test]
fn both_versions_work_and_sessions_resume_by_ticket() {
    let dir = TempDir::new().unwrap();
    let files = certificate(dir.path(), "one", &["a.test"]);
    let set = load(std::slice::from_ref(&files));
    let server = edge_server_config(&EdgeCertificates::new(set), &[]).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = client_of_version(&files, version);
        let name = || ServerName::try_from("a.test").unwrap();
        let mut first = connect(&client, &server, name()).unwrap();
        assert!(first.talks() && !first.was_resumed());
        assert_eq!(first.client.protocol_version(), Some(version.version));
        let mut second = connect(&client, &server, name()).unwrap();
        assert!(second.talks() && second.was_resumed(), "{version:?}");
    }
}

#[test]
fn client_certificates_are_asked_for_where_configured() {
    let dir = TempDir::new().unwrap();
    let files = certificate(dir.path(), "server", &["a.test"]);
    let (authorities, caller) = client_certificate(dir.path());
    let set = EdgeCertificates::new(load(std::slice::from_ref(&files)));
    let trust = UpstreamTrust::File(files.certificate.clone());
    let anonymous = upstream_client_config(&trust, None, &[]).unwrap();
    let known = upstream_client_config(&trust, Some(&caller), &[]).unwrap();
    let stranger = upstream_client_config(&trust, Some(&files), &[]).unwrap();
    let name = || ServerName::try_from("a.test").unwrap();

    let required = EdgeClients::Required {
        authorities: authorities.clone(),
    };
    let required = edge_server_config_with_clients(&set, &required, &[]).unwrap();
    let failure = connect(&anonymous, &required, name()).unwrap_err();
    assert_eq!(*failure.server_error(), Error::NoCertificatesPresented);
    assert!(connect(&stranger, &required, name()).is_err());
    for _ in 0..2 {
        let mut connection = connect(&known, &required, name()).unwrap();
        assert!(connection.talks() && !connection.was_resumed());
        assert_eq!(connection.server.peer_certificates().unwrap().len(), 1);
    }

    let optional = EdgeClients::Optional { authorities };
    let optional = edge_server_config_with_clients(&set, &optional, &[]).unwrap();
    assert!(connect(&anonymous, &optional, name()).is_ok());
    assert!(connect(&known, &optional, name()).is_ok());
    assert!(connect(&stranger, &optional, name()).is_err());
}

#[test]
fn an_upstream_must_be_trusted_and_carry_the_name() {
    let dir = TempDir::new().unwrap();
    let ours = certificate(dir.path(), "ours", &["a.test"]);
    let theirs = certificate(dir.path(), "theirs", &["a.test"]);
    let set = load(std::slice::from_ref(&theirs));
    let server = edge_server_config(&EdgeCertificates::new(set), &[]).unwrap();
    let name = |text: &'static str| ServerName::try_from(text).unwrap();

    let client = |files: &CertificateFiles| {
        let trust = UpstreamTrust::File(files.certificate.clone());
        upstream_client_config(&trust, None, &[]).unwrap()
    };
    assert!(connect(&client(&theirs), &server, name("a.test")).is_ok());
    assert!(connect(&client(&theirs), &server, name("b.test")).is_err());
    assert!(connect(&client(&ours), &server, name("a.test")).is_err());

    let missing = UpstreamTrust::File(dir.path().join("missing.pem"));
    let error = upstream_client_config(&missing, None, &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("missing.pem"), "{error}");
    let no_authority = UpstreamTrust::File(ours.key);
    let error = upstream_client_config(&no_authority, None, &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("no usable certificate authority"), "{error}");
}

fn call_without_alpn(
    server: &Arc<ServerConfig>,
    trust: &CertificateFiles,
    name: &'static str,
) -> Connection {
    let trust = UpstreamTrust::File(trust.certificate.clone());
    let client = upstream_client_config(&trust, None, &[]).unwrap();
    connect(&client, server, ServerName::try_from(name).unwrap()).unwrap()
}

fn client_of_version(
    trust: &CertificateFiles,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    assert!([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3].contains(&version.version));
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&trust.certificate).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// An authority's file and a client certificate of it.
fn client_certificate(dir: &Path) -> (PathBuf, CertificateFiles) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();

    // The certificate and its key in one file, as some tools write them.
    let (authorities, both) = (dir.join("authorities.pem"), dir.join("client.pem"));
    std::fs::write(&authorities, issuer.pem()).unwrap();
    std::fs::write(&both, format!("{}{}", leaf.pem(), key.serialize_pem())).unwrap();
    (
        authorities,
        CertificateFiles {
            certificate: both.clone(),
            key: both,
            hosts: vec![],
        },
    )
}
