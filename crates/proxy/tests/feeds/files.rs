//! A node with a file, and the files that a document names: endpoints, certificates, keys.

use std::fs;
use std::path::Path;

use tempfile::tempdir;
use weir_proxy::node::{ConfigSource, StartError};
use weir_testkit::authority::Authority;
use weir_testkit::client::{Client, Trust};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Reply, Upstream};

use crate::world::{DEADLINE, around, gateway, get};

/// The example key of RFC 7517.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","use":"sig","kid":"1","alg":"ES256",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[tokio::test]
async fn endpoints_of_a_file_are_there_at_the_first_request_and_follow_the_file() {
    let (one, two) = (
        Upstream::start(Reply::ok("one")),
        Upstream::start(Reply::ok("two")),
    );
    let (web, directory) = (free_addr(), tempdir().unwrap());
    let list = directory.path().join("users.yaml");
    fs::write(&list, format!("[\"{}\"]", one.addr())).unwrap();
    let config = directory.path().join("weir.yaml");
    let text = format!(
        "listeners: {{ web: {{ bind: \"{web}\" }} }}\n\
         services: {{ users: {{ file: \"{}\" }} }}\n\
         routes: [{{ path: \"/*\", to: users }}]\n",
        list.display()
    );
    fs::write(&config, &text).unwrap();
    let around = around();
    let source = ConfigSource::File(config.clone());
    let node = gateway(&around, source, &directory.path().join("state"))
        .await
        .unwrap();
    let url = format!("http://{web}/x");
    assert_eq!(
        get(&url).await,
        (200, "one".to_owned()),
        "no request finds nobody"
    );

    replace(&list, &format!("[\"{}\"]", two.addr()));
    eventually(DEADLINE, async || get(&url).await.1 == "two").await;

    // Another text around the same source keeps its watch; the service never goes without.
    replace(&config, &format!("# moved down\n\n{text}"));
    let store = node.store();
    let label = store.current().unwrap().candidate.label.clone();
    eventually(DEADLINE, async || {
        assert_eq!(get(&url).await, (200, "two".to_owned()));
        store.current().unwrap().candidate.label != label
    })
    .await;
    assert_eq!(get(&url).await, (200, "two".to_owned()));
}

#[tokio::test]
async fn a_refused_file_changes_nothing_and_certificate_errors_have_their_place() {
    let directory = tempdir().unwrap();
    let config = directory.path().join("weir.yaml");
    let text = format!(
        "listeners:\n  web:\n    bind: \"{}\"\n    tls:\n      certificates:\n        - \
         {{ cert: /nowhere.crt, key: /nowhere.key }}\n",
        free_addr()
    );
    fs::write(&config, text).unwrap();
    let started = gateway(&around(), ConfigSource::File(config), directory.path()).await;
    let Err(StartError::File(error)) = started else {
        panic!("it started")
    };
    let told = error.to_string();
    assert!(told.contains("weir.yaml:6:"), "{told}");
    assert!(told.contains("listeners.web.tls.certificates[0]"), "{told}");
    assert!(told.contains("/nowhere.crt"), "{told}");
}

