//! Joining: the control plane verified with nothing but the token.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use weir_identity::{
    ClientAuth, Identity, JoinToken, PeerError, SpiffeId, TrustBundle, join_client_config,
    mesh_server_config, mesh_server_name, provider,
};

use crate::wire::{Connection, Failure, connect};
use crate::world::{HOUR, World};

fn join(token: &JoinToken, server: &Identity) -> Result<Connection, Failure> {
    let server = mesh_server_config(server, ClientAuth::Optional, &[b"http/1.1"]).unwrap();
    join_config(token, &server)
}

fn join_config(token: &JoinToken, server: &Arc<ServerConfig>) -> Result<Connection, Failure> {
    let client = join_client_config(token, &[b"http/1.1"]).unwrap();
    connect(&client, server, mesh_server_name())
}

fn token(world: &World) -> JoinToken {
    JoinToken::generate(world.authority.root_fingerprint()).unwrap()
}

#[test]
fn the_right_fingerprint_joins() {
    let world = World::new("weir.internal");
    let mut connection = join(&token(&world), &world.control_plane()).unwrap();
    assert!(connection.talks());
    assert_eq!(
        connection.server_id(),
        SpiffeId::control_plane(&world.domain)
    );
    assert_eq!(connection.client_id(), Err(PeerError::NoCertificate));
}

#[test]
fn a_wrong_fingerprint_does_not() {
    let (ours, theirs) = (World::new("weir.internal"), World::new("weir.internal"));
    let failure = join(&token(&theirs), &ours.control_plane()).unwrap_err();
    assert_eq!(*failure.client_reason(), PeerError::UnknownRoot);
}

#[test]
fn either_root_of_a_rotation_joins() {
    let (old, new) = (World::new("weir.internal"), World::new("weir.internal"));
    let control = new.control_plane();
    let both = format!("{}{}", old.authority.root_pem(), new.authority.root_pem());
    control.replace_bundle(&TrustBundle::from_pem(&both).unwrap());
    join(&token(&new), &control).unwrap();
    // The old root is presented as well, but does not vouch for the new certificate.
    assert!(matches!(
        join(&token(&old), &control),
        Err(Failure::Client(_))
    ));
}

#[test]
fn another_workload_cannot_pose_as_the_control_plane() {
    let world = World::new("weir.internal");
    let failure = join(&token(&world), &world.service("orders")).unwrap_err();
    assert!(matches!(
        failure.client_reason(),
        PeerError::UnexpectedId { .. }
    ));
}

#[test]
fn the_right_root_beside_somebody_elses_leaf_does_not_help() {
    let (ours, theirs) = (World::new("weir.internal"), World::new("weir.internal"));
    let control = SpiffeId::control_plane(&ours.domain);
    let (leaf, key) = theirs.bare_leaf(&control);
    let root = ours.authority.bundle().unwrap().roots()[0].clone();
    let failure = join_config(&token(&ours), &bare_server(vec![leaf, root], key)).unwrap_err();
    assert!(matches!(
        failure.client_error(),
        rustls::Error::InvalidCertificate(_)
    ));
    assert!(
        PeerError::of(failure.client_error()).is_none(),
        "path validation must refuse it"
    );
}

#[test]
fn an_expired_control_plane_is_refused() {
    let world = World::new("weir.internal");
    let id = SpiffeId::control_plane(&world.domain);
    let late = Identity::new(world.issue_at(&id, world.now - 2 * HOUR));
    let failure = join(&token(&world), &late).unwrap_err();
    assert!(matches!(
        failure.client_error(),
        rustls::Error::InvalidCertificate(_)
    ));
}

fn bare_server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut config = config;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
