//! One attempt: a connection, the request, and the wait for the head of the response under every
//! deadline in force.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue, Response, request};
use weir_config::bounds::{RESPONSE_HEADER_BYTES_MAX, RESPONSE_HEADER_COUNT_MAX};
use weir_policy::framing;
use weir_policy::framing::Fault;
use weir_policy::pipeline::{FailureKind, Outcome};
use weir_policy::resilience::TimeoutPlan;

use crate::body::{FromEndpoint, Intake, IntakeEnd, Upload};
use crate::call;
use crate::clock;
use crate::connect::{self, Plan};
use crate::http1::Unanswered;
use crate::http2;
use crate::interim::Relay;
use crate::outcome;
use crate::pool::{H2Line, Lane, Line};
use crate::websocket;
use crate::worker::Worker;

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Attempted {
    /// The client did: its body broke off, is too large, or did not come.
    Client(ClientFault),
    /// No response head.
    Failed(Outcome),
    /// The endpoint speaks HTTP/2 and takes no extended CONNECT.
    NoConnect,
    /// A response head.
    Response(Response<FromEndpoint>, Line),
    /// The total deadline of the exchange passed.
    Total,
}

/// What the client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientFault {
    /// Its body broke off.
    Broken,
    /// Its body is not what its type says.
    Malformed,
    /// Its body did not come in time.
    Silent,
    /// Its body comes more slowly than its listener accepts.
    Slow,
    /// Its body is larger than the route takes.
    TooLarge,
    /// What stands behind its body is more than the listener takes.
    Trailers(Fault),
}

/// Deadlines of an exchange, as moments in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deadlines {
    /// From the start of the first attempt.
    pub(crate) began: u64,
    pub(crate) plan: TimeoutPlan,
    pub(crate) total_until: Option<u64>,
    /// Upgrades may take as long as they like to be answered.
    pub(crate) upgrade: bool,
    /// It is a gRPC call: the total deadline is the client's, and endpoints are told of it.
    pub(crate) call: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    /// The client's body does not come, or the endpoint does not take it.
    Body,
    /// The client sends its body too slowly.
    BodyRate,
    /// Making a connection.
    Connect,
    /// This attempt's.
    PerTry,
    /// The response's.
    Response,
    Total,
}

impl Deadlines {
    /// The next deadline of an attempt that began at `attempt`.
    fn next(&self, attempt: u64, intake: Option<&Intake>) -> Option<(u64, Expiry)> {
        let after = |from: u64, wait: Duration| from.saturating_add(clock::nanos(wait));
        let (sent, body) = match intake.map(|intake| (intake, intake.end())) {
            None => (Some(self.began), None),
            Some((_, IntakeEnd::Complete(at))) => (Some(at.max(self.began)), None),
            Some((intake, _)) => (None, Some(after(intake.moved(), self.plan.idle))),
        };
        let rate = body.and_then(|_| intake?.too_slow_at());
        let response = sent
            .filter(|_| !self.upgrade)
            .map(|sent| after(sent, self.plan.response));
        let per_try = self.plan.per_try.map(|wait| after(attempt, wait));
        let candidates = [
            (self.total_until, Expiry::Total),
            (per_try, Expiry::PerTry),
            (response, Expiry::Response),
            (body, Expiry::Body),
            (rate, Expiry::BodyRate),
        ];
        let known = candidates
            .into_iter()
            .filter_map(|(until, what)| Some((until?, what)));
        known.min_by_key(|(until, _)| *until)
    }

    /// How long making a connection may take, and what is over then.
    fn connect(&self, now: u64) -> (Duration, Expiry) {
        let left = |until: u64| Duration::from_nanos(until.saturating_sub(now));
        let total = self.total_until.map_or(Duration::MAX, left);
        let per_try = self.plan.per_try.unwrap_or(Duration::MAX);
        let connect = self.plan.connect;
        if total <= connect.min(per_try) {
            (total, Expiry::Total)
        } else if per_try < connect {
            (per_try, Expiry::PerTry)
        } else {
            (connect, Expiry::Connect)
        }
    }

