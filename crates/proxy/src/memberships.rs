//! Who serves each service now: followed here where the proxy can see for itself, told by the
//! control plane otherwise, and passed on to the engine.
//!
//! A watch lives as long as its source is in the document unchanged, over any number of reloads.
//! Before a document is installed, the sources that are new in it get a moment to answer, so that
//! its first request finds somebody.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use weir_config::endpoint::Endpoint;
use weir_config::service::Source;
use weir_discovery::{Discover, Status, Watch};
use weir_policy::snapshot::{Service, Snapshot};
use weir_protocol::MembershipChange;

mod metrics;

/// Takes the endpoints of a service: the engine.
pub type Tell = Arc<dyn Fn(&str, Arc<[Endpoint]>) + Send + Sync>;

/// The memberships of all services.
pub struct Memberships {
    discover: Box<dyn Discover>,
    tell: Tell,
    /// Whether a control plane tells who serves `mesh:` and `consul:` services.
    joined: bool,
    state: Mutex<State>,
    told_changed: Notify,
}

#[derive(Default)]
struct State {
    /// By service name; of the document in force and of the one about to be.
    followed: HashMap<String, Followed>,
    /// What the control plane said last, by service name. Kept for services that no document names
    /// yet: the membership may come before the revision.
    told: BTreeMap<String, Arc<[Endpoint]>>,
}

struct Followed {
    source: SourceKey,
    latest: Arc<Mutex<Latest>>,
    /// For its status.
    watch: Watch,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a watch showed last.
struct Latest {
    endpoints: Option<Arc<[Endpoint]>>,
    /// Whether the engine is to be told: not before the document is installed, where a document in
    /// force has another source under the same name.
    in_force: bool,
}

/// A source without its places in the text, which change with every line above them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SourceKey {
    Consul {
        name: String,
        tag: Option<String>,
        datacenter: Option<String>,
    },
    /// What is looked up and where, as it is shown.
    Dns(String),
    File(std::path::PathBuf),
    Mesh(String),
}

/// A service's membership, for people.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The service's name.
    pub service: String,
    /// Where they come from.
    pub source: String,
    /// Its endpoints now; `None` while nobody has answered.
    pub endpoints: Option<Arc<[Endpoint]>>,
    /// How its source is doing, where this proxy asks it by itself.
    pub status: Option<Status>,
}

/// Watches begun for a document that is not in force yet; dropped, they end.
pub struct Prepared {
    fresh: HashMap<String, Followed>,
}

impl Memberships {
    /// Follows nobody yet.
    pub fn new(discover: Box<dyn Discover>, tell: Tell, joined: bool) -> Self {
        Self {
            discover,
            tell,
            joined,
            state: Mutex::default(),
            told_changed: Notify::new(),
        }
    }

    /// The control plane says who serves a service.
    pub fn told(&self, service: &str, endpoints: Vec<Endpoint>) {
        let endpoints: Arc<[Endpoint]> = endpoints.into();
        let mut state = self.lock();
        state
            .told
            .insert(service.to_owned(), Arc::clone(&endpoints));
        // One the proxy follows by itself is not the control plane's business.
        if !state.followed.contains_key(service) {
            (self.tell)(service, endpoints);
        }
        drop(state);
        self.told_changed.notify_one();
    }

    /// The control plane says what changed since it last told who serves a service. `false`: that
    /// does not fit what it told, and nothing is changed.
    pub fn told_change(&self, change: MembershipChange) -> bool {
        let service = change.service.clone();
        let before = self.lock().told.get(&service).cloned().unwrap_or_default();
        let Some(endpoints) = change.applied(&before) else {
            return false;
        };
        self.told(&service, endpoints);
        true
    }

    /// Waits until the control plane has told something new. For one waiter.
    pub async fn told_changed(&self) {
        self.told_changed.notified().await;
    }

    /// What the control plane said last, to be kept over a restart.
    pub fn all_told(&self) -> BTreeMap<String, Arc<[Endpoint]>> {
        self.lock().told.clone()
    }

    /// Begins to follow what is new in `snapshot`, and waits a moment for first answers.
    pub async fn prepare(&self, snapshot: &Snapshot) -> Prepared {
        let mut fresh = HashMap::new();
        let mut first_answers = Vec::new();
        for service in &snapshot.services {
            let Some(key) = self.followable(&service.source) else {
                continue;
            };
            let name = &*service.name;
            let state = self.lock();
            let known = state.followed.get(name).map(|known| &known.source);
            if known == Some(&key) {
                continue;
            }
            // Where others serve this name in the document in force, the swap comes first.
            let in_force = known.is_none() && !state.told.contains_key(name);
            drop(state);
            let watch = self.discover.watch(&service.source);
            let tell = Arc::clone(&self.tell);
            let (followed, answered) = follow(name, key, watch, tell, in_force);
            fresh.insert(name.to_owned(), followed);
            first_answers.push(answered);
        }
        let all = async {
            for answered in first_answers {
                // Its end without an answer is an answer.
                let _ = answered.await;
            }
        };
        if timeout(FIRST_ANSWER_TIME_MAX, all).await.is_err() {
            tracing::warn!("some sources of endpoints have not answered yet");
        }
        Prepared { fresh }
    }

