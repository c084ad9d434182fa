//! A service with any number of endpoints: one thread, one fixed answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::LocalSet;

/// Bytes of the answer's body.
pub const BODY_BYTES: usize = 1024;

/// Starts it and gives the addresses where it listens. It ends with the process.
///
/// # Errors
/// The system gives no thread or no sockets.
pub fn start(endpoints: usize) -> io::Result<Vec<SocketAddr>> {
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new()
        .name("origin".to_owned())
        .spawn(move || {
            let listening = listen(endpoints);
            let addresses = match listening {
                Ok((runtime, listeners)) => {
                    let addresses: io::Result<Vec<_>> =
                        listeners.iter().map(TcpListener::local_addr).collect();
                    let _ = tell.send(addresses);
                    serve(&runtime, listeners);
                    return;
                }
                Err(error) => Err(error),
            };
            let _ = tell.send(addresses);
        })?;
    told.recv().map_err(io::Error::other)?
}

fn listen(endpoints: usize) -> io::Result<(runtime::Runtime, Vec<TcpListener>)> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let listeners = runtime.block_on(async {
        let mut listeners = Vec::new();
        for _ in 0..endpoints {
            listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        }
        Ok::<_, io::Error>(listeners)
    })?;
    Ok((runtime, listeners))
}

fn serve(runtime: &runtime::Runtime, listeners: Vec<TcpListener>) {
    let local = LocalSet::new();
    for listener in listeners {
        local.spawn_local(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::task::spawn_local(answer(connection));
            }
        });
    }
    runtime.block_on(local);
}

/// Answers requests without bodies until the other side closes.
async fn answer(mut connection: TcpStream) {
    let _ = connection.set_nodelay(true);
    let body = "x".repeat(BODY_BYTES);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n{body}"
    );
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match connection.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&piece[..read]),
        }
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            if connection.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
