//! A document with errors, as far as it could be read, so that whoever knows more about documents
//! can say what else is wrong with it: an author should see every error at once.
//!
//! Not for running: what could not be read is missing or has a stand-in. The one idea: where
//! something is wrong already, nothing is concluded from it ([`Doubts`]), so that no error is only
//! the shadow of another.

use std::collections::HashSet;

use crate::decode::{Decoder, Faulty};
use crate::document::Document;
use crate::error::{ConfigError, ConfigErrors};
use crate::yaml::{Node, Value};

/// A text that is no valid document, and what could be read of it.
#[derive(Debug)]
pub struct Broken {
    /// What could be read. Listeners, services, issuers and routes keep their names and numbers:
    /// those that could not be read have a stand-in.
    pub rest: Document,
    /// What of it says nothing reliable.
    pub doubts: Doubts,
    errors: Vec<ConfigError>,
    dropped: usize,
}

impl Broken {
    /// Every error: those of the text, and those that others found in what could be read, of which
    /// `uncollected` were only counted.
    pub fn into_errors(self, found: Vec<ConfigError>, uncollected: usize) -> ConfigErrors {
        let mut errors = self.errors;
        errors.extend(found);
        ConfigErrors::collect(errors, self.dropped + uncollected)
    }
}

/// Which parts of a document have an error in them. Nothing is to be concluded from such a part
/// beyond what stands there: a route with a misspelt `methods` only looks like its neighbour.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Paths of sections and entries.
    paths: HashSet<String>,
}

impl Doubts {
    /// Whether something is wrong inside the route at an index.
    pub fn route(&self, index: usize) -> bool {
        !self.paths.is_empty() && self.paths.contains(&format!("routes[{index}]"))
    }

    /// Whether something is wrong inside an entry of a section.
    pub fn entry(&self, section: Section, name: &str) -> bool {
        if self.paths.is_empty() {
            return false;
        }
        let mut path = crate::decode::Path::default();
        path.push_key(section.key());
        path.push_key(name);
        self.paths.contains(&path.into_text())
    }

    /// Whether a section may have names that could not be read.
    pub fn names(&self, section: Section) -> bool {
        self.paths.contains(section.key())
    }
}

/// A section of the document whose entries have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `issuers`.
    Issuers,
    /// `listeners`.
    Listeners,
    /// `services`.
    Services,
}

impl Section {
    const ALL: [Section; 3] = [Section::Issuers, Section::Listeners, Section::Services];

    fn key(self) -> &'static str {
        match self {
            Section::Issuers => "issuers",
            Section::Listeners => "listeners",
            Section::Services => "services",
        }
    }
}

/// Reads a document; when something is wrong, as far as that goes.
pub(crate) fn read(text: &str) -> Result<Document, Box<Broken>> {
    let mut decoder = Decoder::default();
    let tree = crate::yaml::parse(text, &mut decoder);
    let document = tree
        .as_ref()
        .and_then(|tree| Document::decode(tree, &mut decoder));
    let read = decoder.finish(document).map_err(|faulty| {
        let Faulty {
            rest,
            errors,
            dropped,
            mut paths,
        } = faulty;
        if let Some(tree) = &tree {
            doubt_more(tree, &mut paths);
        }
        Box::new(Broken {
            rest: rest.unwrap_or_default(),
            doubts: Doubts { paths },
            errors,
            dropped,
        })
    });
    if let Some(tree) = tree {
        tree.free();
    }
    read
}

/// Adds what is in doubt although no error stands there.
fn doubt_more(tree: &Node, paths: &mut HashSet<String>) {
    // An unknown key of the document is perhaps a misspelt section.
    let misspelt = match &tree.value {
        Value::Map(entries) => entries.iter().any(|(key, _)| paths.contains(key.as_str())),
        Value::List(_) | Value::Scalar { .. } => true,
    };
    let unwritten = Section::ALL
        .map(Section::key)
        .into_iter()
        .filter(|key| tree.get(key).is_none());
    if misspelt {
        paths.extend(unwritten.map(str::to_owned));
    }
    // A route alone, without the brackets of a list, has errors that do not name its number.
    let alone = tree
        .get("routes")
        .is_some_and(|routes| matches!(routes.value, Value::Map(_)));
    if alone {
        paths.insert("routes[0]".to_owned());
    }
}