    /// What is left at `now` for further attempts.
    pub(crate) fn left(&self, now: u64, intake: Option<&Intake>) -> Duration {
        let without_per_try = Self {
            plan: TimeoutPlan {
                per_try: None,
                ..self.plan
            },
            ..*self
        };
        without_per_try
            .next(now, intake)
            .map_or(Duration::MAX, |(until, _)| {
                Duration::from_nanos(until.saturating_sub(now))
            })
    }
}

/// What an attempt works with.
#[derive(Debug)]
pub(crate) struct Try<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) lane: &'a Rc<Lane>,
    pub(crate) plan: Plan<'a>,
    pub(crate) intake: Option<&'a Rc<Intake>>,
    pub(crate) deadlines: &'a Deadlines,
    /// When this attempt began.
    pub(crate) began: u64,
    /// Whether it runs beside others, which go on: the request's body has come whole and is kept.
    pub(crate) beside: bool,
    /// Whether `head` is wanted again after a failure that may have reached the endpoint.
    pub(crate) keep_head: bool,
    /// Who passes its interim responses on to a client.
    pub(crate) relay: Option<&'a Relay<'a>>,
}

/// Makes one attempt. `head` is `Some` before, and after whenever another attempt could use it.
pub(crate) async fn attempt(this: &Try<'_>, head: &mut Option<request::Parts>) -> Attempted {
    // Connect: nothing is sent yet, every failure may be tried again.
    let (timeout, expiry) = this.deadlines.connect(this.began);
    let line = match connect::line(this.lane, &this.plan, timeout).await {
        Ok(line) => line,
        Err(error) => {
            tracing::debug!(%error, endpoint = %this.lane.address, "no connection");
            return match expiry {
                Expiry::Total if error.is_timeout() => Attempted::Total,
                Expiry::PerTry if error.is_timeout() => failed(FailureKind::PerTry, false),
                _ => failed(error.kind(), false),
            };
        }
    };
    if this.deadlines.upgrade
        && let Line::H2(line) = &line
        && !Box::pin(line.takes_connect()).await
    {
        return Attempted::NoConnect;
    }
    // Send and wait for the head.
    let end = {
        let Some(parts) = head.as_mut() else {
            // The caller asked for an attempt it kept no head for.
            return failed(FailureKind::Reset, true);
        };
        this.write_left(parts);
        let sending = match &line {
            Line::H1(line) => {
                let (upload, maps) = (this.upload(), &this.worker.header_maps);
                Ok(Either::Left(line.send(parts, upload, this.relay, maps)))
            }
            Line::H2(line) => this.send_h2(line, head).map(Either::Right),
        };
        match sending {
            Ok(answer) => this.answered(pin!(answer)).await,
            Err(why) => Ok(Err(why)),
        }
    };
    if !this.keep_head
        && !matches!(end, Ok(Err(Unanswered::Unsent)))
        && let Some(sent) = head.take()
    {
        this.worker.header_maps.give_back(sent.headers);
    }
    match end {
        Ok(Ok(mut response)) => {
            if let Line::H2(_) = &line
                && let Err(kind) = this.check_h2(response.headers())
            {
                return failed(kind, true);
            }
            if this.deadlines.call
                && let Err(error) = call::look(&mut response)
            {
                return Attempted::Failed(outcome::of(&error));
            }
            Attempted::Response(response, line)
        }
        Ok(Err(error)) => this.unanswered(&error),
        Err(Expiry::Total) => Attempted::Total,
        Err(Expiry::Body) if this.intake.is_some_and(|intake| intake.waits_for_client()) => {
            Attempted::Client(ClientFault::Silent)
        }
        Err(Expiry::Body) => failed(FailureKind::Stalled, true),
        Err(Expiry::BodyRate) => Attempted::Client(ClientFault::Slow),
        Err(Expiry::PerTry) => failed(FailureKind::PerTry, true),
        Err(Expiry::Connect | Expiry::Response) => failed(FailureKind::Timeout, true),
    }
}

fn failed(kind: FailureKind, sent: bool) -> Attempted {
    Attempted::Failed(Outcome::Failure { kind, sent })
}

type Answer = Result<Response<FromEndpoint>, Unanswered>;

