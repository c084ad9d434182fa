//! The two ends of a watch: what a source publishes, and what its follower sees.
//!
//! Rules, the same for every source: only a change is published; a failure leaves the value alone
//! and raises the error state; the next success lowers it, published or not; when the follower is
//! gone the source stops.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use weir_config::bounds::ENDPOINTS_MAX;
use weir_config::endpoint::Endpoint;

use crate::error::Error;

/// Follows one value that changes; for a service, who is there now.
#[derive(Debug)]
pub struct Watch<T: ?Sized = [Endpoint]> {
    values: watch::Receiver<Option<Arc<T>>>,
    status: watch::Receiver<Status>,
}

/// Follows the same source; it ends when the last of them is dropped.
impl<T: ?Sized> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self {
            values: self.values.clone(),
            status: self.status.clone(),
        }
    }
}

/// How a source is doing.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Why it fails at present; `None` when it does not.
    pub last_error: Option<Arc<Error>>,
    /// Since when it fails without a break; `None` when it does not.
    pub since: Option<SystemTime>,
    /// Failures without a success between them.
    pub failures: u64,
    /// When it last answered, changed or not; `None` when it never has.
    pub refreshed: Option<SystemTime>,
    /// How often it was asked, and what became of it.
    pub asked: Asked,
}

/// How often a source was asked, since it is watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// It answered with endpoints.
    pub answered: u64,
    /// It did not answer, or not to the point; or a part of its answer is missing.
    pub failed: u64,
    /// It answered that there is nobody.
    pub negative: u64,
}

impl<T: ?Sized> Watch<T> {
    /// Waits for the next change and answers the newest value, skipping those in between. `None`:
    /// there will never be another one, and the last stands. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<T>> {
        loop {
            self.values.changed().await.ok()?;
            let value = self.values.borrow_and_update().clone();
            if value.is_some() {
                return value;
            }
        }
    }

    /// The newest value, without waiting; `None` when the source has not answered yet.
    pub fn current(&self) -> Option<Arc<T>> {
        self.values.borrow().clone()
    }

    /// How the source is doing.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until the source starts or stops failing. `None`: it has ended. Cancel safe.
    pub async fn status_changed(&mut self) -> Option<Status> {
        self.status.changed().await.ok()?;
        Some(self.status.borrow_and_update().clone())
    }

    /// A watch that has ended already, with nothing to show but why.
    pub(crate) fn failed(error: Error) -> Self {
        let (publisher, watch) = channel(String::new());
        publisher.fail(error);
        watch
    }
}

/// The source's end.
#[derive(Debug)]
pub(crate) struct Publisher<T: ?Sized = [Endpoint]> {
    name: String,
    values: watch::Sender<Option<Arc<T>>>,
    status: watch::Sender<Status>,
}

/// Both ends of a watch on the source that logs call `name`.
pub(crate) fn channel<T: ?Sized>(name: String) -> (Publisher<T>, Watch<T>) {
    let (values_sender, values) = watch::channel(None);
    let (status_sender, status) = watch::channel(Status::default());
    (
        Publisher {
            name,
            values: values_sender,
            status: status_sender,
        },
        Watch { values, status },
    )
}

impl<T: ?Sized> Publisher<T> {
    /// Shows `value` unless it is the `same` as the one shown, and ends the error state.
    pub(crate) fn publish_unless(&self, value: Arc<T>, same: impl FnOnce(&T, &T) -> bool) {
        self.show_unless(value, same);
        let recovered = self.status.send_if_modified(|status| {
            let failed = status.last_error.is_some();
            let mut asked = status.asked;
            asked.answered = asked.answered.saturating_add(1);
            *status = Status {
                refreshed: Some(SystemTime::now()),
                asked,
                ..Status::default()
            };
            failed
        });
        if recovered {
            tracing::info!(source = %self.name, "discovery answers again");
        }
    }

    fn show_unless(&self, value: Arc<T>, same: impl FnOnce(&T, &T) -> bool) {
        self.values.send_if_modified(|shown| {
            if shown.as_ref().is_some_and(|shown| same(shown, &value)) {
                return false;
            }
            *shown = Some(value);
            true
        });
    }

    /// Keeps the value and raises the error state. Logged when it starts, not at every try.
    pub(crate) fn fail(&self, error: Error) {
        let error = Arc::new(error);
        let started = self.status.send_if_modified(|status| {
            let started = status.last_error.is_none();
            status.last_error = Some(Arc::clone(&error));
            status.since.get_or_insert_with(SystemTime::now);
            status.failures = status.failures.saturating_add(1);
            let asked = &mut status.asked;
            let count = if error.is_negative() {
                &mut asked.negative
            } else {
                &mut asked.failed
            };
            *count = count.saturating_add(1);
            started
        });
        if started {
            tracing::warn!(source = %self.name, %error, "discovery fails, last answer kept");
        } else {
            tracing::debug!(source = %self.name, %error, "discovery still fails");
        }
    }

