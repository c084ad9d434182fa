//! Kubernetes manifests as files: several YAML documents, `List` objects, in and out.

use serde_json::Value;

use super::{InjectError, InjectOptions, Outcome, Skip, inject};

/// Largest manifest file, bytes.
pub const MANIFEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A manifest after injection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// The documents as YAML.
    pub yaml: String,
    /// One line per workload: what was done.
    pub notes: Vec<String>,
    /// How many workloads carry the sidecar now.
    pub injected: usize,
}

/// Why a manifest cannot be injected. Nothing is written then.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// Too large.
    #[error("the manifest has {bytes} bytes, the bound is {MANIFEST_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Workloads that cannot be injected, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Workloads(Vec<InjectError>),
    /// The result cannot be written as YAML.
    #[error("the result cannot be written as YAML: {0}")]
    Write(String),
}

/// Injects every workload of a manifest; other documents stay as they are.
///
/// # Errors
/// Text that is not YAML, or workloads that cannot be injected (all of them are named).
pub fn inject_manifest(text: &str, options: &InjectOptions) -> Result<Injected, ManifestError> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLarge { bytes: text.len() });
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| ManifestError::Syntax(error.to_string()))?;
    let mut work = Work {
        options,
        notes: Vec::new(),
        errors: Vec::new(),
        injected: 0,
    };
    let mut yaml = String::new();
    for document in documents.iter().filter(|document| !document.is_null()) {
        let done = work.document(document);
        let text = serde_saphyr::to_string(&done)
            .map_err(|error| ManifestError::Write(error.to_string()))?;
        if !yaml.is_empty() {
            yaml.push_str("---\n");
        }
        yaml.push_str(&text);
        if !yaml.ends_with('\n') {
            yaml.push('\n');
        }
    }
    if work.errors.is_empty() {
        Ok(Injected {
            yaml,
            notes: work.notes,
            injected: work.injected,
        })
    } else {
        Err(ManifestError::Workloads(work.errors))
    }
}

struct Work<'a> {
    options: &'a InjectOptions,
    notes: Vec<String>,
    errors: Vec<InjectError>,
    injected: usize,
}

impl Work<'_> {
    fn document(&mut self, document: &Value) -> Value {
        let is_list = document.get("kind").and_then(Value::as_str) == Some("List");
        let items = document.get("items").and_then(Value::as_array);
        if let (true, Some(items)) = (is_list, items) {
            let items = items.iter().map(|item| self.document(item)).collect();
            let mut list = document.clone();
            list["items"] = Value::Array(items);
            return list;
        }
        let shown = super::workload::shown(document);
        match inject(document, self.options) {
            Ok(Outcome::Injected(injected)) => {
                self.injected += 1;
                self.notes.push(format!("{shown}: sidecar injected"));
                injected
            }
            Ok(Outcome::Skipped(skip)) => {
                if skip != Skip::NotAWorkload {
                    self.notes
                        .push(format!("{shown}: skipped, {}", skip.reason()));
                }
                document.clone()
            }
            Err(error) => {
                self.errors.push(error);
                document.clone()
            }
        }
    }
}
