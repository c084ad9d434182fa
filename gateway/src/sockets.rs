//! Listening sockets that outlive the process: each is kept in Pingora's table under
//! `address#worker`, from which it is handed over to the next process.
//!
//! Pingora hands over at most 32 sockets. Further ones are opened anew by the next process, which
//! shares their address; only what is in the queue of the old socket when it closes goes through
//! the old process.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, IntoRawFd as _, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pingora_core::server::ListenFds;
use weir_proxy::{Sockets, bind};

/// The sockets of a gateway.
pub(crate) struct KeptSockets {
    table: ListenFds,
    /// Keys that a worker of this process has asked for.
    claimed: Mutex<HashSet<String>>,
}

impl KeptSockets {
    /// Takes a table into use; it may hold what the process before has handed over.
    pub(crate) fn new(table: ListenFds) -> Self {
        Self {
            table,
            claimed: Mutex::default(),
        }
    }

    /// Closes what was handed over and nobody here has asked for: connections that the kernel puts
    /// into its queue would wait for ever.
    pub(crate) fn close_unclaimed(&self) {
        let closed = self.table.lock().close_unclaimed(&self.claimed());
        if !closed.is_empty() {
            tracing::info!(sockets = ?closed, "sockets of the process before are not needed");
        }
    }

    fn claimed(&self) -> MutexGuard<'_, HashSet<String>> {
        // Every change is one insertion or removal.
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets for KeptSockets {
    fn listen(
        &self,
        address: SocketAddr,
        worker: usize,
        _workers: usize,
    ) -> io::Result<TcpListener> {
        let mut table = self.table.lock();
        let asked = format!("{address}#{worker}");
        if let Some(kept) = table.get(&asked) {
            let socket = duplicate(*kept)?;
            self.claimed().insert(asked);
            return Ok(socket);
        }
        let socket = bind(address)?;
        // With port 0 asked for, the key has the port that it became.
        let key = format!("{}#{worker}", socket.local_addr()?);
        let (keys, _) = table.serialize();
        let bytes: usize = keys.iter().map(|key| key.len() + 1).sum();
        if keys.len() < SOCKETS_MAX && bytes + key.len() < KEYS_BYTES_MAX {
            // The table owns its descriptor until it is closed there.
            table.add(key.clone(), socket.try_clone()?.into_raw_fd());
            self.claimed().insert(key);
        } else {
            tracing::warn!(%address, worker, "socket will not be handed over, there are too many");
        }
        Ok(socket)
    }

    fn close(&self, address: SocketAddr) {
        let prefix = format!("{address}#");
        let mut claimed = self.claimed();
        claimed.retain(|key| !key.starts_with(&prefix));
        let mut table = self.table.lock();
        let (keys, _) = table.serialize();
        let keep = keys
            .into_iter()
            .filter(|key| !key.starts_with(&prefix))
            .collect();
        table.close_unclaimed(&keep);
    }
}

/// Another descriptor of a socket in the table.
fn duplicate(kept: RawFd) -> io::Result<TcpListener> {
    #[expect(
        unsafe_code,
        reason = "the table of sockets to hand over holds plain numbers"
    )]
    // SAFETY: the table owns the descriptor and is locked by the caller, so it stays open for as
    // long as it is borrowed here.
    let kept = unsafe { BorrowedFd::borrow_raw(kept) };
    let socket = TcpListener::from(kept.try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What Pingora sends in one message.
const SOCKETS_MAX: usize = 32;
/// Its buffer for the keys, with blanks between them.
const KEYS_BYTES_MAX: usize = 2048;
