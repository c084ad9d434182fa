//! The Consul client against a real agent, one per test, in memory and on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod agent;

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_config::endpoint::Endpoint;
use weir_config::position::Located;
use weir_config::service::Source;
use weir_discovery::consul::{
    Consul, Error, Health, KvView, Operation, Outcome, Registrar, Registration, Settings, Token,
};
use weir_discovery::{Discover, Discovery, Watch};

use agent::Agent;

/// Long enough for anything that is to happen.
const DEADLINE: Duration = Duration::from_secs(20);
/// How soon a change in the catalog must reach a watch.
const SOON: Duration = Duration::from_secs(1);

fn users(id: &str, port: u16) -> Registration {
    Registration {
        id: id.to_owned(),
        name: "users".to_owned(),
        address: "127.0.0.1".to_owned(),
        port,
        tags: vec!["v1".to_owned()],
        meta: [
            ("weir-identity", "spiffe://weir.internal/service/users"),
            ("zone", "a"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        ttl: Duration::from_secs(3),
        deregister_after: Some(Duration::from_secs(60)),
    }
}

/// Waits until what the watch shows passes `test`.
async fn until<T: ?Sized>(watch: &mut Watch<T>, test: impl Fn(&T) -> bool) -> Arc<T> {
    let found = async {
        loop {
            if let Some(value) = watch.current().filter(|value| test(value)) {
                return value;
            }
            watch.next().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, found)
        .await
        .expect("the watch never showed it")
}

async fn until_failing<T: ?Sized>(watch: &mut Watch<T>, expected: bool) -> weir_discovery::Status {
    let found = async {
        while watch.status().last_error.is_some() != expected {
            watch.status_changed().await.unwrap();
        }
        watch.status()
    };
    tokio::time::timeout(DEADLINE, found)
        .await
        .expect("the error state never changed")
}

fn none(members: &[Endpoint]) -> bool {
    members.is_empty()
}

#[tokio::test]
async fn registration_health_and_removal_reach_a_watch() {
    let agent = Agent::start().await;
    let consul = agent.consul();
    let source = Source::Consul {
        name: Located {
            value: "users".to_owned(),
            at: Default::default(),
        },
        tag: Some("v1".to_owned()),
        datacenter: None,
    };
    let mut watch = Discovery::new().with_consul(consul.clone()).watch(&source);
    until(&mut watch, none).await;
    let registrar = Registrar::new(consul.clone());

    let started = Instant::now();
    registrar.register(users("u1", 5001)).await.unwrap();
    let members = until(&mut watch, |members| members.len() == 1).await;
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    let found = &members[0];
    assert_eq!(
        (found.address.as_str(), found.healthy),
        ("127.0.0.1:5001", true)
    );
    assert_eq!((found.zone.as_str(), found.weight), ("a", 1));
    assert_eq!(
        found.identity.as_deref(),
        Some("spiffe://weir.internal/service/users")
    );
    assert_eq!(found.labels["tag.v1"], "true");

    assert!(
        registrar
            .fail("u1", "the app does not answer")
            .await
            .unwrap()
    );
    until(&mut watch, |members| !members[0].healthy).await;
    assert!(registrar.pass("u1").await.unwrap());
    until(&mut watch, |members| members[0].healthy).await;

    // Other tags are not ours.
    let other = Registration {
        tags: vec!["v2".to_owned()],
        ..users("u2", 5002)
    };
    registrar.register(other).await.unwrap();
    registrar.register(users("u3", 5003)).await.unwrap();
    let members = until(&mut watch, |members| members.len() == 2).await;
    assert_eq!(members[1].address, "127.0.0.1:5003");

    let started = Instant::now();
    registrar.deregister_all().await.unwrap();
    until(&mut watch, none).await;
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(watch.status().last_error.is_none());
    let services = consul.catalog_services(None).await.unwrap().value;
    assert_eq!(services.keys().collect::<Vec<_>>(), ["consul"]);
}

#[tokio::test]
async fn an_instance_whose_keeper_died_turns_unhealthy() {
    let agent = Agent::start().await;
    let mut watch = agent.consul().watch_service("users", None, None);
    let registrar = Registrar::new(agent.consul());
    let short = Registration {
        ttl: Duration::from_secs(1),
        ..users("u1", 5001)
    };
    registrar.register(short).await.unwrap();
    {
        let keeping = registrar.run();
        tokio::pin!(keeping);
        until(&mut watch, |members| members.len() == 1).await;
        // Three times to live: it is kept.
        let kept = tokio::time::timeout(Duration::from_secs(3), &mut keeping).await;
        assert!(kept.is_err() && watch.current().unwrap()[0].healthy);
    }
    until(&mut watch, |members| !members[0].healthy).await;
}

#[tokio::test]
async fn an_outage_freezes_and_a_new_agent_recovers() {
    let mut agent = Agent::start().await;
    let consul = agent.consul();
    let registrar = Arc::new(Registrar::new(consul.clone()));
    let keeper = Arc::clone(&registrar);
    let keeping = tokio::spawn(async move { keeper.run().await });
    let mut watch = consul.watch_service("users", None, None);
    let mut config = consul.watch_key("weir/config");
    // Bring the indexes well past where a new agent starts, so that only the rewinding rule and
    // not luck finds the way back.
    for round in 0..40 {
        consul
            .kv_put("weir/config", format!("{round}").as_bytes())
            .await
            .unwrap();
    }
    registrar.register(users("u1", 5001)).await.unwrap();
    let before = until(&mut watch, |members| members.len() == 1).await;
    until(&mut config, |view| {
        view.entries
            .first()
            .is_some_and(|entry| entry.value == b"39")
    })
    .await;

    agent.kill();
    let status = until_failing(&mut watch, true).await;
    assert!(status.since.is_some());
    let error = status.last_error.unwrap().to_string();
    assert!(error.contains(&agent.address()), "{error}");
    assert_eq!(watch.current().unwrap(), before);

    // The new agent knows nothing: the registrar registers again, and the watch never saw less.
    agent.restart().await;
    until_failing(&mut watch, false).await;
    assert_eq!(watch.current().unwrap(), before);
    registrar.register(users("u2", 5002)).await.unwrap();
    until(&mut watch, |members| members.len() == 2).await;
    // The key is lost, and a key that vanished in an outage is not believed to be; a new value is.
    assert_eq!(config.current().unwrap().entries[0].value, b"39");
    consul.kv_put("weir/config", b"new").await.unwrap();
    until(&mut config, |view| view.entries[0].value == b"new").await;
    keeping.abort();
}

#[tokio::test]
async fn keys_are_written_compared_and_watched() {
    let agent = Agent::start().await;
    let consul = agent.consul();
    let key = "weir/revisions/ä 1";
    let missing = consul.kv_get(key).await.unwrap();
    assert!(missing.value.is_none() && missing.index.is_some());
    let mut watch: Watch<KvView> = consul.watch_prefix("weir/");
    until(&mut watch, |view| view.entries.is_empty()).await;

    let started = Instant::now();
    assert!(
        consul
            .kv_put_cas(key, &[0, 159, 146, 150], 0)
            .await
            .unwrap()
    );
    let view = until(&mut watch, |view| view.entries.len() == 1).await;
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(view.entries[0].key, key);
    assert_eq!(view.entries[0].value, [0, 159, 146, 150], "any bytes");

    // A conflict writes nothing.
    assert!(!consul.kv_put_cas(key, b"other", 0).await.unwrap());
    let index = consul
        .kv_get(key)
        .await
        .unwrap()
        .value
        .unwrap()
        .modify_index;
    assert!(!consul.kv_put_cas(key, b"other", index + 1).await.unwrap());
    assert!(consul.kv_put_cas(key, b"next", index).await.unwrap());
    until(&mut watch, |view| view.entries[0].value == b"next").await;
    assert!(!consul.kv_delete_cas(key, index).await.unwrap());

    consul.kv_put("weir/empty", b"").await.unwrap();
    assert_eq!(
        consul
            .kv_get("weir/empty")
            .await
            .unwrap()
            .value
            .unwrap()
            .value,
        b""
    );
    assert_eq!(
        consul.kv_keys("weir/").await.unwrap().value,
        ["weir/empty", key]
    );
    consul.kv_delete("weir/empty").await.unwrap();
    assert_eq!(consul.kv_list("weir/").await.unwrap().value.len(), 1);
    consul.kv_delete_prefix("weir/").await.unwrap();
    until(&mut watch, |view| view.entries.is_empty()).await;
}

#[tokio::test]
async fn transactions_do_all_or_nothing() {
    let agent = Agent::start().await;
    let consul = agent.consul();
    let set = |key: &str| Operation::Set {
        key: key.to_owned(),
        value: b"v".to_vec(),
    };
    let absent = |key: &str| Operation::CheckNotExists {
        key: key.to_owned(),
    };
    let done = consul
        .txn(&[absent("a"), set("a"), set("b")])
        .await
        .unwrap();
    let Outcome::Committed(entries) = done else {
        panic!("{done:?}")
    };
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).collect();
    assert!(keys.ends_with(&["a", "b"]), "{keys:?}");

    let refused = consul.txn(&[set("c"), absent("a")]).await.unwrap();
    let Outcome::Refused(why) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(why[0].op_index, 1);
    assert!(consul.kv_get("c").await.unwrap().value.is_none());

    let index = entries.last().unwrap().modify_index;
    let cas = |index| {
        [
            Operation::SetCas {
                key: "b".to_owned(),
                value: b"w".to_vec(),
                index,
            },
            Operation::Delete {
                key: "a".to_owned(),
            },
        ]
    };
    assert!(matches!(
        consul.txn(&cas(index + 9)).await.unwrap(),
        Outcome::Refused(_)
    ));
    assert!(matches!(
        consul.txn(&cas(index)).await.unwrap(),
        Outcome::Committed(_)
    ));
    assert_eq!(consul.kv_get("b").await.unwrap().value.unwrap().value, b"w");
    let many = vec![set("x"); 65];
    assert!(matches!(
        consul.txn(&many).await,
        Err(Error::TooManyOperations { count: 65, .. })
    ));
}

#[tokio::test]
async fn sessions_hold_keys() {
    let agent = Agent::start().await;
    let consul = agent.consul();
    let open = async || {
        let ttl = Duration::from_secs(10);
        consul
            .session_create("leader", ttl, Duration::ZERO)
            .await
            .unwrap()
    };
    let (first, second) = (open().await, open().await);
    assert!(
        consul
            .kv_acquire("weir/leader", b"one", &first)
            .await
            .unwrap()
    );
    assert!(
        !consul
            .kv_acquire("weir/leader", b"two", &second)
            .await
            .unwrap()
    );
    let held = consul.kv_get("weir/leader").await.unwrap().value.unwrap();
    assert_eq!(
        (held.session.as_ref(), held.value.as_slice()),
        (Some(&first), b"one".as_slice())
    );
    assert!(consul.session_renew(&first).await.unwrap());
    assert!(
        !consul
            .kv_release("weir/leader", b"", &second)
            .await
            .unwrap()
    );
    assert!(consul.kv_release("weir/leader", b"", &first).await.unwrap());
    assert!(
        consul
            .kv_acquire("weir/leader", b"two", &second)
            .await
            .unwrap()
    );
    let mut watch = consul.watch_key("weir/leader");
    until(&mut watch, |view| {
        view.entries[0].session.as_ref() == Some(&second)
    })
    .await;
    consul.session_destroy(&second).await.unwrap();
    until(&mut watch, |view| view.entries[0].session.is_none()).await;
    assert!(!consul.session_renew(&second).await.unwrap());
}

#[tokio::test]
async fn the_agent_says_what_it_is_and_what_it_has_not() {
    let agent = Agent::start().await;
    let consul = agent.consul();
    let own = consul.agent_self().await.unwrap();
    assert!(own.server && own.datacenter == "dc1" && !own.version.is_empty());
    assert!(
        !consul
            .update_check("service:nobody", Health::Passing, "")
            .await
            .unwrap()
    );
    consul.deregister_service("nobody").await.unwrap();
    let error = consul.watch_service("users", None, Some("nowhere"));
    let mut watch = error;
    let error = until_failing(&mut watch, true)
        .await
        .last_error
        .unwrap()
        .to_string();
    assert!(
        error.contains("answered 500: No path to datacenter"),
        "{error}"
    );
}

#[tokio::test]
async fn tls_and_tokens_are_checked() {
    let token = "8a6ec2a5-51f1-4a80-9b73-0f8a4bd1c4a1";
    let (agent, ca) = Agent::start_secured(token).await;
    let secured = Settings {
        ca: Some(ca),
        ..Settings::new(agent.address())
    };
    let with = |token: Option<&str>| {
        Consul::new(Settings {
            token: token.map(Token::text),
            ..secured.clone()
        })
        .unwrap()
    };
    with(Some(token)).kv_put("weir/config", b"v").await.unwrap();
    let error = with(Some("00000000-aaaa-bbbb-cccc-000000000000"))
        .kv_put("weir/config", b"w")
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Status { code: 403, .. }), "{error}");
    let unread = with(None).kv_put("weir/config", b"w").await.unwrap_err();
    assert!(
        matches!(unread, Error::Status { code: 403, .. }),
        "{unread}"
    );
    // Another name than the certificate's, or other roots: no connection at all.
    let misnamed = Settings {
        server_name: Some("elsewhere.test".to_owned()),
        ..secured.clone()
    };
    let error = Consul::new(misnamed).unwrap().leader().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let foreign = Settings {
        ca: Some(agent.foreign_ca()),
        ..secured.clone()
    };
    let error = Consul::new(foreign).unwrap().leader().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}
