//! The engine as one connection sees it; a service of tower as well, for driving it without a
//! socket.

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};

use super::ClientConnection;
use crate::body::{Inbound, Never, Reply};
use crate::exchange;

/// The engine as one connection sees it: a service whose futures are not boxed.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionService<F> {
    connection: Rc<ClientConnection>,
    answer: F,
}

/// The type of [`exchange::serve`] as a function.
pub(crate) trait Answer: Fn(Rc<ClientConnection>, Request<Inbound>) -> Self::Future {
    /// What it returns.
    type Future: Future<Output = Result<Response<Reply>, Never>> + 'static;
}

impl<F, R> Answer for F
where
    F: Fn(Rc<ClientConnection>, Request<Inbound>) -> R,
    R: Future<Output = Result<Response<Reply>, Never>> + 'static,
{
    type Future = R;
}

impl ConnectionService<()> {
    /// The service of a connection.
    #[allow(
        clippy::new_ret_no_self,
        reason = "the type of the function has no name"
    )]
    pub(crate) fn new(connection: Rc<ClientConnection>) -> ConnectionService<impl Answer + Clone> {
        ConnectionService {
            connection,
            answer: exchange::serve,
        }
    }
}

impl<F> ConnectionService<F> {
    pub(super) fn connection(&self) -> &Rc<ClientConnection> {
        &self.connection
    }
}

impl<F: Answer> ConnectionService<F> {
    /// The answer to a request.
    pub(super) fn answer(&self, request: Request<Inbound>) -> F::Future {
        (self.answer)(Rc::clone(&self.connection), request)
    }
}

impl<F: Answer, B: Into<Inbound>> tower_service::Service<Request<B>> for ConnectionService<F> {
    type Response = Response<Reply>;
    type Error = Never;
    type Future = F::Future;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        (self.answer)(Rc::clone(&self.connection), request.map(Into::into))
    }
}