    /// Whether a value has been shown for which `test` holds.
    #[cfg(feature = "consul")]
    pub(crate) fn shows(&self, test: impl FnOnce(&T) -> bool) -> bool {
        self.values.borrow().as_deref().is_some_and(test)
    }

    /// Whether the error state is raised.
    #[cfg(feature = "consul")]
    pub(crate) fn failing(&self) -> bool {
        self.status.borrow().last_error.is_some()
    }
}

impl<T: ?Sized + Send + Sync + 'static> Publisher<T> {
    /// Runs the source as a task until it ends or nobody follows it any more.
    pub(crate) fn run_while_watched<F>(self, source: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let publisher = Arc::new(self);
        let work = source(Arc::clone(&publisher));
        tokio::spawn(async move {
            tokio::select! {
                () = publisher.values.closed() => {}
                () = work => {}
            }
        });
    }
}

impl Publisher {
    /// Shows these endpoints if they differ from the last, or refuses them all if too many.
    pub(crate) fn publish(&self, endpoints: Vec<Endpoint>) {
        if endpoints.len() > ENDPOINTS_MAX {
            let (name, count) = (self.name.clone(), endpoints.len());
            self.fail(Error::TooMany { name, count });
            return;
        }
        self.publish_unless(endpoints.into(), |shown, value| shown == value);
    }

    /// Shows these endpoints, a part of which is from the last answer: the error state stays or is
    /// raised.
    pub(crate) fn publish_incomplete(&self, endpoints: Vec<Endpoint>, error: Error) {
        if endpoints.len() <= ENDPOINTS_MAX {
            self.show_unless(endpoints.into(), |shown, value| shown == value);
        }
        self.fail(error);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn unset() -> Error {
        Error::ConsulUnset {
            service: "users".into(),
        }
    }

    #[tokio::test]
    async fn publishes_changes_only() {
        let (publisher, mut watch) = channel::<[Endpoint]>("users".into());
        assert!(watch.current().is_none());
        publisher.publish(vec![Endpoint::plain("a:1")]);
        assert_eq!(watch.next().await.unwrap()[0].address, "a:1");
        publisher.publish(vec![Endpoint::plain("a:1")]);
        publisher.publish(vec![Endpoint::plain("b:1")]);
        assert_eq!(watch.next().await.unwrap()[0].address, "b:1");
        publisher.publish(vec![Endpoint::plain("b:1")]);
        drop(publisher);
        assert!(watch.next().await.is_none());
        assert_eq!(watch.current().unwrap()[0].address, "b:1");
    }

    #[tokio::test]
    async fn failure_freezes_and_success_recovers() {
        let (publisher, mut watch) = channel::<[Endpoint]>("users".into());
        publisher.publish(vec![Endpoint::plain("a:1")]);
        publisher.fail(unset());
        let failed = watch.status_changed().await.unwrap();
        publisher.fail(unset());
        let status = watch.status();
        assert_eq!((status.failures, status.since), (2, failed.since));
        assert!(status.last_error.is_some() && status.refreshed.is_some());
        assert_eq!(watch.current().unwrap().len(), 1);
        publisher.publish(vec![Endpoint::plain("a:1")]);
        assert!(watch.status_changed().await.unwrap().last_error.is_none());
    }

    #[test]
    fn too_many_are_refused_whole() {
        let (publisher, watch) = channel::<[Endpoint]>("users".into());
        publisher.publish(vec![Endpoint::plain("a:1")]);
        publisher.publish(vec![Endpoint::plain("a:1"); ENDPOINTS_MAX + 1]);
        assert_eq!(watch.current().unwrap().len(), 1);
        let error = watch.status().last_error.unwrap();
        assert!(matches!(*error, Error::TooMany { count, .. } if count == ENDPOINTS_MAX + 1));
    }

    #[tokio::test]
    async fn an_unfollowed_source_stops() {
        let (publisher, watch) = channel::<[Endpoint]>("users".into());
        let (stopped_sender, stopped) = tokio::sync::oneshot::channel::<()>();
        publisher.run_while_watched(|_publisher| async move {
            let _held_until_dropped = stopped_sender;
            std::future::pending::<()>().await;
        });
        drop(watch);
        assert!(stopped.await.is_err());
    }
}
