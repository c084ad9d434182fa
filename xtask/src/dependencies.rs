//! Who may import whom: the table, as text for ARCHITECTURE.md and as a check of every manifest.

use std::fmt::Write as _;
use std::path::Path;

/// One member of the workspace.
#[derive(Debug)]
pub struct Member {
    /// Its directory.
    pub directory: &'static str,
    /// The workspace members it may depend on.
    pub may_use: &'static [&'static str],
    /// What it must never depend on outside of the workspace.
    pub must_not_use: &'static [&'static str],
}

/// Who may switch on the Consul client of `weir-discovery`.
const CONSUL_USERS: &[&str] = &["control-plane", "gateway"];

/// Engines and I/O, which decisions never touch.
const IO: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "tower",
    "pingora-core",
    "rustls",
    "prometheus",
    "tracing",
    "rand",
];

/// The law. A member that is not listed here fails the check.
pub const MEMBERS: &[Member] = &[
    Member {
        directory: "config",
        may_use: &[],
        must_not_use: IO,
    },
    Member {
        directory: "crates/policy",
        may_use: &["config"],
        must_not_use: IO,
    },
    Member {
        directory: "crates/protocol",
        may_use: &["config"],
        must_not_use: IO,
    },
    Member {
        directory: "crates/files",
        may_use: &[],
        must_not_use: &["hyper", "pingora-core"],
    },
    Member {
        directory: "crates/identity",
        may_use: &[],
        must_not_use: &["hyper", "pingora-core", "tokio"],
    },
    Member {
        directory: "crates/allocator",
        may_use: &[],
        must_not_use: IO,
    },
    Member {
        directory: "crates/telemetry",
        may_use: &[],
        must_not_use: &["hyper", "pingora-core", "tokio"],
    },
    Member {
        directory: "crates/process",
        may_use: &["telemetry"],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "crates/discovery",
        may_use: &["config", "files"],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "crates/proxy",
        may_use: &[
            "config",
            "policy",
            "protocol",
            "identity",
            "telemetry",
            "process",
            "discovery",
            "files",
        ],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "gateway",
        may_use: &[
            "allocator",
            "config",
            "policy",
            "protocol",
            "identity",
            "telemetry",
            "process",
            "discovery",
            "proxy",
        ],
        must_not_use: &[],
    },
    Member {
        directory: "sidecar",
        may_use: &[
            "allocator",
            "config",
            "policy",
            "protocol",
            "identity",
            "telemetry",
            "process",
            "proxy",
        ],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "control-plane",
        may_use: &[
            "config",
            "policy",
            "protocol",
            "identity",
            "telemetry",
            "process",
            "discovery",
        ],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "cli",
        may_use: &[
            "allocator",
            "config",
            "policy",
            "protocol",
            "identity",
            "telemetry",
            "process",
            "gateway",
            "sidecar",
            "control-plane",
        ],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "sample-services",
        may_use: &[],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "crates/testkit",
        may_use: &[],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "e2e",
        may_use: &[],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "benches",
        may_use: &[
            "allocator",
            "config",
            "policy",
            "protocol",
            "identity",
            "micro",
        ],
        must_not_use: &["pingora-core"],
    },
    Member {
        directory: "benches/micro",
        may_use: &["allocator", "config", "policy", "telemetry"],
        must_not_use: &["pingora-core", "hyper", "tokio"],
    },
    Member {
        directory: "xtask",
        may_use: &["config", "policy", "telemetry"],
        must_not_use: &["pingora-core"],
    },
];

/// Every way in which the manifests below `root` break the table.
///
/// # Errors
/// A manifest that cannot be read.
pub fn violations(root: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let workspace = std::fs::read_to_string(root.join("Cargo.toml"))?;
    for line in section(&workspace, "members = [") {
        let directory = line.trim().trim_matches(|c| c == '"' || c == ',');
        if !directory.is_empty() && !MEMBERS.iter().any(|member| member.directory == directory) {
            found.push(format!("{directory}: not in the dependency table"));
        }
    }
    for member in MEMBERS {
        let manifest = std::fs::read_to_string(root.join(member.directory).join("Cargo.toml"))?;
        for name in dependencies(&manifest) {
            check(member, &name, &mut found);
        }
        let consul = manifest
            .lines()
            .any(|line| line.starts_with("weir-discovery") && line.contains("\"consul\""));
        if consul && !CONSUL_USERS.contains(&member.directory) {
            found.push(format!(
                "{}: must not use weir-discovery's `consul`",
                member.directory
            ));
        }
    }
    Ok(found)
}

fn check(member: &Member, dependency: &str, found: &mut Vec<String>) {
    if let Some(own) = dependency.strip_prefix("weir-") {
        if own == "testkit" && member.directory != "e2e" {
            found.push(format!(
                "{}: weir-testkit is for [dev-dependencies]",
                member.directory
            ));
        } else if own != "testkit" && !member.may_use.contains(&own) {
            found.push(format!("{}: may not use weir-{own}", member.directory));
        }
    } else if member.must_not_use.contains(&dependency) {
        found.push(format!("{}: must not use {dependency}", member.directory));
    }
}

/// Names under `[dependencies]` and `[target.….dependencies]`, not those for tests.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]"
                || (line.ends_with(".dependencies]") && line.starts_with("[target"));
        } else if inside && !line.starts_with('#') {
            let name: String = line
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
                .collect();
            if !name.is_empty() && line.contains('=') {
                names.push(name);
            }
        }
    }
    names
}

fn section<'a>(text: &'a str, start: &str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .skip_while(move |line| *line != start)
        .skip(1)
        .take_while(|line| *line != "]")
}

/// The table for ARCHITECTURE.md. The Consul client is a feature of `weir-discovery`.
#[must_use]
pub fn markdown() -> String {
    let mut out =
        String::from("| crate | may use of the workspace | must not use |\n|---|---|---|\n");
    for member in MEMBERS {
        let list = |names: &[&str]| {
            if names.is_empty() {
                "–".to_owned()
            } else {
                names.join(", ")
            }
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            member.directory,
            list(member.may_use),
            list(member.must_not_use)
        );
    }
    let _ = writeln!(
        out,
        "\nThe Consul client, feature `consul` of `weir-discovery`: {} only.",
        CONSUL_USERS.join(", ")
    );
    out
}
