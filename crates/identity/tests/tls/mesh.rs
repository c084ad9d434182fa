//! Mesh connections: who is accepted by whom, and what a renewal or rotation changes.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::version::TLS12;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};
use weir_identity::{
    ClientAuth, Expect, Identity, IdentityError, KeyRequest, PeerError, SpiffeId, TrustBundle,
    mesh_client_config, mesh_server_config, mesh_server_name, provider,
};

use crate::wire::{Connection, Failure, connect};
use crate::world::{HOUR, World};

const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

fn call(client: &Identity, expect: Expect, server: &Identity) -> Result<Connection, Failure> {
    let client = mesh_client_config(client, expect, ALPN).unwrap();
    let server = mesh_server_config(server, ClientAuth::Required, ALPN).unwrap();
    connect(&client, &server, mesh_server_name())
}

#[test]
fn the_right_id_is_accepted_and_both_sides_know_each_other() {
    let world = World::new("weir.internal");
    let (users, orders) = (world.service("users"), world.service("orders"));
    let mut connection = call(&users, Expect::Exactly(world.id("orders")), &orders).unwrap();
    assert!(connection.talks());
    assert_eq!(connection.server_id(), world.id("orders"));
    assert_eq!(connection.client_id().unwrap(), world.id("users"));
    assert_eq!(connection.client.alpn_protocol(), Some(b"h2".as_slice()));
    assert_eq!(connection.server.server_name(), None);

    call(&users, Expect::AnyInTrustDomain, &orders).unwrap();
    call(&users, Expect::ControlPlane, &world.control_plane()).unwrap();
}

#[test]
fn another_service_than_the_called_one_is_refused() {
    let world = World::new("weir.internal");
    let (users, orders) = (world.service("users"), world.service("orders"));
    let failure = call(&users, Expect::Exactly(world.id("payments")), &orders).unwrap_err();
    let (expected, found) = (world.id("payments"), world.id("orders"));
    assert_eq!(
        *failure.client_reason(),
        PeerError::UnexpectedId { expected, found }
    );
    let failure = call(&users, Expect::ControlPlane, &orders).unwrap_err();
    assert!(matches!(
        failure.client_reason(),
        PeerError::UnexpectedId { .. }
    ));
}

#[test]
fn another_authority_is_refused_by_both_sides() {
    let (ours, theirs) = (World::new("weir.internal"), World::new("weir.internal"));
    let failure = call(
        &ours.service("users"),
        Expect::AnyInTrustDomain,
        &theirs.service("orders"),
    )
    .unwrap_err();
    assert!(
        matches!(failure.client_error(), Error::InvalidCertificate(_)),
        "{failure:?}"
    );

    // A client that trusts the server, but not the other way round.
    let imposter = theirs.service("users");
    let both = format!(
        "{}{}",
        ours.authority.root_pem(),
        theirs.authority.root_pem()
    );
    imposter.replace_bundle(&TrustBundle::from_pem(&both).unwrap());
    let failure = call(&imposter, Expect::AnyInTrustDomain, &ours.service("orders")).unwrap_err();
    assert!(
        matches!(failure.server_error(), Error::InvalidCertificate(_)),
        "{failure:?}"
    );
}

#[test]
fn another_trust_domain_is_refused_even_under_a_trusted_root() {
    let (ours, theirs) = (World::new("weir.internal"), World::new("other.internal"));
    let both = format!(
        "{}{}",
        ours.authority.root_pem(),
        theirs.authority.root_pem()
    );
    let both = TrustBundle::from_pem(&both).unwrap();
    let (users, orders) = (ours.service("users"), theirs.service("orders"));
    users.replace_bundle(&both);
    for expect in [
        Expect::AnyInTrustDomain,
        Expect::Exactly(theirs.id("orders")),
    ] {
        let failure = call(&users, expect, &orders).unwrap_err();
        assert!(matches!(
            failure.client_reason(),
            PeerError::ForeignTrustDomain { .. }
        ));
    }

    // The server is as strict: a client whose chain verifies, of another domain.
    let payments = ours.service("payments");
    payments.replace_bundle(&both);
    let key_and_leaf = theirs.bare_leaf(&theirs.id("users"));
    let foreign = bare_client(&ours, key_and_leaf);
    let server = mesh_server_config(&payments, ClientAuth::Required, &[]).unwrap();
    let failure = connect(&foreign, &server, mesh_server_name()).unwrap_err();
    assert!(matches!(
        failure.server_reason(),
        PeerError::ForeignTrustDomain { .. }
    ));
}

