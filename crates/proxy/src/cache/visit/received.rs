//! The second half of a [`Visit`]: what the cache makes of the service's answer.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, response};
use weir_policy::cache::{self, Unstorable, Way};
use weir_policy::moment::Moment;
use weir_policy::refusal::{Code, Refusal};

use super::Visit;
use crate::cache::answer;
use crate::cache::counts::Outcome;
use crate::cache::fill::Sink;
use crate::cache::flights::{News, Part};
use crate::cache::shelf::Stored;

/// What is to be done with an answer of the service.
pub(crate) enum Received {
    /// This goes to the client instead.
    Answer(Response<Bytes>),
    /// It is stored while it is passed on; or, with a response, while the client gets that.
    Fill(Box<Sink>, Option<Response<Bytes>>),
    /// It is passed on; `Cache-Status` says this.
    Pass(Option<String>),
    /// It cannot be used.
    Refuse(Refusal),
}

impl Visit {
    /// Takes the service's answer; `length` is its length where it was said.
    pub(crate) fn received(
        mut self: Box<Self>,
        head: &response::Parts,
        length: Option<u64>,
        now: Moment,
    ) -> Received {
        let how = format!("fwd={}; fwd-status={}", self.forward, head.status.as_u16());
        if self.asked.way != Way::Through || self.plan().is_none() {
            self.invalidate(head);
            return Received::Pass(self.plan().is_some().then_some(how));
        }
        if self.validates && head.status == StatusCode::NOT_MODIFIED {
            return self.revalidated(head, &how, now);
        }
        let failed = is_failure(head.status);
        if failed && let Some(instead) = self.instead(now) {
            self.end_fetch(News::Failed);
            return Received::Answer(instead);
        }
        if !self.asked.stores {
            return Received::Pass(Some(how));
        }
        if self.validates {
            // It did not hold any more.
            self.count(Outcome::Miss);
        }
        match self.sink(head, length) {
            Ok(sink) => {
                let how = format!("{how}; stored");
                let known = head.status.is_success()
                    && cache::not_modified(&self.headers, &sink.stored.headers);
                let instead = known.then(|| answer::unchanged(sink.stored.headers.clone(), &how));
                match instead {
                    None => Received::Fill(sink.told(how), None),
                    instead => Received::Fill(sink, instead),
                }
            }
            Err(reason) => {
                self.not_stored(failed, now);
                Received::Pass(Some(format!("{how}; detail={reason}")))
            }
        }
    }

    /// What is stored still holds: it is renewed and served.
    fn revalidated(
        mut self: Box<Self>,
        head: &response::Parts,
        how: &str,
        now: Moment,
    ) -> Received {
        let Some(stored) = self.held.take() else {
            return Received::Refuse(Code::Internal.into());
        };
        self.count(Outcome::Revalidated);
        let (response, news) = match self.renewed(&stored, head, now) {
            Some(renewed) => {
                let how = format!("{how}; stored");
                let response = self.question(now).answered(&renewed, &how);
                let ticket = self.ticket.take();
                let put = |ticket| {
                    self.cache
                        .put(&self.key, renewed, ticket, self.worker.index)
                };
                match ticket.is_some_and(put) {
                    true => (response, News::Stored),
                    false => (response, News::Apart),
                }
            }
            None => {
                // Good for this once: the service said so.
                self.cache.forget(&self.key, &stored);
                (self.question(now).answered(&stored, how), News::Apart)
            }
        };
        self.end_fetch(news);
        Received::Answer(response)
    }

    /// A stored answer with what a 304 says anew; `None` when that speaks of another one, or
    /// forbids to store it from now on.
    fn renewed(&self, stored: &Stored, head: &response::Parts, now: Moment) -> Option<Stored> {
        if !cache::same_response(&stored.headers, &head.headers) {
            return None;
        }
        let mut headers = stored.headers.clone();
        cache::freshen(&mut headers, &cache::storable_headers(&head.headers, now));
        let (freshness, selecting) = self.judge(stored.status, &headers).ok()?;
        Some(Stored {
            status: stored.status,
            body: stored.body.clone(),
            freshness,
            selecting,
            route: Arc::clone(&stored.route),
            tags: cache::tags(&headers),
            headers,
        })
    }

    /// Where an answer is to be stored.
    fn sink(
        &mut self,
        head: &response::Parts,
        length: Option<u64>,
    ) -> Result<Box<Sink>, &'static str> {
        let (freshness, selecting) = self
            .judge(head.status, &head.headers)
            .map_err(Unstorable::as_str)?;
        if length.is_some_and(|length| length > self.cache.object_bytes_max()) {
            return Err("too-large");
        }
        let ticket = self.ticket.take().ok_or("no-ticket")?;
        let headers = cache::storable_headers(&head.headers, self.began);
        let stored = Stored {
            status: head.status,
            body: Bytes::new(),
            freshness,
            selecting,
            route: Arc::clone(self.route_name()),
            tags: cache::tags(&headers),
            headers,
        };
        Ok(Box::new(Sink {
            cache: Arc::clone(&self.cache),
            worker: Rc::clone(&self.worker),
            key: std::mem::take(&mut self.key),
            stored,
            ticket,
            part: std::mem::replace(&mut self.part, Part::Alone),
            how: String::new(),
        }))
    }

    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(cache::Freshness, cache::Selecting), Unstorable> {
        let plan = self.plan().ok_or(Unstorable::Directives)?;
        let answer = (status, headers);
        cache::may_store(plan, &self.headers, &self.asked, answer, self.began)
    }

    /// The answer is not stored, and what is stored is no longer what the service says.
    fn not_stored(mut self, failed: bool, now: Moment) {
        if let Some(stored) = &self.held
            && !failed
        {
            self.cache.forget(&self.key, stored);
        }
        let waited = self.end_fetch(News::Apart);
        if (waited || self.stripped) && !failed {
            self.cache.set_apart(&self.key, now);
        }
    }

    /// An unsafe request that went well makes what is stored invalid.
    fn invalidate(&self, head: &response::Parts) {
        let well = head.status.is_success() || head.status.is_redirection();
        if self.asked.way == Way::Invalidate && well {
            for key in cache::invalidated(&self.key, &head.headers) {
                self.cache.remove(&key);
            }
        }
    }
}

/// Statuses that stand for a failure of the service (RFC 5861 section 4).
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
