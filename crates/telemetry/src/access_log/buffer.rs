//! The lines of one worker until they are handed to the writer.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::record::AccessRecord;
use super::tunnel_record::TunnelRecord;
use super::writer::{Lines, Message};
use crate::sharded::Counter;

/// Formats the lines of one worker. It belongs to one thread; to drop it flushes it.
#[derive(Debug)]
pub struct LogBuffer {
    queue: Option<SyncSender<Message>>,
    bytes: Vec<u8>,
    lines: u64,
    clock: Clock,
    worker: usize,
    dropped: Arc<Counter>,
    home: SyncSender<Vec<u8>>,
    returned: Receiver<Vec<u8>>,
}

impl LogBuffer {
    pub(super) fn new(
        queue: Option<SyncSender<Message>>,
        worker: usize,
        dropped: Arc<Counter>,
    ) -> Self {
        let (home, returned) = sync_channel(RETURNED_BUFFERS_MAX);
        let clock = Clock::default();
        Self {
            queue,
            bytes: Vec::new(),
            lines: 0,
            clock,
            worker,
            dropped,
            home,
            returned,
        }
    }

    /// Whether lines go anywhere. When not, a record need not be put together.
    #[inline]
    pub fn enabled(&self) -> bool {
        self.queue.is_some()
    }

    /// Adds the line of a finished request. It never waits.
    pub fn write(&mut self, record: &AccessRecord<'_>) {
        self.add(record.time_unix_ms, |time, out| record.write(time, out));
    }

    /// Adds the line of a finished connection that was passed on. It never waits.
    pub fn write_tunnel(&mut self, record: &TunnelRecord<'_>) {
        self.add(record.time_unix_ms, |time, out| record.write(time, out));
    }

    fn add(&mut self, unix_ms: u64, line: impl FnOnce(&[u8; TIME_BYTES], &mut Vec<u8>)) {
        if self.queue.is_none() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = self.returned.try_recv().unwrap_or_default();
            self.bytes.reserve(HAND_OVER_BYTES + LINE_BYTES_USUAL);
        }
        line(self.clock.format(unix_ms), &mut self.bytes);
        self.lines += 1;
        if self.bytes.len() >= HAND_OVER_BYTES {
            self.flush();
        }
    }

    /// Hands what is there to the writer, or drops and counts it when the queue is full.
    pub fn flush(&mut self) {
        let Some(queue) = &self.queue else { return };
        if self.bytes.is_empty() {
            return;
        }
        let lines = Lines {
            bytes: std::mem::take(&mut self.bytes),
            count: std::mem::take(&mut self.lines),
            home: self.home.clone(),
        };
        match queue.try_send(Message::Lines(lines)) {
            Ok(()) => {}
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                if let Message::Lines(lines) = message {
                    self.dropped.add(self.worker, lines.count);
                    self.bytes = lines.bytes;
                    self.bytes.clear();
                }
            }
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Length of a time such as `2026-11-20T20:33:00.123Z`.
pub(super) const TIME_BYTES: usize = 24;

/// Formats times; the date and the second are kept, because most lines share them with the last.
#[derive(Debug)]
struct Clock {
    second: u64,
    text: [u8; TIME_BYTES],
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            second: 0,
            text: *b"1970-01-01T00:00:00.000Z",
        }
    }
}

impl Clock {
    fn format(&mut self, unix_ms: u64) -> &[u8; TIME_BYTES] {
        let unix_ms = unix_ms.min(YEAR_10000_UNIX_MS - 1);
        let second = unix_ms / 1000;
        if second != self.second {
            self.second = second;
            let (year, month, day) = date(second / 86_400);
            let of_day = second % 86_400;
            digits(&mut self.text[0..4], year);
            digits(&mut self.text[5..7], month);
            digits(&mut self.text[8..10], day);
            digits(&mut self.text[11..13], of_day / 3600);
            digits(&mut self.text[14..16], of_day / 60 % 60);
            digits(&mut self.text[17..19], of_day % 60);
        }
        digits(&mut self.text[20..23], unix_ms % 1000);
        &self.text
    }
}

/// Year, month and day of a number of days since 1970-01-01, in years that begin in March so that
/// the leap day comes last (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A buffer this full is handed over.
const HAND_OVER_BYTES: usize = 64 * 1024;

/// Room for the line that fills a buffer.
const LINE_BYTES_USUAL: usize = 1024;

/// Written buffers that wait to be used again; more are freed.
const RETURNED_BUFFERS_MAX: usize = 2;

const YEAR_10000_UNIX_MS: u64 = 253_402_300_800_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let mut clock = Clock::default();
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_007, "2000-03-01T00:00:00.007Z"),
            (951_868_800_070, "2000-03-01T00:00:00.070Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(String::from_utf8_lossy(clock.format(unix_ms)), text);
        }
    }
}
