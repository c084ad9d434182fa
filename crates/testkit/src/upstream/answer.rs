//! What an upstream does with a request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::record::Recorded;

/// Chooses the answer to each request. It sees the head; the body comes later.
#[derive(Clone)]
pub struct Script(Arc<dyn Fn(&Recorded) -> Answer + Send + Sync>);

impl Script {
    /// By a function of the request.
    pub fn by<A: Into<Answer>>(choose: impl Fn(&Recorded) -> A + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |request| choose(request).into()))
    }

    /// These answers one after the other, then the last one for ever.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn sequence(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Vec<Answer> = answers.into_iter().collect();
        assert!(!answers.is_empty(), "a sequence needs at least one answer");
        let next = AtomicUsize::new(0);
        Self::by(move |_: &Recorded| {
            let place = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            answers[place].clone()
        })
    }

    pub(super) fn answer(&self, request: &Recorded) -> Answer {
        (self.0)(request)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Script")
    }
}

impl<A: Into<Answer>> From<A> for Script {
    fn from(answer: A) -> Self {
        let answer = answer.into();
        Self::by(move |_: &Recorded| answer.clone())
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Closes in order without a byte of an answer, the request's body unread. In HTTP/2 the
    /// stream ends with `CANCEL`.
    Close,
    /// Never answers, and waits until the other side gives up.
    Hang,
    /// Sends these bytes whatever they are, then closes. HTTP/1.1 only; in HTTP/2 a `CANCEL`.
    Raw(Bytes),
    /// In HTTP/2 `REFUSED_STREAM`, which promises that nothing was done; in HTTP/1.1 as `Reset`.
    Refuse,
    /// An HTTP answer.
    Reply(Box<Reply>),
    /// Resets the connection without a byte of an answer. In HTTP/2 the stream ends with
    /// `INTERNAL_ERROR`.
    Reset,
    /// Switches to WebSocket with a correct `Sec-WebSocket-Accept` and then echoes bytes, frames
    /// neither parsed nor unmasked. HTTP/1.1 only; in HTTP/2 a `CANCEL`.
    WebSocketEcho,
}

impl Answer {
    /// Raw bytes.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::Raw(Bytes::copy_from_slice(bytes.as_ref()))
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// An HTTP answer and the way it is sent.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) content: Content,
    pub(super) framing: Framing,
    pub(super) interim: Vec<(u16, Vec<(String, String)>)>,
    pub(super) delay: Duration,
    pub(super) pace: Option<(usize, Duration)>,
    pub(super) end: End,
    pub(super) is_early: bool,
    pub(super) is_last: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Bytes(Bytes),
    Echo,
}

#[derive(Clone, Debug)]
pub(super) enum Framing {
    Chunked { trailers: Vec<(String, String)> },
    Length,
    UntilClose,
}

/// After how many bytes of the body something other than the end happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    CloseAfter(usize),
    Complete,
    ResetAfter(usize),
    StallAfter(usize),
}

impl Reply {
    /// A status with an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content: Content::Bytes(Bytes::new()),
            framing: Framing::Length,
            interim: Vec::new(),
            delay: Duration::ZERO,
            pace: None,
            end: End::Complete,
            is_early: false,
            is_last: false,
        }
    }

    /// 200 with this body.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200).body(body)
    }

    /// 200 with a JSON object of what the upstream saw, see [`Recorded`].
    #[must_use]
    pub fn echo() -> Self {
        let mut reply = Self::status(200).header("content-type", "application/json");
        reply.content = Content::Echo;
        reply
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.content = Content::Bytes(body.into());
        self
    }

    /// One more header, spelt and ordered as given. With a `content-length` or
    /// `transfer-encoding` here, nothing is said about the body besides.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Chunked, one chunk for each piece sent. No difference in HTTP/2.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked {
            trailers: Vec::new(),
        };
        self
    }

    /// With trailers; in HTTP/1.1 chunked.
    #[must_use]
    pub fn trailers(mut self, trailers: &[(&str, &str)]) -> Self {
        self.framing = Framing::Chunked {
            trailers: owned(trailers),
        };
        self
    }

    /// Without length or chunks: the end of the connection is the end of the body.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// An interim answer (such as 103) before it.
    #[must_use]
    pub fn interim(mut self, status: u16, headers: &[(&str, &str)]) -> Self {
        self.interim.push((status, owned(headers)));
        self
    }

    /// Waits before the head.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the body in pieces of that size with a pause after each.
    ///
    /// # Panics
    /// When the size is 0.
    #[must_use]
    pub fn trickle(mut self, piece_bytes: usize, pause: Duration) -> Self {
        assert!(piece_bytes > 0, "a piece has at least one byte");
        self.pace = Some((piece_bytes, pause));
        self
    }

    /// Stops after that many bytes of the body and keeps the connection open.
    #[must_use]
    pub fn stall_after(mut self, body_bytes: usize) -> Self {
        self.end = End::StallAfter(body_bytes);
        self
    }

    /// Resets after the head and that many bytes of the body have been read by the other side's
    /// kernel. In HTTP/2 the stream ends with `INTERNAL_ERROR`.
    #[must_use]
    pub fn reset_after(mut self, body_bytes: usize) -> Self {
        self.end = End::ResetAfter(body_bytes);
        self
    }

    /// Closes in order after that many bytes of the body, although more was announced. In HTTP/2
    /// the stream ends with `CANCEL`.
    #[must_use]
    pub fn close_after(mut self, body_bytes: usize) -> Self {
        self.end = End::CloseAfter(body_bytes);
        self
    }

    /// Answers before the request's body has been read, `100-continue` not given.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.is_early = true;
        self
    }

    /// Says `Connection: close` and closes afterwards. No difference in HTTP/2.
    #[must_use]
    pub fn last(mut self) -> Self {
        self.is_last = true;
        self
    }

    pub(super) fn content_for(&self, request: &Recorded) -> Bytes {
        match &self.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Echo => Bytes::from(serde_json::to_vec(request).expect("plain strings")),
        }
    }

    /// The bytes of a body of that length that are sent before the end, in pieces.
    pub(super) fn pieces(&self, content: &Bytes) -> Vec<Bytes> {
        let sent = match self.end {
            End::Complete => content.len(),
            End::CloseAfter(count) | End::ResetAfter(count) | End::StallAfter(count) => {
                count.min(content.len())
            }
        };
        let piece_bytes = self
            .pace
            .map_or(sent.max(1), |(piece_bytes, _)| piece_bytes);
        (0..sent)
            .step_by(piece_bytes)
            .map(|start| content.slice(start..(start + piece_bytes).min(sent)))
            .collect()
    }
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
