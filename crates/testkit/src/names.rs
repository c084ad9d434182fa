//! A name server on loopback whose zone a test writes and changes: UDP and TCP on one port.
//!
//! It is authoritative for everything. A name that has other records than those asked for is
//! answered with nothing, one that has none does not exist. Answers that UDP has no room for are
//! cut off, so that they are asked for again by TCP.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// A running name server; it ends when it is dropped, and can come back where it was.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Zone {
    records: BTreeMap<Name, Vec<Record>>,
    /// Names and kinds that are answered with a failure of the server.
    broken: Vec<(Name, Option<RecordType>)>,
    /// Records of targets are told beside SRV records.
    tells_more: bool,
    asked: HashMap<(Name, RecordType), usize>,
    asked_by_tcp: usize,
}

impl NameServer {
    /// Starts on a free port of loopback, knowing no name.
    ///
    /// # Panics
    /// When no port is free for both UDP and TCP.
    pub async fn start() -> Self {
        let mut server = Self {
            address: crate::ports::free_addr(),
            zone: Arc::default(),
            tasks: Vec::new(),
        };
        server.come_back().await;
        server
    }

    /// Where it is asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering: its ports are closed.
    pub async fn go_away(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    /// Answers again at the same port, with the zone as it is.
    ///
    /// # Panics
    /// When the port is taken by somebody else.
    pub async fn come_back(&mut self) {
        let udp = UdpSocket::bind(self.address).await.expect("a free port");
        let tcp = TcpListener::bind(self.address).await.expect("a free port");
        let zone = Arc::clone(&self.zone);
        self.tasks.push(tokio::spawn(serve_udp(udp, zone)));
        let zone = Arc::clone(&self.zone);
        self.tasks.push(tokio::spawn(serve_tcp(tcp, zone)));
    }

    /// The addresses of a name, and nothing else, for `ttl` seconds.
    ///
    /// # Panics
    /// When a name or address is none.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let data = addresses.iter().map(|text| {
            let ip: IpAddr = text.parse().expect("an IP address");
            RData::from(ip)
        });
        self.put(name, ttl, data.collect());
    }

    /// The SRV records of a name: priority, weight, port and target.
    ///
    /// # Panics
    /// When a name is none.
    pub fn services(&self, name: &str, ttl: u32, records: &[(u16, u16, u16, &str)]) {
        let data = records.iter().map(|(priority, weight, port, target)| {
            RData::SRV(SRV::new(*priority, *weight, *port, whole(target)))
        });
        self.put(name, ttl, data.collect());
    }

    /// Makes a name the alias of another.
    ///
    /// # Panics
    /// When a name is none.
    pub fn alias(&self, name: &str, ttl: u32, target: &str) {
        self.put(name, ttl, vec![RData::CNAME(CNAME(whole(target)))]);
    }

    /// Forgets a name: it does not exist any more.
    ///
    /// # Panics
    /// When the name is none.
    pub fn forget(&self, name: &str) {
        self.zone().records.remove(&whole(name));
    }

    /// Fails (SERVFAIL) for a name, or for one kind of its records (`"AAAA"`), until repaired.
    ///
    /// # Panics
    /// When name or kind is none.
    pub fn fail(&self, name: &str, kind: Option<&str>) {
        let kind = kind.map(|kind| kind.parse().expect("a kind of records"));
        self.zone().broken.push((whole(name), kind));
    }

    /// Fails for nothing any more.
    pub fn repair(&self) {
        self.zone().broken.clear();
    }

    /// Whether answers about services come with the addresses of their targets.
    pub fn tell_more(&self, tell: bool) {
        self.zone().tells_more = tell;
    }

    /// How often records of a kind (`"A"`) were asked for.
    ///
    /// # Panics
    /// When name or kind is none.
    #[must_use]
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        let key = (whole(name), kind.parse().expect("a kind of records"));
        self.zone().asked.get(&key).copied().unwrap_or(0)
    }

    /// How many questions came by TCP.
    #[must_use]
    pub fn asked_by_tcp(&self) -> usize {
        self.zone().asked_by_tcp
    }

    fn put(&self, name: &str, ttl: u32, data: Vec<RData>) {
        let name = whole(name);
        let record = |data| Record::from_rdata(name.clone(), ttl, data);
        let records = data.into_iter().map(record).collect();
        self.zone().records.insert(name, records);
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        lock(&self.zone)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; 4096];
    // An error is about a client that has gone.
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Ok(question) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        let mut answer = lock(&zone).answer(&question);
        let whole = answer.to_vec().expect("an answer can be written");
        let bytes = if whole.len() > usize::from(question.max_payload()) {
            answer = answer.truncate();
            answer.to_vec().expect("an answer can be written")
        } else {
            whole
        };
        let _ = socket.send_to(&bytes, from).await;
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = answer_tcp(stream, &zone).await;
    }
}

async fn answer_tcp(mut stream: TcpStream, zone: &Mutex<Zone>) -> std::io::Result<()> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    let Ok(question) = Message::from_vec(&bytes) else {
        return Ok(());
    };
    let answer = {
        let mut zone = lock(zone);
        zone.asked_by_tcp += 1;
        zone.answer(&question)
    };
    let bytes = answer.to_vec().expect("an answer can be written");
    let length = u16::try_from(bytes.len()).expect("an answer has at most 64 KiB");
    stream.write_u16(length).await?;
    stream.write_all(&bytes).await
}

impl Zone {
    fn answer(&mut self, question: &Message) -> Message {
        let mut answer = Message::new(
            question.metadata.id,
            MessageType::Response,
            question.metadata.op_code,
        );
        answer.metadata.authoritative = true;
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        let Some(query) = question.queries.first() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer;
        };
        let (name, kind) = (query.name().to_lowercase(), query.query_type());
        answer.add_query(query.clone());
        *self.asked.entry((name.clone(), kind)).or_default() += 1;
        let is_broken = |(broken, of): &(Name, Option<RecordType>)| {
            *broken == name && of.is_none_or(|of| of == kind)
        };
        if self.broken.iter().any(is_broken) {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        let Some(records) = self.records.get(&name) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            return answer;
        };
        let matching = |record: &&Record| {
            record.record_type() == kind || record.record_type() == RecordType::CNAME
        };
        answer.add_answers(records.iter().filter(matching).cloned());
        if self.tells_more {
            let targets = records.iter().filter_map(|record| match &record.data {
                RData::SRV(srv) => self.records.get(&srv.target),
                _ => None,
            });
            let told: Vec<Record> = targets.flatten().cloned().collect();
            answer.add_additionals(told);
        }
        answer
    }
}
