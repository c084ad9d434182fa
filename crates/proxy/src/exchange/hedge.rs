//! Hedging, carried out: a race of attempts at endpoints of one service.
//!
//! The first attempt runs as ever; when its answer is late, policy may allow one more beside it,
//! and so on. The first answer that policy would deliver ends the race. What is still under way
//! then is dropped, which ends its HTTP/2 stream or closes its HTTP/1.1 connection. What failed on
//! the way is told to policy as ever, and the race goes on without it. When all have failed the
//! last one counts: it is judged as the only attempt of other requests is, and may be tried again.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::request;
use smallvec::SmallVec;
use weir_policy::balance::{Chosen, Tried};
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Attempt, Outcome, Permit};
use weir_policy::resilience::Withheld;

use super::attempts::{Attempts, Refused, is_unsent, lane};
use crate::alarm::Alarm;
use crate::attempt::{self, Attempted, Try};
use crate::body::IntakeEnd;
use crate::clock;
use crate::happenings;
use crate::membership::Seats;
use crate::record::{HedgeEnd, Ledger, ServiceMetrics};
use crate::serve::ClientConnection;

/// A race of attempts.
pub(super) struct Race<'a> {
    pub(super) attempts: &'a Attempts<'a>,
    /// How long to wait for an answer before each more attempt.
    pub(super) after: Duration,
    pub(super) seats: &'a Seats,
    pub(super) client: Rc<ClientConnection>,
    pub(super) head: &'a request::Parts,
}

/// The attempt that counts in the end.
pub(super) struct Ended {
    pub(super) chosen: Chosen,
    pub(super) began: Moment,
    pub(super) attempted: Attempted,
}

/// One attempt of a race.
struct Runner<'r> {
    chosen: Chosen,
    began: Moment,
    run: Pin<Box<dyn Future<Output = Attempted> + 'r>>,
    /// Of an attempt beside the first.
    beside: Option<Beside>,
}

/// What an attempt beside the first holds, and the count of what comes of it.
struct Beside {
    metrics: Rc<ServiceMetrics>,
    end: HedgeEnd,
    _place: Permit,
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.metrics.hedged(self.end);
    }
}

#[allow(
    clippy::large_enum_variant,
    reason = "it is on the stack for a moment; a box would cost an allocation"
)]
enum Event {
    /// It is time for one more attempt.
    Due,
    /// The attempt with this index has ended.
    Ended(usize, Attempted),
}

type Runners<'r> = SmallVec<[Runner<'r>; 2]>;