#[test]
fn an_expired_certificate_is_refused_by_both_sides() {
    let world = World::new("weir.internal");
    let late = |name: &str| Identity::new(world.issue_at(&world.id(name), world.now - 2 * HOUR));
    let failure = call(
        &world.service("users"),
        Expect::AnyInTrustDomain,
        &late("orders"),
    )
    .unwrap_err();
    assert!(is_expired(failure.client_error()), "{failure:?}");
    let failure = call(
        &late("users"),
        Expect::AnyInTrustDomain,
        &world.service("orders"),
    )
    .unwrap_err();
    assert!(is_expired(failure.server_error()), "{failure:?}");

    let early = Identity::new(world.issue_at(&world.id("orders"), world.now + HOUR));
    call(&world.service("users"), Expect::AnyInTrustDomain, &early).unwrap_err();
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let world = World::new("weir.internal");
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(
        world.id("orders").as_str().try_into().unwrap(),
    )];
    let leaf = params.self_signed(&key).unwrap();
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.into()], key.into())
        .unwrap();
    let expect = Expect::Exactly(world.id("orders"));
    let client = mesh_client_config(&world.service("users"), expect, &[]).unwrap();
    let failure = connect(&client, &Arc::new(server), mesh_server_name()).unwrap_err();
    assert!(matches!(
        failure.client_error(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    ));
}

#[test]
fn a_client_without_certificate_enters_only_where_it_is_optional() {
    let world = World::new("weir.internal");
    let orders = world.service("orders");
    let verified = mesh_client_config(&world.service("users"), Expect::AnyInTrustDomain, &[]);
    let mut anonymous = ClientConfig::clone(&verified.unwrap());
    anonymous.client_auth_cert_resolver = Arc::new(NoCertificate);
    let anonymous = Arc::new(anonymous);

    let required = mesh_server_config(&orders, ClientAuth::Required, &[]).unwrap();
    let failure = connect(&anonymous, &required, mesh_server_name()).unwrap_err();
    assert_eq!(*failure.server_error(), Error::NoCertificatesPresented);

    let optional = mesh_server_config(&orders, ClientAuth::Optional, &[]).unwrap();
    let mut connection = connect(&anonymous, &optional, mesh_server_name()).unwrap();
    assert!(connection.talks());
    assert_eq!(connection.client_id(), Err(PeerError::NoCertificate));
}

#[test]
fn a_renewal_counts_for_the_next_handshake_and_open_connections_go_on() {
    let world = World::new("weir.internal");
    let (users, orders) = (world.service("users"), world.service("orders"));
    let client = mesh_client_config(&users, Expect::AnyInTrustDomain, &[]).unwrap();
    let server = mesh_server_config(&orders, ClientAuth::Required, &[]).unwrap();
    let mut open = connect(&client, &server, mesh_server_name()).unwrap();
    let old = open.server_leaf();

    orders.replace(world.issue(&world.id("orders"))).unwrap();
    let mut next = connect(&client, &server, mesh_server_name()).unwrap();
    assert_ne!(next.server_leaf(), old);
    assert!(open.talks() && next.talks());

    // And on the client's side.
    let seen = |connection: &Connection| connection.server.peer_certificates().unwrap().to_vec();
    users.replace(world.issue(&world.id("users"))).unwrap();
    let last = connect(&client, &server, mesh_server_name()).unwrap();
    assert_ne!(seen(&last), seen(&next));
    assert!(open.talks());
}

#[test]
fn a_root_is_rotated_without_new_configurations() {
    let (old, new) = (World::new("weir.internal"), World::new("weir.internal"));
    let (users, orders) = (old.service("users"), old.service("orders"));
    let client = mesh_client_config(&users, Expect::AnyInTrustDomain, &[]).unwrap();
    let server = mesh_server_config(&orders, ClientAuth::Required, &[]).unwrap();
    let works = || connect(&client, &server, mesh_server_name()).is_ok();
    assert!(works());

    // Everybody trusts both, then the certificates change, then nobody trusts the old one.
    let both = format!("{}{}", old.authority.root_pem(), new.authority.root_pem());
    let both = TrustBundle::from_pem(&both).unwrap();
    users.replace_bundle(&both);
    orders.replace_bundle(&both);
    assert!(works());
    orders.replace(new.issue(&new.id("orders"))).unwrap();
    orders.replace_bundle(&both);
    assert!(works());
    users.replace(new.issue(&new.id("users"))).unwrap();
    assert!(works());
    orders.replace_bundle(&new.authority.bundle().unwrap());
    assert!(works());
    users.replace_bundle(&old.authority.bundle().unwrap());
    assert!(!works());
}

