//! Programmable endpoints: each with its own port, its own log of requests and a behavior that may change any time.

pub(crate) mod http2;
pub(crate) mod log;

mod http1;
mod reply;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use crate::certs::Certs;
use crate::schema::{Behavior, Close, Protocol, UpstreamTls, UpstreamWords};
use crate::tls;
use crate::wire::Socket;
use log::{Ledger, Record};

/// Seconds of the case format.
pub(crate) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) ledger: Arc<Ledger>,
    endpoint: Arc<Endpoint>,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    protocol: Protocol,
    tls: Option<(UpstreamTls, ServerConfig)>,
    ledger: Arc<Ledger>,
}

/// What holds the port.
#[derive(Debug)]
enum Running {
    /// Nobody: connections are refused.
    Nothing,
    Listening {
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    },
    /// A socket that accepts nobody, with its accept queue full.
    Blackhole {
        _listener: TcpListener,
        _queued: Vec<TcpStream>,
    },
}

/// What a connection's exchanges need to know.
#[derive(Debug)]
pub(crate) struct Served {
    name: String,
    ledger: Arc<Ledger>,
    sni: Option<String>,
}

impl Upstream {
    /// Opens the port, unless the behavior is to refuse.
    pub(crate) async fn start(name: &str, words: UpstreamWords, port: u16, certs: &Certs) -> Result<Upstream, String> {
        let ledger = Arc::new(Ledger::default());
        ledger.behave(words.behavior.unwrap_or_default());
        let tls = match words.tls {
            None => None,
            Some(words) => {
                let config = tls::server(&words, certs)?;
                Some((words, config))
            }
        };
        let endpoint = Endpoint { name: name.to_owned(), protocol: words.protocol, tls, ledger: ledger.clone() };
        let upstream = Upstream {
            name: name.to_owned(),
            port,
            ledger,
            endpoint: Arc::new(endpoint),
            running: Mutex::new(Running::Nothing),
        };
        upstream.open(&mut *upstream.running.lock().await).await?;
        Ok(upstream)
    }

    /// Replaces the behavior.
    pub(crate) async fn behave(&self, behavior: Behavior) -> Result<(), String> {
        let mut running = self.running.lock().await;
        let reopen = behavior.refuse || behavior.blackhole || matches!(*running, Running::Blackhole { .. });
        self.ledger.behave(behavior);
        if reopen {
            close(&mut running).await;
        }
        self.open(&mut running).await
    }

    /// Closes the port and every connection.
    pub(crate) async fn stop(&self) {
        close(&mut *self.running.lock().await).await;
    }

    async fn open(&self, running: &mut Running) -> Result<(), String> {
        let behavior = self.ledger.behavior();
        if behavior.refuse || !matches!(running, Running::Nothing) {
            return Ok(());
        }
        let problem = |error: io::Error| format!("upstream {}: port {}: {error}", self.name, self.port);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        *running = if behavior.blackhole {
            blackhole(address).await.map_err(problem)?
        } else {
            let listener = listen(address, 512).map_err(problem)?;
            let (stop, stopped) = oneshot::channel();
            let task = tokio::spawn(accept(self.endpoint.clone(), listener, stopped));
            Running::Listening { stop, task }
        };
        Ok(())
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Fills the accept queue until a connect hangs, as every later one will.
async fn blackhole(address: SocketAddr) -> io::Result<Running> {
    let listener = listen(address, 0)?;
    let mut queued = Vec::new();
    for _ in 0..8 {
        match timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            Ok(connected) => queued.push(connected?),
            Err(_) => return Ok(Running::Blackhole { _listener: listener, _queued: queued }),
        }
    }
    Err(io::Error::other("the accept queue does not fill up"))
}

async fn close(running: &mut Running) {
    if let Running::Listening { stop, task } = std::mem::replace(running, Running::Nothing) {
        let _ = stop.send(());
        let _ = task.await;
    }
}

/// Accepts until it is told to stop, or its owner is gone; the connections end with it.
async fn accept(endpoint: Arc<Endpoint>, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let endpoint = endpoint.clone();
                    connections.spawn(async move { endpoint.serve(stream).await });
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

impl Endpoint {
    async fn serve(&self, stream: TcpStream) {
        let Ok((mut socket, sni)) = self.secure(stream).await else { return };
        self.ledger.connected(sni.as_deref());
        let served = Served { name: self.name.clone(), ledger: self.ledger.clone(), sni };
        if self.protocol == Protocol::Tcp {
            let _ = serve_tcp(&served, socket).await;
            return;
        }
        let mut first = [0; 4];
        if socket.read_exact(&mut first).await.is_err() {
            return;
        }
        socket.put_back(&first);
        if &first == b"PRI " {
            let _ = http2::serve(Arc::new(served), socket.split().joined()).await;
        } else {
            let _ = http1::serve(&served, socket.split()).await;
        }
    }

    async fn secure(&self, stream: TcpStream) -> io::Result<(Socket, Option<String>)> {
        let Some((words, config)) = &self.tls else { return Ok((Socket::plain(stream), None)) };
        let _ = stream.set_nodelay(true);
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let hello = start.client_hello();
        let sni = hello.server_name().map(str::to_owned);
        let mut config = config.clone();
        config.alpn_protocols = tls::alpn_for(words, hello.alpn().into_iter().flatten());
        let stream = start.into_stream(Arc::new(config)).await?;
        Ok((Socket::tls(TlsStream::Server(stream)), sni))
    }
}

/// The name as a banner, then what comes, as it comes.
async fn serve_tcp(served: &Served, mut socket: Socket) -> io::Result<()> {
    let record = Record { method: "TCP".to_owned(), proto: "tcp", sni: served.sni.clone(), ..Record::default() };
    served.ledger.record(record);
    if served.ledger.behavior().close == Some(Close::Before) {
        socket.reset();
        return Ok(());
    }
    socket.write_all(format!("{}\n", served.name).as_bytes()).await?;
    socket.flush().await?;
    let mut data = vec![0; 64 * 1024];
    loop {
        let count = socket.read(&mut data).await?;
        if count == 0 {
            return socket.shutdown().await;
        }
        socket.write_all(&data[..count]).await?;
        socket.flush().await?;
    }
}