    /// `snapshot` is in force: follows what was prepared for it, and nothing that it does not name.
    pub fn commit(&self, snapshot: &Snapshot, prepared: Prepared) {
        let mut state = self.lock();
        state.followed.extend(prepared.fresh);
        let named: HashMap<&str, &Source> = snapshot
            .services
            .iter()
            .map(|service| (&*service.name, &service.source))
            .collect();
        let mut dropped = Vec::new();
        state.followed.retain(|name, followed| {
            let source = named.get(name.as_str());
            let source = source.and_then(|source| self.followable(source));
            let stays = source.as_ref() == Some(&followed.source);
            if !stays {
                dropped.push(name.clone());
            }
            stays
        });
        for (name, followed) in &state.followed {
            let mut latest = lock(&followed.latest);
            if !latest.in_force {
                latest.in_force = true;
                if let Some(endpoints) = &latest.endpoints {
                    (self.tell)(name, Arc::clone(endpoints));
                }
            }
        }
        // A service may have come back to the control plane from a source of its own. One that is
        // gone leaves nobody behind, should its name come back.
        for name in dropped {
            let endpoints = state.told.get(&name).cloned().unwrap_or_default();
            (self.tell)(&name, endpoints);
        }
    }

    /// The services of `snapshot` and who serves them now.
    pub fn show(&self, snapshot: &Snapshot) -> Vec<Shown> {
        let show = |service: &Service| Shown {
            service: service.name.to_string(),
            source: service.source.to_string(),
            endpoints: self.show_one(service),
            status: self.status(service),
        };
        snapshot.services.iter().map(show).collect()
    }

    /// Who serves a service now; `None` while nobody has answered.
    pub fn show_one(&self, service: &Service) -> Option<Arc<[Endpoint]>> {
        if let Source::Endpoints(written) = &service.source {
            return Some(
                written
                    .iter()
                    .map(|endpoint| endpoint.value.clone())
                    .collect(),
            );
        }
        let state = self.lock();
        match state.followed.get(&*service.name) {
            Some(followed) => lock(&followed.latest).endpoints.clone(),
            None => state.told.get(&*service.name).cloned(),
        }
    }

    fn status(&self, service: &Service) -> Option<Status> {
        let state = self.lock();
        Some(state.followed.get(&*service.name)?.watch.status())
    }

    /// What this proxy follows by itself.
    fn followable(&self, source: &Source) -> Option<SourceKey> {
        match source {
            Source::Consul { .. } | Source::Mesh(_) if self.joined => None,
            Source::Endpoints(_) => None,
            Source::Consul {
                name,
                tag,
                datacenter,
            } => Some(SourceKey::Consul {
                name: name.value.clone(),
                tag: tag.clone(),
                datacenter: datacenter.clone(),
            }),
            Source::Dns(dns) => Some(SourceKey::Dns(dns.to_string())),
            Source::File(path) => Some(SourceKey::File(path.value.clone())),
            Source::Mesh(name) => Some(SourceKey::Mesh(name.value.clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for Memberships {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Memberships")
            .field("followed", &state.followed.keys())
            .field("told", &state.told.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prepared").field(&self.fresh.keys()).finish()
    }
}

/// Follows one watch as a task; the second value ends when it has answered or failed.
fn follow(
    service: &str,
    source: SourceKey,
    watch: Watch,
    tell: Tell,
    in_force: bool,
) -> (Followed, oneshot::Receiver<()>) {
    let latest = Arc::new(Mutex::new(Latest {
        in_force,
        endpoints: None,
    }));
    let (answered, first) = oneshot::channel();
    let (name, shared, mut watched) = (service.to_owned(), Arc::clone(&latest), watch.clone());
    let task = tokio::spawn(async move {
        let mut status = watched.clone();
        let mut answered = Some(answered);
        loop {
            let endpoints = tokio::select! {
                endpoints = watched.next() => endpoints,
                // A first failure is an answer as well: nobody waits for the second.
                _ = status.status_changed(), if answered.is_some() => {
                    answered = None;
                    continue;
                }
            };
            let Some(endpoints) = endpoints else { return };
            let mut latest = lock(&shared);
            latest.endpoints = Some(Arc::clone(&endpoints));
            if latest.in_force {
                tell(&name, endpoints);
            }
            drop(latest);
            answered = None;
        }
    });
    (
        Followed {
            source,
            latest,
            watch,
            task: task.abort_handle(),
        },
        first,
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks leaves the value whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a document waits for the sources that are new in it. A name server that is down must
/// not hold up a change for long.
const FIRST_ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