#[tokio::test]
async fn a_renewed_certificate_file_is_served_and_a_broken_one_is_not() {
    let upstream = Upstream::start(Reply::ok("users"));
    let (web, directory) = (free_addr(), tempdir().unwrap());
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (certificate, key) = old.issue(&["localhost"]).write(directory.path(), "edge");
    let config = directory.path().join("weir.yaml");
    let text = format!(
        "listeners:\n  web: {{ bind: \"{web}\", tls: {{ certificates: [{{ cert: \"{}\", \
         key: \"{}\" }}] }} }}\n\
         services: {{ users: {{ endpoints: [\"{}\"] }} }}\n\
         routes: [{{ path: \"/*\", to: users }}]\n",
        certificate.display(),
        key.display(),
        upstream.addr()
    );
    fs::write(&config, text).unwrap();
    let around = around();
    let node = gateway(&around, ConfigSource::File(config), directory.path())
        .await
        .unwrap();
    let url = format!("https://localhost:{}/", web.port());
    let believes = async |authority: &Authority| {
        let client = Client::http1()
            .trust(Trust::only(authority))
            .connect_to(web);
        client
            .get(&url)
            .await
            .is_ok_and(|answer| answer.text() == "users")
    };
    assert!(believes(&old).await && !believes(&new).await);

    // Half of a change: the old one stays.
    let renewed = new.issue(&["localhost"]);
    replace(&certificate, renewed.certificate_pem());
    let refused = node.store().refresh_files().await.unwrap_err();
    assert!(refused.to_string().contains("does not match"), "{refused}");
    assert!(believes(&old).await);
    replace(&key, renewed.key_pem());
    eventually(DEADLINE, async || believes(&new).await).await;
    assert!(!believes(&old).await);
    drop(node);
}

#[tokio::test]
async fn keys_come_from_a_file_a_service_and_a_url() {
    let upstream = Upstream::start(Reply::ok(JWKS).header("cache-control", "max-age=600"));
    let directory = tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    fs::write(&file, JWKS).unwrap();
    let config = directory.path().join("weir.yaml");
    let issuer = |name: &str, jwks: &str| {
        format!("  {name}: {{ issuer: {name}, audience: a, jwks: {jwks} }}\n")
    };
    let route =
        |name: &str| format!("  - {{ path: /{name}, auth: {{ jwt: {name} }}, to: users }}\n");
    let text = format!(
        "listeners: {{ web: {{ bind: \"{}\" }} }}\n\
         services: {{ users: {{ endpoints: [\"{}\"] }} }}\nroutes:\n{}{}{}issuers:\n{}{}{}",
        free_addr(),
        upstream.addr(),
        route("file"),
        route("service"),
        route("url"),
        issuer("file", &format!("{{ file: \"{}\" }}", file.display())),
        issuer("service", "{ service: users, path: /keys }"),
        issuer("url", &format!("\"{}\"", upstream.url("/url.json"))),
    );
    fs::write(&config, text).unwrap();
    let node = gateway(&around(), ConfigSource::File(config), directory.path())
        .await
        .unwrap();
    let snapshot = node.engine().snapshot().unwrap();
    assert_eq!(snapshot.issuers.len(), 3);
    eventually(DEADLINE, async || {
        let waiting = snapshot
            .issuers
            .iter()
            .filter(|issuer| !issuer.live.is_ready());
        let names: Vec<_> = waiting.map(|issuer| issuer.name.clone()).collect();
        if names.is_empty() { Ok(()) } else { Err(names) }
    })
    .await;
    let asked: Vec<String> = upstream
        .requests()
        .iter()
        .map(|request| request.path.clone())
        .collect();
    for path in ["/keys", "/url.json"] {
        assert!(
            asked.iter().any(|asked| asked == path),
            "{path} is not in {asked:?}"
        );
    }

    // A file that changes is read at once; a broken one leaves the keys alone.
    let issuer = snapshot
        .issuers
        .iter()
        .find(|issuer| &*issuer.name == "file")
        .unwrap();
    let generation = issuer.live.status().generation;
    replace(&file, &JWKS.replace("\"kid\":\"1\"", "\"kid\":\"2\""));
    eventually(DEADLINE, async || {
        issuer.live.status().generation > generation
    })
    .await;
    assert_eq!(issuer.live.status().keys[0].id.as_deref(), Some("2"));
    replace(&file, "{}");
    replace(&file, &JWKS.replace("\"kid\":\"1\"", "\"kid\":\"3\""));
    eventually(DEADLINE, async || {
        let id = issuer.live.status().keys[0].id.clone();
        assert!(matches!(id.as_deref(), Some("2" | "3")), "{id:?}");
        id.as_deref() == Some("3")
    })
    .await;
}
