//! The load generator: verified requests from one thread, in a closed loop or at a fixed rate with
//! coordinated omission corrected.
//!
//! All connections are open before the clock starts, unless each request has its own. Requests that
//! are under way at the end may finish; they count. Nothing is retried.

mod arguments;
mod connect;
mod expectation;
mod http1;
mod http2;
mod link;
mod pace;
mod plan;
mod tally;
mod websocket;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

pub use arguments::{ArgumentError, Arguments, grpc_message, pattern};
pub use connect::tls_config;
pub use expectation::{Check, Content, Expectation, Verified};
pub use pace::{Pace, Ticket};
pub use plan::{Plan, Protocol, Request, Tls, Usage};
pub use tally::{Errors, Failure, Latencies, Report, Tally};

use link::Link;

/// Why there was no load at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not one connection could be opened, or served in `--idle`; the target's fault.
    #[error("no connection: {0}")]
    Connection(Failure),
    /// The kernel has no timer for us.
    #[error("timer: {0}")]
    Timer(#[from] io::Error),
}

/// Runs the plan on this thread, until its end or until `stop` is ready. `ready` is called with
/// the number of open connections once all are open; in [`Usage::Idle`] alone.
///
/// # Errors
/// When there was no load at all.
pub async fn run(
    plan: Plan,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(u64),
) -> Result<Report, StartError> {
    crate::raise_descriptor_limit();
    let job = Rc::new(Job {
        plan,
        tally: RefCell::default(),
        turn: Cell::new(0),
    });
    let local = LocalSet::new();
    let work = async {
        match job.plan.usage {
            Usage::Idle => hold(&job, stop, ready).await,
            Usage::KeepAlive | Usage::New => load(&job, stop).await,
        }
    };
    local.run_until(work).await
}

/// What all connections share.
struct Job {
    plan: Plan,
    tally: RefCell<Tally>,
    /// Number of the next request, for the turn.
    turn: Cell<usize>,
}

impl Job {
    fn next_request(&self) -> &Request {
        let turn = self.turn.get();
        self.turn.set((turn + 1) % self.plan.requests.len());
        &self.plan.requests[turn]
    }

    async fn open(self: Rc<Self>) -> Result<Link, Failure> {
        let opening = Link::open(&self.plan, &self.plan.requests[0]);
        let opened = timeout(self.plan.timeout, opening)
            .await
            .unwrap_or(Err(Failure::Timeout));
        if opened.is_ok() {
            self.tally.borrow_mut().opened();
        }
        opened
    }

    async fn open_served(self: Rc<Self>) -> Result<Link, Failure> {
        let mut link = Rc::clone(&self).open().await?;
        let began = Instant::now();
        let ticket = Ticket {
            moment: began,
            is_counted: true,
        };
        let exchange = link.exchange(self.next_request(), &self.plan.expectation);
        let verified = timeout(self.plan.timeout, exchange)
            .await
            .unwrap_or(Err(Failure::Timeout))?;
        self.tally.borrow_mut().record(ticket, began, &Ok(verified));
        Ok(link)
    }
}

/// The connection of one worker, or of all streams on it.
type Slot = Mutex<Option<Link>>;

async fn load(job: &Rc<Job>, stop: impl Future<Output = ()>) -> Result<Report, StartError> {
    let plan = &job.plan;
    let mut links = match plan.usage {
        Usage::KeepAlive => open_all(job, Job::open).await?.into_iter(),
        Usage::Idle | Usage::New => Vec::new().into_iter(),
    };
    let pace = Rc::new(Pace::new(
        Instant::now(),
        plan.warm_up,
        plan.duration,
        plan.rate,
    ));
    let mut workers = JoinSet::new();
    for _ in 0..plan.connections {
        let shared = Rc::new(Slot::new(links.next()));
        for _ in 0..plan.streams {
            let slot = match plan.usage {
                Usage::New => Rc::default(),
                Usage::Idle | Usage::KeepAlive => Rc::clone(&shared),
            };
            workers.spawn_local(work(Rc::clone(job), Rc::clone(&pace), slot));
        }
    }
    let mut done = pin!(async {
        let (driven, ()) = tokio::join!(pace.drive(), async {
            while workers.join_next().await.is_some() {}
        });
        driven
    });
    tokio::select! {
        driven = &mut done => driven?,
        () = stop => {
            pace.stop();
            done.await?;
        }
    }
    let mut tally = job.tally.borrow_mut();
    pace.unsent().for_each(|waited| tally.unsent(waited));
    Ok(tally.report(pace.counted_from(), pace.end()))
}

