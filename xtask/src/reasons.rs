//! Every timeout, limit and refusal of the data plane, with the word that it is told under and the
//! end-to-end test that has seen it there. `reasons.txt` is the list; this module holds it against
//! the code, the language and the tests, and makes the reference page of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use weir_policy::refusal::Code;
use weir_telemetry::closing;
use weir_telemetry::termination::Termination;

const LIST: &str = include_str!("../reasons.txt");

/// How a reason is told: its name in the list, and where it is seen.
const TOLD: &[(&str, &str)] = &[
    ("closed", "`weir_listener_connections_closed_total`"),
    ("ejection", "`weir_upstream_ejections_total`"),
    ("end", "`termination` in the access log"),
    (
        "handshake-failed",
        "`weir_listener_tls_handshakes_failed_total`",
    ),
    ("hedge-withheld", "`weir_upstream_hedges_withheld_total`"),
    ("interim", "`weir_upstream_interim_responses_total`"),
    ("limit-reached", "`weir_upstream_limits_reached_total`"),
    ("mirror-dropped", "`weir_mirror_dropped_total`"),
    ("mirror-failed", "`weir_mirror_failed_total`"),
    ("refusal", "answer"),
    ("retry-denied", "`weir_upstream_retries_denied_total`"),
];

/// Settings whose names say that they bound something, and which refuse nothing: what they do.
const SILENT: &[(&str, &str)] = &[
    (
        "CacheStore.bytes_max",
        "what was used longest ago makes room",
    ),
    (
        "CacheStore.object_bytes_max",
        "what is larger is not stored",
    ),
    (
        "HealthCheck.timeout",
        "the check fails: weir_upstream_health_checks_total",
    ),
    ("Maglev.load_max", "another endpoint is taken"),
    ("Outlier.ejection_max", "the endpoint is asked again"),
    (
        "Outlier.share_max",
        "weir_upstream_ejections_withheld_total",
    ),
    ("RingHash.load_max", "another endpoint is taken"),
];

/// A line of the list.
#[derive(Debug)]
struct Row {
    section: &'static str,
    what: &'static str,
    kind: &'static str,
    setting: &'static str,
    told: &'static str,
    word: &'static str,
    proof: &'static str,
}

/// What is wrong with the list.
///
/// # Errors
/// A test or the schema cannot be read.
pub fn violations(root: &Path) -> io::Result<Vec<String>> {
    let rows = rows().map_err(io::Error::other)?;
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for row in &rows {
        let Row { told, word, .. } = row;
        if !seen.insert((*told, *word)) {
            found.push(format!("{told} {word}: is the reason of two things"));
        }
        let known = match *told {
            "refusal" => Code::named(word).is_some(),
            "end" => Termination::ALL.iter().any(|end| end.code() == *word),
            "closed" => closing::ALL.contains(word),
            told => TOLD.iter().any(|(name, _)| *name == told),
        };
        if !known {
            found.push(format!("{told} {word}: there is no such reason"));
        }
        if matches!(row.kind, "timeout" | "limit") && row.setting == "-" {
            found.push(format!("{told} {word}: which setting, or `fixed`?"));
        }
        if let Err(fault) = proven(root, row) {
            found.push(format!("{told} {word}: {fault}"));
        }
    }
    let mut expect = |told, word: &'static str| {
        if !seen.contains(&(told, word)) {
            found.push(format!("{told} {word}: is not on the list"));
        }
    };
    Code::ALL
        .iter()
        .for_each(|code| expect("refusal", code.as_str()));
    Termination::ALL
        .iter()
        .for_each(|end| expect("end", end.code()));
    closing::ALL.iter().for_each(|word| expect("closed", word));
    let settings: Vec<_> = rows.iter().map(|row| row.setting).collect();
    for (owner, key) in bounds() {
        let name = format!("{owner}.{key}");
        let listed = settings.iter().any(|setting| names(setting, &owner, &key));
        if listed == SILENT.iter().any(|(silent, _)| *silent == name) {
            found.push(format!("{name}: under which reason is it told?"));
        }
    }
    Ok(found)
}

/// The reference page.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# Reasons\n\nEvery timeout, limit and refusal has a word of its own. An *answer* carries it as \
         `weir-reason`, in its problem document, and as `reason` in the access log; \
         `weir_http_refusals_total` counts it ([what to do about each](refusals.md)). The others \
         are labels of metrics. `make test` holds this list against the code, and against the \
         end-to-end test that has seen each.\n",
    );
    let mut section = "";
    for row in rows().unwrap_or_default() {
        if row.section != section {
            section = row.section;
            let _ = write!(
                out,
                "\n## {section}\n\n| what | kind | setting | reason | told by | status | gRPC |\n\
                 |---|---|---|---|---|---|---|\n"
            );
        }
        let told = TOLD.iter().find(|(name, _)| *name == row.told);
        let told = told.map_or("", |(_, place)| place);
        let answer = Code::named(row.word).filter(|_| row.told == "refusal");
        let (status, grpc) = match answer.map(Code::row) {
            Some(row) => (
                row.status.as_u16().to_string(),
                row.grpc.number().to_string(),
            ),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let kind = match row.kind {
            "end" => "–",
            kind => kind,
        };
        let setting = match row.setting {
            "-" => "–",
            setting => setting,
        };
        let _ = writeln!(
            out,
            "| {} | {kind} | {setting} | `{}` | {told} | {status} | {grpc} |",
            row.what, row.word
        );
    }
    out
}

