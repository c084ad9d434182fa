//! Free loopback ports that parallel test processes never hand out twice.
//!
//! Binding port 0 and letting go again is a race: the kernel may give the port to somebody's
//! outgoing connection. So ports come from a range below the ephemeral one, and each is claimed by
//! a lock on a file that this process holds until it ends; the kernel drops the lock even when the
//! process is killed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

/// A loopback port that nobody listens on and no other test will be given while this process runs.
///
/// # Panics
/// When every port of the range is taken.
#[must_use]
pub fn free_port() -> u16 {
    let directory = claims_directory();
    fs::create_dir_all(&directory).expect("the temporary directory must be writable");
    for _ in 0..PORT_COUNT {
        let port = next_candidate();
        if let Some(claim) = claim(&directory, port).filter(|_| is_unused(port)) {
            CLAIMS
                .lock()
                .expect("no holder of this lock panics")
                .push(claim);
            return port;
        }
    }
    panic!("no free port in {PORT_FIRST}..{}", PORT_FIRST + PORT_COUNT);
}

/// As [`free_port`], as an address on 127.0.0.1.
#[must_use]
pub fn free_addr() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// Several different ports at once.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}

/// Processes start at different places, so that they rarely meet at a lock.
fn next_candidate() -> u16 {
    static STEP: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(PORT_COUNT))
        .expect("a remainder of a u16 fits a u16");
    let offset = STEP.fetch_add(1, Ordering::Relaxed) % PORT_COUNT;
    PORT_FIRST + (start + offset) % PORT_COUNT
}

fn claims_directory() -> PathBuf {
    std::env::temp_dir().join("weir-testkit-ports")
}

/// The locked file, or nothing when another process (or this one) has it.
fn claim(directory: &Path, port: u16) -> Option<File> {
    let path = directory.join(port.to_string());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .or_else(|error| match error.kind() {
            // Another user's file: a lock works on a read-only descriptor as well.
            io::ErrorKind::PermissionDenied => File::open(&path),
            _ => Err(error),
        })
        .ok()?;
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
    }
}

/// Binding all addresses fails when anybody listens on any one of them.
fn is_unused(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Above the ports that people and Weir's own defaults use (15001, 15008) and below the usual
/// start of the ephemeral range (32768).
const PORT_FIRST: u16 = 20_000;
const PORT_COUNT: u16 = 12_000;

/// Never emptied: a port stays claimed until the process ends.
static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());

#[cfg(test)]
mod tests {
    use super::{claim, claims_directory, free_port, free_ports};
    use std::collections::HashSet;

    #[test]
    fn ports_are_distinct_across_threads() {
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| free_ports::<16>().to_vec()))
            .collect();
        let ports: Vec<u16> = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        let distinct: HashSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
    }

    #[test]
    fn a_claimed_port_is_refused_to_everybody_else() {
        let port = free_port();
        assert!(claim(&claims_directory(), port).is_none());
    }
}
