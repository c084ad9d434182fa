//! A connection that is being served, in its version of HTTP.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::http1::{Http1, Http1Error};
use super::http2::Http2;
use super::service::{Answer, ConnectionService};
use crate::wire::{Socket, Wire};
use crate::worker::{Bounds, Worker};

/// A connection that is being served.
pub(super) enum Http<A: Answer> {
    H1(Http1<A>),
    H2(Box<Http2<A>>),
}

/// Why one ended that should not have.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error(transparent)]
    Http1(#[from] Http1Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

impl<A: Answer> Http<A> {
    /// Of which `prefix` was read already.
    pub(super) fn h1(socket: Socket, prefix: Bytes, service: ConnectionService<A>) -> Self {
        Self::H1(Http1::new(socket, prefix, service))
    }

    pub(super) fn h2(
        worker: &Rc<Worker>,
        wire: Wire,
        service: ConnectionService<A>,
        bounds: Bounds,
    ) -> Self {
        Self::H2(Box::new(Http2::new(worker, wire, service, bounds)))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        match self {
            Self::H1(http) => http.poll(cx).map_err(HttpError::Http1),
            Self::H2(http) => http.poll(cx).map_err(HttpError::Http2),
        }
    }

    pub(super) fn shut_down(&mut self) {
        match self {
            Self::H1(http) => http.shut_down(),
            Self::H2(http) => http.shut_down(),
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        match self {
            Self::H1(http) => http.is_asleep(),
            Self::H2(_) => false,
        }
    }

    /// Gives back what is held for it, if nothing is under way; says whether it did.
    pub(super) fn sleep(&mut self) -> bool {
        match self {
            Self::H1(http) => http.sleep(),
            Self::H2(_) => false,
        }
    }
}