fn rows() -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut section = "";
    for line in LIST.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            section = name;
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [kind, what, setting, told, word, proof] = fields[..] else {
            return Err(format!("not six fields: {line}"));
        };
        if !["timeout", "limit", "refusal", "end"].contains(&kind) {
            return Err(format!("no such kind: {line}"));
        }
        rows.push(Row {
            section,
            what,
            kind,
            setting,
            told,
            word,
            proof,
        });
    }
    Ok(rows)
}

/// Whether the test that the row names is there and sees the reason, itself or in a helper of its
/// file.
fn proven(root: &Path, row: &Row) -> Result<(), String> {
    if let Some(why) = row.proof.strip_prefix('!') {
        return match why.len() > 20 {
            true => Ok(()),
            false => Err("say why no test can see it".to_owned()),
        };
    }
    let (file, test) = row.proof.split_once("::").ok_or("which test?")?;
    let path = root.join("e2e/tests").join(file);
    let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
    // Top-level items begin at the start of a line; a test is told from a helper by its mark.
    let mark = format!("async fn {test}(");
    let mut items = text.split("\n}\n");
    if !items
        .clone()
        .any(|item| is_test(item) && item.contains(&mark))
    {
        return Err(format!("there is no test {test} in {file}"));
    }
    let (quoted, field) = (
        format!("\"{}\"", row.word),
        format!("weir-reason: {}", row.word),
    );
    let sees = |item: &str| item.contains(&quoted) || item.contains(&field);
    match items.any(|item| sees(item) && (item.contains(&mark) || !is_test(item))) {
        true => Ok(()),
        false => Err(format!("{test} in {file} does not see it")),
    }
}

fn is_test(item: &str) -> bool {
    item.contains("#[tokio::test")
}

/// The keys of the language that bound something, by the name of what they stand in.
fn bounds() -> Vec<(String, String)> {
    let schema = weir_config::schema::schema();
    let definitions = schema.get("$defs").and_then(|all| all.as_object());
    let mut found = Vec::new();
    for (owner, definition) in definitions.into_iter().flatten() {
        let mut keys = BTreeSet::new();
        collect_keys(definition, &mut keys);
        let all = matches!(owner.as_str(), "Timeouts" | "Limits");
        let bounding = |key: &String| {
            let ends = ["_max", "timeout", "_rate_min"];
            all || ends.iter().any(|end| key.ends_with(end))
        };
        let keys = keys.into_iter().filter(bounding);
        found.extend(keys.map(|key| (owner.clone(), key)));
    }
    found
}

fn collect_keys(schema: &serde_json::Value, keys: &mut BTreeSet<String>) {
    if let Some(properties) = schema.get("properties").and_then(|it| it.as_object()) {
        keys.extend(properties.keys().cloned());
    }
    for branch in ["allOf", "anyOf", "oneOf"] {
        let branches = schema.get(branch).and_then(|it| it.as_array());
        for branch in branches.into_iter().flatten() {
            collect_keys(branch, keys);
        }
    }
}

/// Whether a setting of the list is this key: `` `key` ``, or with what it stands in before it.
fn names(setting: &str, owner: &str, key: &str) -> bool {
    let within = match owner {
        "JsonChanges" => "transform.request.",
        "Limits" => "limits.",
        "Mirror" => "mirror[].",
        "Openapi" => "openapi.",
        "Retry" => "retry.",
        "Tcp" => "tcp.",
        "Timeouts" => "timeouts.",
        "TlsPassthrough" => "sni[].",
        _ => "",
    };
    setting.contains(&format!("`{within}{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(proof: &'static str, word: &'static str) -> Row {
        Row {
            section: "",
            what: "",
            kind: "limit",
            setting: "fixed",
            told: "closed",
            word,
            proof,
        }
    }

    #[test]
    fn a_reason_without_a_test_that_sees_it_is_found() {
        let root = crate::root();
        let test = "edge/bounds.rs::more_connections_than_allowed_are_closed_at_once";
        assert_eq!(proven(&root, &row(test, "full")), Ok(()));
        // In another test of the file, and nowhere.
        assert!(proven(&root, &row(test, "client-full")).is_err());
        assert!(proven(&root, &row(test, "bored")).is_err());
        assert!(proven(&root, &row("edge/bounds.rs::no_such_test", "full")).is_err());
        assert!(proven(&root, &row("!", "full")).is_err());
    }

    #[test]
    fn keys_that_bound_something_are_found_in_the_schema() {
        let bounds = bounds();
        for (owner, key) in [
            ("Limits", "pending"),
            ("Listener", "header_bytes_max"),
            ("Listener", "client_rate_min"),
            ("Timeouts", "per_try"),
        ] {
            assert!(
                bounds.contains(&(owner.to_owned(), key.to_owned())),
                "{key}"
            );
        }
    }
}
