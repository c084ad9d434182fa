//! Which path of the admin server does what: a table that the binary fills.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};

/// What a handler returns.
pub type AdminFuture = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

type Handle = Arc<dyn Fn(Request<Bytes>) -> AdminFuture + Send + Sync>;

/// Handlers by path and method. Paths are exact; one that ends in `/*` takes any last segment.
#[derive(Clone, Default)]
pub struct AdminRoutes {
    paths: BTreeMap<&'static str, Vec<Entry>>,
}

#[derive(Clone)]
struct Entry {
    method: Method,
    about: &'static str,
    handle: Handle,
}

/// What a look-up found.
pub(super) enum Found {
    Handle(Handle),
    /// The path is there with these methods only.
    Methods(String),
    Nothing,
}

impl AdminRoutes {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler, in place of one with the same path and method. `about` is one line for the
    /// list at `/`. Handlers share one thread: what takes long is awaited, never blocked on.
    #[must_use]
    pub fn route<F>(
        mut self,
        method: Method,
        path: &'static str,
        about: &'static str,
        handle: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let handle: Handle = Arc::new(move |request| Box::pin(handle(request)));
        let entries = self.paths.entry(path).or_default();
        entries.retain(|entry| entry.method != method);
        entries.push(Entry {
            method,
            about,
            handle,
        });
        self
    }

    /// These paths alone, for an address that more than operators can reach.
    #[must_use]
    pub fn only(mut self, paths: &[&str]) -> Self {
        self.paths.retain(|path, _| paths.contains(path));
        self
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Found {
        let any_last_segment = || {
            let (parent, _) = path.rsplit_once('/')?;
            self.paths.get(format!("{parent}/*").as_str())
        };
        let Some(entries) = self.paths.get(path).or_else(any_last_segment) else {
            return Found::Nothing;
        };
        // HTTP/1 leaves the body out of an answer to HEAD by itself.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        match entries.iter().find(|entry| entry.method == method) {
            Some(entry) => Found::Handle(Arc::clone(&entry.handle)),
            None => {
                let methods: Vec<_> = entries.iter().map(|entry| entry.method.as_str()).collect();
                Found::Methods(methods.join(", "))
            }
        }
    }

    /// One line per path and method.
    pub(super) fn list(&self) -> String {
        let mut list = String::new();
        for (path, entries) in &self.paths {
            for entry in entries {
                list += &format!("{:<5} {path:<12} {}\n", entry.method.as_str(), entry.about);
            }
        }
        list
    }
}

impl fmt::Debug for AdminRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list())
    }
}
