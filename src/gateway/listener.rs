//! Sockets that listen: opening them for every worker, accepting on them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A socket that listens, not yet part of a runtime.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(std::net::TcpListener),
    Unix(Arc<std::os::unix::net::UnixListener>),
}

/// One socket for each of `workers`: with several, the kernel spreads connections over them.
pub(super) fn bind(address: &Address, workers: usize) -> io::Result<Vec<Bound>> {
    match address {
        Address::Tcp(address) => {
            let shared = workers > 1;
            if shared {
                // With SO_REUSEPORT a port that somebody else shares as well would look free.
                tcp_socket(*address, false)?;
            }
            let open = |_| {
                let socket = tcp_socket(*address, shared)?;
                socket.listen(BACKLOG)?;
                Ok(Bound::Tcp(socket.into()))
            };
            (0..workers).map(open).collect()
        }
        Address::Unix(path) => {
            let listener = Arc::new(unix_socket(path)?);
            Ok((0..workers).map(|_| Bound::Unix(listener.clone())).collect())
        }
    }
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// A socket file that nobody listens on is left over from a process that was killed: it is replaced.
fn unix_socket(path: &PathBuf) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    let left_over = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err();
    if left_over {
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket that accepts in the runtime of one worker.
#[derive(Debug)]
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Acceptor {
    pub(super) fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => Acceptor::Tcp(TcpListener::from_std(listener)?),
            Bound::Unix(listener) => Acceptor::Unix(UnixListener::from_std(listener.try_clone()?)?),
        })
    }

    /// The next connection. An error that concerns one connection is passed over; one that concerns the process (no
    /// more files) is waited out.
    pub(super) async fn accept(&self) -> Accepted {
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Accepted> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // It fails on a connection that is gone already, which its first read will tell.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, peer))
            }
            Acceptor::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_an_error_also_when_it_is_shared() {
        let taken = bind(&Address::Tcp(([127, 0, 0, 1], 0).into()), 1).unwrap();
        let Bound::Tcp(listener) = &taken[0] else { panic!("a TCP listener") };
        let address = Address::Tcp(listener.local_addr().unwrap());
        for workers in [1, 2] {
            assert_eq!(bind(&address, workers).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        drop(taken);
        let shared = bind(&address, 2).unwrap();
        assert_eq!(shared.len(), 2);
        assert_eq!(bind(&address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
