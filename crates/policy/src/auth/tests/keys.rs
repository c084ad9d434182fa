//! Key sets: what comes in, how a key is found, and what happens when the set changes.

use serde_json::{Value, json};
use weir_config::auth::Algorithm;

use super::signing::{self, Signer};
use super::{EC, EC384, ED, RSA, Shop, claims};
use crate::auth::{JWKS_BYTES_MAX, KeysError};
use crate::refusal::Code;

#[test]
fn without_keys_nothing_is_believed() {
    let mut shop = Shop::without_keys();
    let token = EC.token(&json!({"alg": "ES256", "kid": "e1"}), &claims());
    let refusal = shop.check(&token).unwrap_err();
    assert_eq!(refusal.code, Code::KeysUnavailable);
    assert!(refusal.retry_after.is_some());
    assert!(shop.issuers[0].live.take_wanted(), "the keys are asked for");
    shop.install(&json!({"keys": [EC.jwk()]})).unwrap();
    assert_eq!(shop.code(&token), None);
}

#[test]
fn key_ids_choose_keys_and_unknown_ones_ask_for_a_fetch() {
    let mut shop = Shop::new();
    let unnamed = EC.token(&json!({"alg": "ES256"}), &claims());
    assert_eq!(
        shop.code(&unnamed),
        None,
        "without kid the keys of the family are tried"
    );
    assert!(!shop.issuers[0].live.take_wanted());

    let fresh = Signer::p256("e2");
    let token = fresh.token(&json!({"alg": "ES256", "kid": "e2"}), &claims());
    assert_eq!(shop.code(&token), Some(Code::TokenInvalid));
    assert!(
        shop.issuers[0].live.take_wanted(),
        "an unknown key may be a new one"
    );
    assert!(!shop.issuers[0].live.take_wanted(), "taken");
    shop.install(&json!({"keys": [EC.jwk(), fresh.jwk()]}))
        .unwrap();
    assert_eq!(shop.code(&token), None);
    assert_eq!(shop.code(&unnamed), None);
    let unnamed = fresh.token(&json!({"alg": "ES256"}), &claims());
    assert_eq!(shop.code(&unnamed), None, "the second of the family");

    // A fifth key of the family is not tried without its id.
    let family: Vec<Signer> = (0..5)
        .map(|number| Signer::p256(&format!("f{number}")))
        .collect();
    let keys: Vec<Value> = family.iter().map(Signer::jwk).collect();
    shop.install(&json!({"keys": keys})).unwrap();
    let without = |signer: &Signer| signer.token(&json!({"alg": "ES256"}), &claims());
    assert_eq!(shop.code(&without(&family[3])), None);
    assert_eq!(shop.code(&without(&family[4])), Some(Code::TokenInvalid));
    let named = family[4].token(&json!({"alg": "ES256", "kid": "f4"}), &claims());
    assert_eq!(shop.code(&named), None);
}

#[test]
fn taking_a_key_away_ends_what_it_signed() {
    let mut shop = Shop::new();
    let token = EC.token(&json!({"alg": "ES256", "kid": "e1"}), &claims());
    assert_eq!(shop.code(&token), None);
    let keys = json!({"keys": [RSA.jwk(), EC.jwk(), EC384.jwk(), ED.jwk()]});
    let generation = shop.issuers[0].live.status().generation;
    shop.install(&keys).unwrap();
    assert_eq!(
        shop.issuers[0].live.status().generation,
        generation,
        "the same set again"
    );
    shop.install(&json!({"keys": [ED.jwk()]})).unwrap();
    assert_eq!(shop.code(&token), Some(Code::TokenInvalid));
    let status = shop.issuers[0].live.status();
    assert_eq!((status.generation, status.keys.len()), (generation + 1, 1));
    assert_eq!(status.keys[0].id.as_deref(), Some("d1"));
    // A set that cannot be used leaves the one before.
    assert!(matches!(
        shop.install(&json!({"keys": []})),
        Err(KeysError::NoUsableKey { seen: 0 })
    ));
    assert!(matches!(
        shop.install(&json!([])),
        Err(KeysError::Malformed(_))
    ));
    assert_eq!(shop.issuers[0].live.status().keys.len(), 1);
}

#[test]
fn keys_about_which_anything_disagrees_are_left_out() {
    let shop = Shop::without_keys();
    let changed = |signer: &Signer, name: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().insert(name.to_owned(), value);
        jwk
    };
    let short = signing::rsa_jwk(&[0xC1; 128], &[1, 0, 1]);
    let padded = signing::rsa_jwk(&[[0_u8; 128], [0xC1; 128]].concat(), &[1, 0, 1]);
    let useless = [
        changed(&EC, "use", json!("enc")),
        changed(&EC, "key_ops", json!(["sign"])),
        changed(&EC, "alg", json!("ES384")),
        changed(&EC, "alg", json!("RS256")),
        changed(&EC, "alg", json!("HS256")),
        changed(&EC, "alg", json!("ECDH-ES")),
        changed(&EC, "crv", json!("P-384")),
        changed(&EC, "crv", json!("Ed25519")),
        changed(&EC, "crv", json!("secp256k1")),
        changed(&EC, "x", json!("AAAA")),
        changed(&EC, "kty", json!("OKP")),
        changed(&ED, "crv", json!("X25519")),
        changed(&ED, "x", json!("AAAA")),
        changed(&RSA, "alg", json!("RSA-OAEP")),
        changed(&RSA, "alg", json!("RS384")),
        changed(&RSA, "n", json!("not base64!")),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "ES256"}),
        json!({"kty": "EC"}),
        json!({"kid": "nothing"}),
        json!("a key"),
        short,
        padded,
    ];
    for key in &useless {
        let installed = shop.install(&json!({"keys": [key]}));
        assert!(
            matches!(installed, Err(KeysError::NoUsableKey { seen: 1 })),
            "{key}"
        );
    }
    // They do not cost the good one among them, and what is unknown about a key is ignored.
    let mut keys = useless.to_vec();
    keys.push(changed(&EC, "key_ops", json!(["verify"])));
    keys.push(changed(&ED, "x5c", json!(["…"])));
    assert_eq!(shop.install(&json!({"keys": keys})).unwrap(), 2);
    let many: Vec<Value> = (0..200)
        .map(|id| changed(&EC, "kid", json!(id.to_string())))
        .collect();
    assert_eq!(shop.install(&json!({"keys": many})).unwrap(), 64);
    let long = vec![b' '; JWKS_BYTES_MAX + 1];
    let installed = shop.issuers[0].live.install(&long, &[Algorithm::Es256]);
    assert!(matches!(installed, Err(KeysError::TooLong { .. })));
}
