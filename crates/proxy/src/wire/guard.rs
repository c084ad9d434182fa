//! Under an HTTP/2 library that bounds memory, a guard that bounds work: it counts the frames of a
//! client (see [`weir_policy::framing::frames`]) and says GOAWAY with ENHANCE_YOUR_CALM to one that
//! floods. The library has no way to be told, so the guard writes the frame itself, where none of
//! the library's is under way, and ends the stream of bytes with an error. Nor does the library say
//! which of its own bounds a client was over, except to the client: the guard listens in.

use std::io;
use std::pin::Pin;
use std::task::Context;

use tokio::io::AsyncWrite;
use weir_policy::framing::frames::{Abuse, Frames};

use super::{Meter, Socket};
use crate::clock;

/// Counts the frames of one client.
#[derive(Debug)]
pub(super) struct Guard {
    received: Frames,
    sent: Frames,
    /// The payload of the library's GOAWAY, as far as it went.
    goodbye: Vec<u8>,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self {
            received: Frames::of_client(clock::now().nanos),
            sent: Frames::of_server(),
            goodbye: Vec::new(),
        }
    }

    /// Bytes came.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        socket: &mut Socket,
        meter: &Meter,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let Err(abuse) = self.received.read(bytes, || clock::now().nanos) else {
            return Ok(());
        };
        meter.abused(abuse);
        if self.sent.is_between() {
            self.say_farewell(socket, cx);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, abuse.reason()))
    }

    /// These bytes went, up to `count`.
    pub(super) fn wrote<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        mut count: usize,
        meter: &Meter,
    ) {
        self.received.written(count);
        let Self { sent, goodbye, .. } = self;
        for piece in pieces {
            let written = piece.len().min(count);
            sent.pass(&piece[..written], |payload| {
                let room = GOODBYE_BYTES_MAX.saturating_sub(goodbye.len());
                goodbye.extend_from_slice(&payload[..payload.len().min(room)]);
            });
            count -= written;
        }
        // One that goes away in peace says so twice.
        if sent.is_between() && !goodbye.is_empty() {
            if let Some(abuse) = Abuse::of_goodbye(goodbye) {
                meter.abused(abuse);
            }
            goodbye.clear();
        }
    }

    /// As far as it goes without waiting: a client that does not read does not deserve more.
    fn say_farewell(&self, socket: &mut Socket, cx: &mut Context<'_>) {
        let mut frame = [0; GOAWAY_BYTES];
        frame[..9].copy_from_slice(&[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0]);
        frame[9..13].copy_from_slice(&self.received.last_stream().to_be_bytes());
        frame[13..].copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        let _ = Pin::new(&mut *socket).poll_write(cx, &frame);
        let _ = Pin::new(&mut *socket).poll_flush(cx);
        let _ = Pin::new(socket).poll_shutdown(cx);
    }
}

const GOAWAY_BYTES: usize = 17;
/// Of the payload of a GOAWAY: more than any that is known.
const GOODBYE_BYTES_MAX: usize = 64;
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