async fn work(job: Rc<Job>, pace: Rc<Pace>, slot: Rc<Slot>) {
    while let Some(ticket) = pace.next().await {
        // In a closed loop a request has no other moment than its beginning.
        let began = match job.plan.rate {
            Some(_) => Instant::now(),
            None => ticket.moment,
        };
        let result = timeout(job.plan.timeout, once(&job, &slot))
            .await
            .unwrap_or(Err(Failure::Timeout));
        job.tally.borrow_mut().record(ticket, began, &result);
        if job.plan.usage == Usage::New
            && let Some(link) = slot.lock().await.take()
        {
            // Not part of the request; a server that never closes is left alone.
            let _ = timeout(CLOSE_TIMEOUT, link.close()).await;
        }
        if matches!(result, Err(Failure::Connect(_))) {
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
}

/// One request on the slot's connection, which is opened if there is none.
async fn once(job: &Rc<Job>, slot: &Slot) -> Result<Verified, Failure> {
    let mut link = {
        let mut held = slot.lock().await;
        match held.take() {
            Some(link) if link.may_reuse() => {
                *held = link.share();
                link
            }
            _ => {
                let link = Rc::clone(job).open().await?;
                *held = link.share();
                link
            }
        }
    };
    let verified = link
        .exchange(job.next_request(), &job.plan.expectation)
        .await?;
    if link.share().is_none() || job.plan.usage == Usage::New {
        *slot.lock().await = Some(link);
    }
    Ok(verified)
}

/// Opens all connections, makes a request on each, and holds them.
async fn hold(
    job: &Rc<Job>,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(u64),
) -> Result<Report, StartError> {
    let start = Instant::now();
    let mut stop = pin!(stop);
    let links = tokio::select! {
        links = open_all(job, Job::open_served) => links?,
        () = &mut stop => Vec::new(),
    };
    let mut open = links.len() as u64;
    let mut held = JoinSet::new();
    for link in links {
        held.spawn_local(link.closed());
    }
    ready(open);
    let mut end = pin!(tokio::time::sleep(job.plan.duration));
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = &mut end => break,
            Some(_) = held.join_next() => {
                open -= 1;
                job.tally.borrow_mut().fail(&Failure::Io(http1::ended()));
            }
        }
    }
    let mut tally = job.tally.borrow_mut();
    tally.set_open(open);
    Ok(tally.report(start, Instant::now()))
}

/// As many connections as planned, few at a time; one that fails is counted, but the first.
async fn open_all<F>(
    job: &Rc<Job>,
    open: impl Fn(Rc<Job>) -> F + Copy + 'static,
) -> Result<Vec<Link>, StartError>
where
    F: Future<Output = Result<Link, Failure>> + 'static,
{
    let places = Rc::new(Semaphore::new(OPENING_MAX));
    let mut opening = JoinSet::new();
    for _ in 0..job.plan.connections {
        let (job, places) = (Rc::clone(job), Rc::clone(&places));
        opening.spawn_local(async move {
            let _place = places.acquire().await;
            open(job).await
        });
    }
    let mut links = Vec::with_capacity(job.plan.connections);
    while let Some(opened) = opening.join_next().await {
        match opened {
            Ok(Ok(link)) => links.push(link),
            Ok(Err(failure)) if links.is_empty() => return Err(StartError::Connection(failure)),
            Ok(Err(failure)) => job.tally.borrow_mut().fail(&failure),
            Err(_) => {}
        }
    }
    Ok(links)
}

/// Connections that are being opened at a time.
const OPENING_MAX: usize = 64;
/// Before the next attempt on a connection that could not be opened.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// For a server to close a connection after its one request.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
