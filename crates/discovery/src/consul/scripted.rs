//! An agent by script, for tests: answers each request with the next line of the script, and lets
//! a request wait while there is none, as a blocking query does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::{Consul, Settings};

/// Long enough for anything that a test waits for.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// One line of the script.
#[derive(Debug, Clone)]
pub(super) enum Says {
    /// Status, index and body.
    Answer(u16, Option<u64>, String),
    /// Closes without an answer.
    Close,
    /// These bytes, then closes.
    Raw(Vec<u8>),
}

/// A request as it came: the first line without version, and the whole text.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) text: String,
}

impl Asked {
    /// Whether the query has exactly this parameter.
    pub(super) fn has(&self, parameter: &str) -> bool {
        self.line
            .split(['?', '&', ' '])
            .any(|part| part == parameter)
    }
}

#[derive(Default)]
struct Script {
    lines: Mutex<VecDeque<Says>>,
    more: Notify,
}

pub(super) struct Scripted {
    pub(super) address: String,
    script: Arc<Script>,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Scripted {
    pub(super) async fn start() -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Script::default());
        let (sender, asked) = mpsc::unbounded_channel();
        let theirs = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&theirs), sender.clone()));
            }
        });
        Scripted {
            address,
            script,
            asked,
        }
    }

    /// Appends a line to the script.
    pub(super) fn say(&self, says: Says) {
        self.script.lines.lock().unwrap().push_back(says);
        self.script.more.notify_one();
    }

    /// Appends an answer.
    pub(super) fn answer(&self, status: u16, index: impl Into<Option<u64>>, body: &str) {
        self.say(Says::Answer(status, index.into(), body.to_owned()));
    }

    /// The next request.
    pub(super) async fn asked(&mut self) -> Asked {
        tokio::time::timeout(DEADLINE, self.asked.recv())
            .await
            .unwrap()
            .unwrap()
    }

    /// Settings that make a test of time short.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            call_timeout: Duration::from_secs(2),
            empty_grace: Duration::from_millis(300),
            ..Settings::new(self.address.clone())
        }
    }

    pub(super) fn consul(&self) -> Consul {
        Consul::new(self.settings()).unwrap()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, asked: mpsc::UnboundedSender<Asked>) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    if asked.send(request).is_err() {
        return;
    }
    let says = loop {
        let more = script.more.notified();
        if let Some(says) = script.lines.lock().unwrap().pop_front() {
            break says;
        }
        more.await;
    };
    let bytes = match says {
        Says::Close => return,
        Says::Raw(bytes) => bytes,
        Says::Answer(status, index, body) => {
            let index = index.map(|index| format!("X-Consul-Index: {index}\r\n"));
            let (index, length) = (index.unwrap_or_default(), body.len());
            format!("HTTP/1.1 {status} X\r\n{index}Content-Length: {length}\r\n\r\n{body}").into()
        }
    };
    let _gone = stream.write_all(&bytes).await;
}

async fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            let line = head
                .lines()
                .next()?
                .trim_end_matches(" HTTP/1.1")
                .to_owned();
            return Some(Asked { line, text });
        }
    }
}
