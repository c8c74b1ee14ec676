//! Sockets that listen: opening them for every worker, accepting on them.

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// How many connections may wait to be accepted.
pub(super) const BACKLOG: i32 = 4096;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Address {
    Tcp(SocketAddr),
    /// A port that the kernel chooses, in place of that of this address.
    Free(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Whether both are of one port, at whichever address.
    pub(super) fn shares_port_with(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Tcp(one), Address::Tcp(other)) => one.port() == other.port(),
            _ => false,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Free(address) => write!(f, "a free port of {} for {}", address.ip(), address.port()),
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

impl Bound {
    /// Where it listens over TCP.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            Bound::Unix(_) => None,
        }
    }
}

/// One socket for each of `workers`: with several, the kernel spreads connections over them. `beside_ours`: this process
/// listens on the port already, at another address, which may contain this one. Connections go to the narrowest.
pub(super) fn bind(address: &Address, workers: usize, beside_ours: bool) -> io::Result<Vec<Bound>> {
    match address {
        Address::Tcp(address) => tcp_sockets(*address, workers, beside_ours),
        Address::Free(address) => tcp_sockets(SocketAddr::new(address.ip(), 0), workers, beside_ours),
        Address::Unix(path) => {
            let listener = Arc::new(unix_socket(path)?);
            Ok((0..workers).map(|_| Bound::Unix(listener.clone())).collect())
        }
    }
}

fn tcp_sockets(mut address: SocketAddr, workers: usize, beside_ours: bool) -> io::Result<Vec<Bound>> {
    if !beside_ours {
        // With SO_REUSEPORT a port that somebody else shares as well would look free.
        tcp_socket(address, false)?;
    }
    let open = |_| {
        let socket = tcp_socket(address, true)?;
        socket.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(socket);
        // If the kernel chose the port, then for all of them.
        address = listener.local_addr()?;
        Ok(Bound::Tcp(listener))
    };
    (0..workers).map(open).collect()
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // As for Envoy without `ipv4_compat`, which Istio does not set: `0.0.0.0` is somebody else's.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn unix_socket(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    // As Envoy writes names that are no files.
    let listener = match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => abstract_socket(name)?,
        None => socket_file(path)?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket file that nobody listens on is left over from a process that was killed: it is replaced.
fn socket_file(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let left_over = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err();
    if left_over {
        std::fs::remove_file(path)?;
    }
    std::os::unix::net::UnixListener::bind(path)
}

/// A socket whose name ends with it.
#[cfg(target_os = "linux")]
fn abstract_socket(name: &[u8]) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixListener::bind_addr(&address)
}

#[cfg(not(target_os = "linux"))]
fn abstract_socket(_: &[u8]) -> io::Result<std::os::unix::net::UnixListener> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "abstract sockets (unix://@NAME) are there on Linux only"))
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
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn tcp(ip: impl Into<IpAddr>, port: u16) -> Address {
        Address::Tcp(SocketAddr::new(ip.into(), port))
    }

    fn address_of(bound: &Bound) -> SocketAddr {
        bound.address().unwrap()
    }

    fn open(mut bound: Vec<Bound>) -> Acceptor {
        Acceptor::new(bound.remove(0)).unwrap()
    }

    /// Which of them gets a connection to `address`.
    async fn reached(open: [&Acceptor; 2], address: SocketAddr) -> usize {
        let _client = TcpStream::connect(address).await.unwrap();
        tokio::select! {
            _ = open[0].accept() => 0,
            _ = open[1].accept() => 1,
        }
    }

    /// One at `first`, at a port that the kernel chooses, and one beside it at `second`, where somebody else may have that
    /// port: then at another.
    fn at_one_port(first: IpAddr, second: IpAddr) -> (Acceptor, Acceptor, u16) {
        let open_both = || {
            let one = bind(&tcp(first, 0), 1, false)?;
            let port = address_of(&one[0]).port();
            Ok((open(one), open(bind(&tcp(second, port), 1, true)?), port))
        };
        let taken = |both: &io::Result<_>| both.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        std::iter::repeat_with(open_both).take(20).find(|both| !taken(both)).unwrap().unwrap()
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_also_when_it_is_shared() {
        let taken = bind(&tcp(Ipv4Addr::LOCALHOST, 0), 1, false).unwrap();
        let address = Address::Tcp(address_of(&taken[0]));
        for workers in [1, 2] {
            assert_eq!(bind(&address, workers, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        drop(taken);
        let shared = bind(&address, 2, false).unwrap();
        assert_eq!(shared.len(), 2);
        assert_eq!(bind(&address, 2, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_of_a_stranger_is_taken_beside_ours_too() {
        let stranger = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = tcp(Ipv4Addr::UNSPECIFIED, stranger.local_addr().unwrap().port());
        for beside_ours in [false, true] {
            assert_eq!(bind(&taken, 1, beside_ours).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[tokio::test]
    async fn one_port_may_be_open_at_addresses_that_contain_each_other() {
        let [here, other] = [Ipv4Addr::LOCALHOST, [127, 0, 0, 2].into()].map(IpAddr::V4);
        let (narrow, wide, port) = at_one_port(here, Ipv4Addr::UNSPECIFIED.into());
        assert!(tcp(Ipv4Addr::UNSPECIFIED, port).shares_port_with(&tcp(here, port)));
        assert_eq!(reached([&narrow, &wide], SocketAddr::new(here, port)).await, 0);
        if std::net::TcpListener::bind((other, 0)).is_ok() {
            // This machine has more than one.
            assert_eq!(reached([&narrow, &wide], SocketAddr::new(other, port)).await, 1);
        }
    }

    #[tokio::test]
    async fn all_of_version_6_is_nothing_of_version_4() {
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            // This machine has none.
            return;
        }
        let (six, four, port) = at_one_port(Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into());
        assert_eq!(reached([&six, &four], SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)).await, 0);
        assert_eq!(reached([&six, &four], SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)).await, 1);
    }

    #[test]
    fn the_workers_share_the_port_that_the_kernel_chose() {
        let bound = bind(&tcp(Ipv4Addr::LOCALHOST, 0), 3, false).unwrap();
        assert!(bound.iter().all(|one| address_of(one) == address_of(&bound[0])));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_name_after_an_at_sign_is_no_file() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("mesh-router-{}", std::process::id());
        let path = PathBuf::from(format!("@{name}"));
        let listener = open(bind(&Address::Unix(path.clone()), 2, false).unwrap());
        assert!(!path.exists());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let _client = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
        assert!(matches!(listener.accept().await, Accepted::Unix(_)));
        assert_eq!(bind(&Address::Unix(path), 1, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