impl Try<'_> {
    /// Tells the endpoint of a call how much time is left for it.
    fn write_left(&self, head: &mut request::Parts) {
        if let (true, Some(until)) = (self.deadlines.call, self.deadlines.total_until) {
            let now = self.worker.clock.now().nanos;
            let left = Duration::from_nanos(until.saturating_sub(now));
            call::write_left(head, left);
        }
    }

    fn upload(&self) -> Upload {
        match self.intake {
            None => Upload::none(),
            Some(intake) if self.beside => intake.again(),
            Some(intake) => intake.upload(),
        }
    }

    /// Takes the head, or a copy of it. The connection was open a moment ago, but for upgrades.
    fn send_h2(
        &self,
        line: &H2Line,
        head: &mut Option<request::Parts>,
    ) -> Result<http2::Sending<'_>, Unanswered> {
        if self.deadlines.upgrade && line.is_closed() {
            return Err(Unanswered::Unsent);
        }
        let kept = if self.keep_head { head.clone() } else { None };
        let Some(mut parts) = std::mem::replace(head, kept) else {
            return Err(Unanswered::Unsent);
        };
        if self.deadlines.upgrade {
            websocket::extend(&mut parts);
        }
        line.send(parts, self.upload(), self.relay)
            .map_err(|error| {
                tracing::debug!(%error, endpoint = %self.lane.address, "no stream");
                Unanswered::Unsent
            })
    }

    /// Looks at fields that came in HTTP/2: those of HTTP/1.1 are bounded and read strictly
    /// before.
    fn check_h2(&self, headers: &HeaderMap) -> Result<(), FailureKind> {
        exceeded_by(headers).map_or(Ok(()), Err)?;
        match framing::response::ambiguity(headers) {
            None => Ok(()),
            Some(what) => {
                tracing::debug!(what, endpoint = %self.lane.address, "response refused");
                Err(FailureKind::Protocol)
            }
        }
    }

    /// Waits for the answer until the first deadline; interim responses do not move it.
    async fn answered(
        &self,
        mut answer: Pin<&mut impl Future<Output = Answer>>,
    ) -> Result<Answer, Expiry> {
        let mut alarm = None;
        let intake = self.intake.map(|intake| &**intake);
        let end = poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            loop {
                let Some((until, what)) = self.deadlines.next(self.began, intake) else {
                    return Poll::Pending;
                };
                let when = clock::instant(until);
                let alarm = alarm.get_or_insert_with(|| self.worker.alarms.take(when));
                std::task::ready!(alarm.poll(when, cx));
                // A body that moved meanwhile has moved its deadline.
                if self.deadlines.next(self.began, intake) != Some((until, what)) {
                    continue;
                }
                if what != Expiry::BodyRate || !intake.is_some_and(Intake::excuses) {
                    return Poll::Ready(Err(what));
                }
            }
        });
        let end = end.await;
        if let Some(alarm) = alarm.take() {
            self.worker.alarms.give(alarm);
        }
        end
    }

    /// What it means that no head came.
    fn unanswered(&self, why: &Unanswered) -> Attempted {
        if let Some(fault) = self.client_fault() {
            return Attempted::Client(fault);
        }
        match why {
            Unanswered::Unsent => failed(FailureKind::Reset, false),
            Unanswered::Failed(error) => {
                tracing::debug!(%error, endpoint = %self.lane.address, "no response");
                Attempted::Failed(outcome::of(error))
            }
        }
    }

    fn client_fault(&self) -> Option<ClientFault> {
        match self.intake?.end() {
            IntakeEnd::Broken => Some(ClientFault::Broken),
            IntakeEnd::Malformed => Some(ClientFault::Malformed),
            IntakeEnd::TooLarge => Some(ClientFault::TooLarge),
            IntakeEnd::Trailers(fault) => Some(ClientFault::Trailers(fault)),
            IntakeEnd::Complete(_) | IntakeEnd::Open => None,
        }
    }
}

/// Which bound of Weir a header section is over. The library has bounds of its own, above
/// these, that protect memory.
fn exceeded_by(headers: &HeaderMap) -> Option<FailureKind> {
    if headers.len() > RESPONSE_HEADER_COUNT_MAX {
        return Some(FailureKind::HeadersTooMany);
    }
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let bytes = headers.iter().map(field).sum::<usize>();
    (bytes > RESPONSE_HEADER_BYTES_MAX).then_some(FailureKind::HeaderTooLarge)
}