#[test]
fn a_renewal_cannot_change_who_we_are() {
    let world = World::new("weir.internal");
    let orders = world.service("orders");
    let before = orders.current();
    let error = orders
        .replace(world.issue(&world.id("payments")))
        .unwrap_err();
    assert!(matches!(error, IdentityError::Renamed { .. }), "{error}");
    assert!(Arc::ptr_eq(&before, &orders.current()));
}

#[test]
fn an_answer_for_another_key_or_root_makes_no_identity() {
    let (world, other) = (World::new("weir.internal"), World::new("weir.internal"));
    let issue = |request: &KeyRequest| {
        let id = world.id("orders");
        world
            .authority
            .issue(request.csr_pem(), &id, &[], HOUR, world.now)
            .unwrap()
            .chain_pem
    };
    let (ours, theirs) = (KeyRequest::new().unwrap(), KeyRequest::new().unwrap());
    let bundle = world.authority.bundle().unwrap();
    let chain = issue(&theirs);
    let error = ours.into_current(&chain, bundle.clone()).unwrap_err();
    assert!(matches!(error, IdentityError::KeyMismatch), "{error}");
    let error = theirs
        .into_current(&chain, other.authority.bundle().unwrap())
        .unwrap_err();
    assert!(matches!(error, IdentityError::ChainUntrusted(_)), "{error}");
    let error = KeyRequest::new()
        .unwrap()
        .into_current("", bundle)
        .unwrap_err();
    assert!(
        matches!(error, IdentityError::Certificate(PeerError::NoCertificate)),
        "{error}"
    );
}

#[test]
fn no_session_is_resumed_and_tls12_is_refused() {
    let world = World::new("weir.internal");
    let (users, orders) = (world.service("users"), world.service("orders"));
    let client = mesh_client_config(&users, Expect::AnyInTrustDomain, &[]).unwrap();
    let server = mesh_server_config(&orders, ClientAuth::Required, &[]).unwrap();
    for _ in 0..3 {
        let mut connection = connect(&client, &server, mesh_server_name()).unwrap();
        assert!(connection.talks() && !connection.was_resumed());
    }

    let old = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(Arc::new(rustls::RootCertStore::empty()))
        .with_no_client_auth();
    let failure = connect(&Arc::new(old), &server, mesh_server_name()).unwrap_err();
    assert!(matches!(failure.server_error(), Error::PeerIncompatible(_)));
}

#[test]
fn an_identity_knows_its_times() {
    let world = World::new("weir.internal");
    let id = SpiffeId::gateway(&world.domain, "edge-1").unwrap();
    let current = world.issue(&id);
    assert_eq!(current.spiffe_id(), &id);
    let life = current
        .not_after()
        .duration_since(current.not_before())
        .unwrap();
    assert_eq!(life, HOUR + weir_identity::CLOCK_SKEW);
    let issued = current.not_before() + weir_identity::CLOCK_SKEW;
    assert_eq!(current.renew_at(1 << 63), issued + 2 * HOUR / 3);

    // A life of seconds is renewed within it, not at once.
    let request = KeyRequest::new().unwrap();
    let ttl = std::time::Duration::from_secs(6);
    let short = world
        .authority
        .issue(request.csr_pem(), &id, &[], ttl, world.now)
        .unwrap();
    let bundle = world.authority.bundle().unwrap();
    let short = request.into_current(&short.chain_pem, bundle).unwrap();
    assert!(short.renew_at(0) > world.now && short.renew_at(u64::MAX) < short.not_after());
}

/// A client that trusts our world's servers blindly and presents a given leaf.
fn bare_client(
    world: &World,
    (leaf, key): (
        rustls_pki_types::CertificateDer<'static>,
        rustls_pki_types::PrivateKeyDer<'static>,
    ),
) -> Arc<ClientConfig> {
    let certified = rustls::sign::CertifiedKey::from_der(vec![leaf], key, &provider()).unwrap();
    let identity = world.service("anybody");
    let config = mesh_client_config(&identity, Expect::AnyInTrustDomain, &[]).unwrap();
    let mut config = ClientConfig::clone(&config);
    config.client_auth_cert_resolver =
        Arc::new(rustls::sign::SingleCertAndKey::from(Arc::new(certified)));
    Arc::new(config)
}

fn is_expired(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    )
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
