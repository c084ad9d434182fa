//! What the authority signs, and what it does not.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, SanType, SignatureAlgorithm,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use weir_identity::{Authority, AuthorityError, Issued, KeyRequest, SpiffeId, TTL_MAX};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::FromDer as _;

use crate::world::{HOUR, World};

fn issue(world: &World, csr: &str) -> Result<Issued, AuthorityError> {
    let dns = ["orders.mesh".to_owned()];
    world
        .authority
        .issue(csr, &world.id("orders"), &dns, HOUR, world.now)
}

fn request(algorithm: &'static SignatureAlgorithm, params: &CertificateParams) -> String {
    let key = KeyPair::generate_for(algorithm).unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn nothing_of_the_request_but_its_key_is_certified() {
    let world = World::new("weir.internal");
    let mut greedy = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    let evil = world.id("payments");
    greedy
        .subject_alt_names
        .push(SanType::URI(evil.as_str().try_into().unwrap()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let issued = issue(&world, &request(&PKCS_ECDSA_P256_SHA256, &greedy)).unwrap();
    assert_eq!(issued.spiffe_id, world.id("orders"));

    let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    let (_, leaf) = parse_x509_certificate(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [
            GeneralName::URI("spiffe://weir.internal/service/orders"),
            GeneralName::DNSName("orders.mesh"),
        ]
    );
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.code_signing);
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_eq!(
        issued.not_after.duration_since(issued.not_before).unwrap(),
        HOUR + Duration::from_secs(60)
    );
}

#[test]
fn serials_differ() {
    let world = World::new("weir.internal");
    let csr = request(&PKCS_ECDSA_P256_SHA256, &CertificateParams::default());
    assert_ne!(
        issue(&world, &csr).unwrap().chain_pem,
        issue(&world, &csr).unwrap().chain_pem
    );
}

#[test]
fn only_modern_keys_are_certified() {
    let world = World::new("weir.internal");
    let plain = CertificateParams::default();
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ] {
        issue(&world, &request(algorithm, &plain)).unwrap();
    }
    for algorithm in [&PKCS_RSA_SHA256, &PKCS_ECDSA_P521_SHA512] {
        let error = issue(&world, &request(algorithm, &plain)).unwrap_err();
        assert!(error.to_string().contains("P-256"), "{error}");
    }
}

#[test]
fn a_request_must_prove_possession_of_its_key() {
    let world = World::new("weir.internal");
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let good = request.der().to_vec();
    assert!(issue(&world, &request.pem().unwrap()).is_ok());
    // Whatever signed byte is changed, nothing is certified; and of the few lenient bytes around
    // the signature none changes the key that is.
    let (_, parsed) = X509CertificationRequest::from_der(&good).unwrap();
    let signed = parsed.certification_request_info.raw;
    let signed_end = signed.as_ptr_range().end as usize - good.as_ptr() as usize;
    let public_key = key.public_key_raw();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x01;
        match issue(&world, &pem(&bytes)) {
            Err(error) => assert!(
                matches!(error, AuthorityError::Request(_)),
                "byte {at}: {error}"
            ),
            Ok(issued) => {
                assert!(at >= signed_end, "byte {at}");
                let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
                assert!(
                    leaf.windows(public_key.len())
                        .any(|window| window == public_key)
                );
            }
        }
        assert!(issue(&world, &pem(&good[..at])).is_err());
    }
    let mut longer = good.clone();
    longer.push(0);
    for text in [
        String::new(),
        "x".repeat(20_000),
        world.authority.root_pem(),
        pem(&longer),
    ] {
        assert!(matches!(
            issue(&world, &text),
            Err(AuthorityError::Request(_))
        ));
    }
}

#[test]
fn what_must_not_be_issued_is_refused() {
    let world = World::new("weir.internal");
    let request = KeyRequest::new().unwrap();
    let issue = |id: &SpiffeId, dns: &[String], ttl| {
        world
            .authority
            .issue(request.csr_pem(), id, dns, ttl, world.now)
            .unwrap_err()
    };
    let foreign = SpiffeId::parse("spiffe://weir.internal.evil/service/orders").unwrap();
    assert!(matches!(
        issue(&foreign, &[], HOUR),
        AuthorityError::ForeignTrustDomain { .. }
    ));
    let orders = world.id("orders");
    for ttl in [
        Duration::ZERO,
        Duration::from_millis(999),
        TTL_MAX + Duration::from_secs(1),
    ] {
        assert!(matches!(
            issue(&orders, &[], ttl),
            AuthorityError::Ttl { .. }
        ));
    }
    for name in ["", "*.mesh", "a b", "\u{e9}.mesh", "10.0.0.1:80"] {
        let error = issue(&orders, &[name.to_owned()], HOUR);
        assert!(matches!(error, AuthorityError::DnsName { .. }), "{name}");
    }
    let many = vec!["a.mesh".to_owned(); 17];
    assert!(matches!(
        issue(&orders, &many, HOUR),
        AuthorityError::DnsName { .. }
    ));
}

#[test]
fn an_authority_survives_a_restart() {
    let world = World::new("weir.internal");
    let (certificate, key) = world.authority.to_pem();
    let loaded = Authority::load(&certificate, &key).unwrap();
    assert_eq!(loaded.trust_domain(), &world.domain);
    assert_eq!(
        loaded.root_fingerprint(),
        world.authority.root_fingerprint()
    );
    assert_eq!(loaded.root_not_after(), world.authority.root_not_after());

    // What the loaded one issues verifies under the bundle of the first.
    let request = KeyRequest::new().unwrap();
    let issued = loaded
        .issue(request.csr_pem(), &world.id("orders"), &[], HOUR, world.now)
        .unwrap();
    request
        .into_current(&issued.chain_pem, world.authority.bundle().unwrap())
        .unwrap();

    let (other_certificate, other_key) = World::new("weir.internal").authority.to_pem();
    let error = Authority::load(&other_certificate, &key).unwrap_err();
    assert!(matches!(error, AuthorityError::KeyMismatch), "{error}");
    let error = Authority::load(&certificate, "").unwrap_err();
    assert!(matches!(error, AuthorityError::KeyUnreadable), "{error}");
    assert!(Authority::load("", &other_key).is_err());
    assert!(!format!("{loaded:?}").contains("PRIVATE"));
}

#[test]
fn nothing_outlives_the_root() {
    let world = World::new("weir.internal");
    let end = world.authority.root_not_after();
    let request = KeyRequest::new().unwrap();
    let issue = |now| {
        world
            .authority
            .issue(request.csr_pem(), &world.id("orders"), &[], HOUR, now)
    };
    assert_eq!(issue(end - HOUR / 2).unwrap().not_after, end);
    assert!(matches!(
        issue(end).unwrap_err(),
        AuthorityError::RootExpired
    ));
}

fn pem(der: &[u8]) -> String {
    let certificate = CertificateDer::from(der.to_vec());
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, certificate);
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}
