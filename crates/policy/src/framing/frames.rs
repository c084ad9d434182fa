//! HTTP/2 frames of one client, counted: those that cost work and ask for nothing, and those that
//! take a request back.
//!
//! The HTTP/2 library bounds memory: streams, header lists, CONTINUATION frames, small DATA frames,
//! streams reset before they were accepted, resets that a client provokes. What it does not bound
//! is work: PING, SETTINGS, PRIORITY and WINDOW_UPDATE frames without end, and requests that are
//! taken back after they were accepted (RFC 9113, section 10.5; CVE-2019-9512, -9513, -9515,
//! CVE-2023-44487). Both have a purse: each such frame costs, useful traffic and time earn. An
//! honest client stays rich; one that only floods is broke within a moment, and is sent away.

/// What a client did too often: what its purse ran out on, or what the library found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abuse {
    /// CONTINUATION frames.
    Continuation,
    /// DATA frames with nothing in them, or next to nothing.
    Data,
    /// A header list far over what is taken.
    HeaderList,
    /// PING frames.
    Ping,
    /// PRIORITY frames.
    Priority,
    /// Streams that had to be reset or refused.
    ProvokedResets,
    /// Requests taken back.
    Resets,
    /// SETTINGS frames.
    Settings,
    /// Frames of other kinds.
    Unknown,
    /// WINDOW_UPDATE frames.
    Window,
}

impl Abuse {
    /// Why the connection is closed, as metrics say it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Abuse::Continuation => "http2-continuation-flood",
            Abuse::Data => "http2-data-flood",
            Abuse::HeaderList => "http2-header-list",
            Abuse::Ping => "http2-ping-flood",
            Abuse::Priority => "http2-priority-flood",
            Abuse::ProvokedResets => "http2-provoked-resets",
            Abuse::Resets => "http2-resets",
            Abuse::Settings => "http2-settings-flood",
            Abuse::Unknown => "http2-unknown-flood",
            Abuse::Window => "http2-window-flood",
        }
    }

    /// What the HTTP/2 library (h2 0.4) says it found, by the payload of its GOAWAY: the stream
    /// that counts, an error code, and words of its own. The words are told to the client and
    /// nobody else: the error that its connection ends with has the code alone, which is
    /// ENHANCE_YOUR_CALM for all of these.
    #[must_use]
    pub fn of_goodbye(payload: &[u8]) -> Option<Abuse> {
        let (code, words) = payload.get(4..)?.split_first_chunk()?;
        if u32::from_be_bytes(*code) != ENHANCE_YOUR_CALM {
            return None;
        }
        Some(match words {
            b"header_list_way_too_large" => Abuse::HeaderList,
            b"too_many_continuations" => Abuse::Continuation,
            b"too_many_data_frames" => Abuse::Data,
            b"too_many_internal_resets" => Abuse::ProvokedResets,
            b"too_many_resets" => Abuse::Resets,
            _ => return None,
        })
    }

    /// What a frame of this kind is that asks for nothing.
    fn of_idle(kind: u8) -> Abuse {
        match kind {
            CONTINUATION => Abuse::Continuation,
            DATA => Abuse::Data,
            PING => Abuse::Ping,
            PRIORITY => Abuse::Priority,
            SETTINGS => Abuse::Settings,
            WINDOW_UPDATE => Abuse::Window,
            _ => Abuse::Unknown,
        }
    }
}

/// The frames of one direction of one connection.
#[derive(Debug, Clone)]
pub struct Frames {
    head: [u8; HEAD_BYTES],
    head_bytes: u8,
    /// Bytes to pass over: the preface first, then the payload of a frame.
    left: u32,
    /// Whether they are those of a GOAWAY.
    says_goodbye: bool,
    last_stream: u32,
    idle: Purse,
    resets: Purse,
}

impl Frames {
    /// The frames of a client that begins at this moment, nanoseconds, with its preface.
    #[must_use]
    pub fn of_client(now: u64) -> Frames {
        Frames {
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            left: PREFACE_BYTES,
            says_goodbye: false,
            last_stream: 0,
            idle: Purse::full(IDLE_MAX, now),
            resets: Purse::full(RESETS_MAX, now),
        }
    }

    /// The frames of a server.
    #[must_use]
    pub fn of_server() -> Frames {
        Frames {
            left: 0,
            ..Frames::of_client(0)
        }
    }

    /// Reads on. `now` is asked, in nanoseconds, when a purse seems empty.
    ///
    /// # Errors
    /// There is too much of something.
    pub fn read(&mut self, bytes: &[u8], now: impl Fn() -> u64) -> Result<(), Abuse> {
        let charge = |frames: &mut Frames, frame: &Frame| frames.charge(frame, &now);
        self.walk(bytes, charge, |_| {})
    }