impl Race<'_> {
    /// Runs it to its end. At most `left` more attempts are made beside the first; every endpoint
    /// that was sent to is in `tried` afterwards.
    pub(super) async fn run(
        &self,
        (first, began): (Chosen, Moment),
        left: &mut u32,
        tried: &mut Tried,
        ledger: &mut Ledger,
    ) -> Result<Ended, Refused> {
        let first_try = self
            .attempts
            .try_at(lane(self.seats, &first)?, &self.client, began);
        tried.add(&first.member);
        let mut runners = Runners::new();
        runners.push(self.runner(first, began, first_try, None));
        // When the newest attempt began, as long as one more may follow it.
        let mut newest = Some(began);
        let mut alarm = None;
        let ended = loop {
            newest = newest.filter(|_| *left > 0);
            match self.event(&mut runners, newest, &mut alarm).await {
                Event::Due => match self.one_more(tried, ledger) {
                    Ok(runner) => {
                        newest = Some(runner.began);
                        *left -= 1;
                        runners.push(runner);
                    }
                    Err(why) => {
                        self.metrics().hedge_withheld(why.as_str());
                        newest = None;
                    }
                },
                Event::Ended(index, attempted) => {
                    let runner = runners.remove(index);
                    if runners.is_empty() || self.is_final(&attempted) {
                        break self.over(runner, attempted, runners, ledger);
                    }
                    self.fell_out(runner, &attempted);
                }
            }
        };
        if let Some(alarm) = alarm {
            self.attempts.worker.alarms.give(alarm);
        }
        Ok(ended)
    }

    /// Waits for what happens next.
    async fn event(
        &self,
        runners: &mut [Runner<'_>],
        newest: Option<Moment>,
        alarm: &mut Option<Alarm>,
    ) -> Event {
        let worker = self.attempts.worker;
        poll_fn(|cx| {
            for (index, runner) in runners.iter_mut().enumerate() {
                if let Poll::Ready(attempted) = runner.run.as_mut().poll(cx) {
                    return Poll::Ready(Event::Ended(index, attempted));
                }
            }
            let Some(newest) = newest else {
                return Poll::Pending;
            };
            loop {
                // No endpoint can answer before the request has come whole.
                let (sent, whole) = match self.attempts.intake.map(|intake| intake.end()) {
                    None => (newest.nanos, true),
                    Some(IntakeEnd::Complete(at)) => (at.max(newest.nanos), true),
                    Some(_) => (worker.clock.now().nanos, false),
                };
                let when = clock::instant(sent.saturating_add(clock::nanos(self.after)));
                let alarm = alarm.get_or_insert_with(|| worker.alarms.take(when));
                ready!(alarm.poll(when, cx));
                if whole {
                    return Poll::Ready(Event::Due);
                }
            }
        })
        .await
    }

    /// One more attempt beside those under way.
    fn one_more<'r>(
        &'r self,
        tried: &mut Tried,
        ledger: &mut Ledger,
    ) -> Result<Runner<'r>, Withheld> {
        let attempts = self.attempts;
        if !attempts.intake.is_none_or(|intake| intake.is_kept()) {
            return Err(Withheld::Body);
        }
        let (now, draw) = (attempts.worker.clock.now(), attempts.worker.dice.draw());
        let snapshot = &attempts.entry.installed.snapshot;
        let members = &self.seats.members;
        let hedged = pipeline::hedge(snapshot, attempts.plan, members, tried, draw, now)?;
        let lane = lane(self.seats, &hedged.chosen).map_err(|_| Withheld::Endpoint)?;
        ledger.attempts += 1;
        ledger.shaped().hedge = Some(HedgeEnd::Lost.as_str());
        self.metrics().attempt(&hedged.chosen);
        tried.add(&hedged.chosen.member);
        let attempt = Try {
            beside: true,
            // The hints of one attempt do; those of others may contradict them.
            relay: None,
            ..attempts.try_at(lane, &self.client, now)
        };
        let beside = Beside {
            metrics: Rc::clone(self.metrics()),
            end: HedgeEnd::Abandoned,
            _place: hedged.place,
        };
        Ok(self.runner(hedged.chosen, now, attempt, Some(beside)))
    }

    fn runner<'r>(
        &self,
        chosen: Chosen,
        began: Moment,
        attempt: Try<'r>,
        beside: Option<Beside>,
    ) -> Runner<'r> {
        let mut head = Some(self.head.clone());
        Runner {
            chosen,
            began,
            run: Box::pin(async move { attempt::attempt(&attempt, &mut head).await }),
            beside,
        }
    }

    /// Whether nothing that the others may still bring would be better.
    fn is_final(&self, attempted: &Attempted) -> bool {
        let retry = &self.attempts.plan.retry;
        match attempted {
            Attempted::Response(response, _) => !retry.retries_on(response.status()),
            Attempted::Failed(_) => false,
            Attempted::Client(_) | Attempted::NoConnect | Attempted::Total => true,
        }
    }

    /// An attempt has failed while others are under way.
    fn fell_out(&self, runner: Runner<'_>, attempted: &Attempted) {
        let attempts = self.attempts;
        if !is_unsent(attempted) {
            attempts.sent.set(true);
        }
        let outcome = match attempted {
            Attempted::Failed(outcome) => *outcome,
            Attempted::Response(response, _) => Outcome::Response {
                status: response.status(),
            },
            Attempted::Client(_) | Attempted::NoConnect | Attempted::Total => return,
        };
        if let Outcome::Failure { kind, .. } = outcome {
            self.metrics().failed(kind);
        }
        let finished = Attempt {
            chosen: &runner.chosen,
            number: 1,
            began: runner.began,
            outcome,
            grpc: None,
            replayable: true,
            retry_after: None,
            time_left: Duration::ZERO,
        };
        let (snapshot, now) = (
            &attempts.entry.installed.snapshot,
            attempts.worker.clock.now(),
        );
        pipeline::learn(snapshot, attempts.plan, &finished, now);
        happenings::tell(snapshot.service(attempts.plan.service));
        if let Some(mut beside) = runner.beside {
            beside.end = HedgeEnd::Failed;
        }
    }

    /// The race is over: what is still under way has lost, unless all ends with the request.
    fn over(
        &self,
        runner: Runner<'_>,
        attempted: Attempted,
        under_way: Runners<'_>,
        ledger: &mut Ledger,
    ) -> Ended {
        let Runner {
            chosen,
            began,
            beside,
            ..
        } = runner;
        let answered = matches!(attempted, Attempted::Response(..));
        if !under_way.is_empty() {
            self.attempts.sent.set(true);
        }
        if let Some(mut beside) = beside {
            beside.end = match &attempted {
                Attempted::Response(..) if self.is_final(&attempted) => HedgeEnd::Won,
                Attempted::Response(..) | Attempted::Failed(_) => HedgeEnd::Failed,
                _ => HedgeEnd::Abandoned,
            };
            if beside.end == HedgeEnd::Won {
                ledger.shaped().hedge = Some(HedgeEnd::Won.as_str());
            }
        }
        let now = self.attempts.worker.clock.now();
        for mut lost in under_way {
            if answered && lost.began < began {
                pipeline::overtaken(&lost.chosen, now.since(lost.began), now);
            }
            if let (true, Some(beside)) = (answered, &mut lost.beside) {
                beside.end = HedgeEnd::Lost;
            }
        }
        Ended {
            chosen,
            began,
            attempted,
        }
    }

    fn metrics(&self) -> &Rc<ServiceMetrics> {
        let attempts = self.attempts;
        attempts.entry.installed.metrics(attempts.plan.service)
    }
}