    /// Passes over what a server sends; afterwards [`Frames::is_between`] says whether a frame may
    /// be put in here. The payload of a GOAWAY is handed over, in pieces.
    pub fn pass(&mut self, bytes: &[u8], goodbye: impl FnMut(&[u8])) {
        let nothing = |_: &mut Frames, _: &Frame| Ok(());
        // Nothing is charged, so nothing fails.
        let _: Result<(), Abuse> = self.walk(bytes, nothing, goodbye);
    }

    /// So many bytes were written to the client: useful traffic.
    pub fn written(&mut self, bytes: usize) {
        self.idle.earn(bytes as u64 / IDLE_BYTES_EACH);
    }

    /// Whether a frame has ended and none has begun.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.left == 0 && self.head_bytes == 0
    }

    /// The highest stream that the client has opened.
    #[must_use]
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    fn walk(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&mut Frames, &Frame) -> Result<(), Abuse>,
        mut goodbye: impl FnMut(&[u8]),
    ) -> Result<(), Abuse> {
        while !bytes.is_empty() {
            if self.left > 0 {
                // Not more than `left`.
                let passed = bytes.len().min(self.left as usize);
                self.left -= passed as u32;
                if self.says_goodbye {
                    goodbye(&bytes[..passed]);
                }
                bytes = &bytes[passed..];
                continue;
            }
            let have = usize::from(self.head_bytes);
            let taken = bytes.len().min(HEAD_BYTES - have);
            self.head[have..have + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if have + taken < HEAD_BYTES {
                // Fewer than nine.
                self.head_bytes = (have + taken) as u8;
                return Ok(());
            }
            self.head_bytes = 0;
            let frame = Frame::of(&self.head);
            self.left = frame.bytes;
            self.says_goodbye = frame.kind == GOAWAY;
            each(self, &frame)?;
        }
        Ok(())
    }

    fn charge(&mut self, frame: &Frame, now: &impl Fn() -> u64) -> Result<(), Abuse> {
        let price = match frame.kind {
            DATA if frame.bytes > 0 || frame.flags & END_STREAM != 0 => return Ok(()),
            HEADERS => {
                self.last_stream = self.last_stream.max(frame.stream);
                self.idle.earn(IDLE_EACH_REQUEST);
                self.resets.earn(RESETS_EACH_REQUEST);
                return Ok(());
            }
            RST_STREAM => {
                return self
                    .resets
                    .spend(RESET_PRICE, RESETS_PER_SECOND, now, Abuse::Resets);
            }
            SETTINGS => SETTINGS_PRICE,
            _ => 1,
        };
        let abuse = Abuse::of_idle(frame.kind);
        self.idle.spend(price, IDLE_PER_SECOND, now, abuse)
    }
}

/// The head of a frame (RFC 9113, section 4.1).
struct Frame {
    bytes: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn of(head: &[u8; HEAD_BYTES]) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = *head;
        Frame {
            bytes: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7FFF_FFFF,
        }
    }
}

/// Coins up to a maximum.
#[derive(Debug, Clone)]
struct Purse {
    coins: u64,
    max: u64,
    /// When time was last paid for, nanoseconds.
    paid: u64,
}

impl Purse {
    fn full(max: u64, now: u64) -> Purse {
        Purse {
            coins: max,
            max,
            paid: now,
        }
    }

    fn earn(&mut self, coins: u64) {
        self.coins = self.coins.saturating_add(coins).min(self.max);
    }

    fn spend(
        &mut self,
        price: u64,
        per_second: u64,
        now: &impl Fn() -> u64,
        abuse: Abuse,
    ) -> Result<(), Abuse> {
        if self.coins < price {
            let now = now();
            let nanos = u128::from(now.saturating_sub(self.paid));
            let earned = nanos * u128::from(per_second) / 1_000_000_000;
            if earned > 0 {
                self.paid = now;
                self.earn(u64::try_from(earned).unwrap_or(u64::MAX));
            }
        }
        self.coins = self.coins.checked_sub(price).ok_or(abuse)?;
        Ok(())
    }
}

const HEAD_BYTES: usize = 9;
const PREFACE_BYTES: u32 = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Idle frames at once. A client that pings for every message it gets has a thousand each second
/// from time alone; a flood brings hundreds of thousands.
const IDLE_MAX: u64 = 10_000;
const IDLE_PER_SECOND: u64 = 1_000;
/// Each request earns some, each so many bytes written one: a careful client updates two windows
/// for every 4 KiB that it gets.
const IDLE_EACH_REQUEST: u64 = 4;
const IDLE_BYTES_EACH: u64 = 64;
/// A new setting may touch every stream.
const SETTINGS_PRICE: u64 = 10;

/// Requests taken back, in halves: a client that takes back every second request, as one does that
/// asks two servers and wants one answer, never runs out.
const RESETS_MAX: u64 = 400;
const RESETS_PER_SECOND: u64 = 100;
const RESETS_EACH_REQUEST: u64 = 1;
const RESET_PRICE: u64 = 2;
const _: () = assert!(RESET_PRICE == 2 * RESETS_EACH_REQUEST);
