//! A running gateway: [`Server`] opens what the mesh says and follows it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tower_layer::Layer;

use super::admin::{Admin, Readiness, Render};
use super::connection::Protocols;
use super::listener::{self, Address};
use super::secured::Configs;
use super::worker::{self, Command, Serving};
use crate::dice::Dice;
use crate::error::{Error, ErrorKind, Problem, Severity};
use crate::mesh::Mesh;
use crate::request::Origin;
use crate::service::MeshRouter;
use crate::snapshot::{Bind, Listener};
use crate::source::{DnsSource, Resolving};
use crate::transport::{MeshCertificates, Transport};

/// How a gateway is to run; see [`Server::builder`].
#[derive(Clone)]
#[must_use = "nothing listens before `start`"]
pub struct ServerBuilder {
    mesh: Mesh,
    workers: NonZeroUsize,
    ports: BTreeMap<u16, u16>,
    admin: Option<SocketAddr>,
    render: Option<Render>,
    idle: Duration,
    buffer: Option<usize>,
    certificates: Option<MeshCertificates>,
    dice: Dice,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("workers", &self.workers)
            .field("ports", &self.ports)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// How many threads serve connections, each with a runtime and connections to endpoints of its own.
    /// Default: what the machine offers.
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.workers = workers;
        self
    }

    /// Listens on `to` where a Gateway says `from`, as Kubernetes' `targetPort` does. Rules still see `from`.
    pub fn map_port(mut self, from: u16, to: u16) -> Self {
        self.ports.insert(from, to);
        self
    }

    /// Answers `GET /ready` and `GET /stats/prometheus` at this address. Default: no admin port.
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self
    }

    /// What writes the metrics for `/stats/prometheus`. Default: none, and the path is not found.
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.render = Some(Arc::new(render));
        self
    }

    /// How long a connection may be without a request, and a request head may take to arrive.
    /// Default: an hour, Envoy's idle timeout.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Bounds the buffers of a connection, in bytes. Default: hyper's, which grow with use to about 400 KiB; less
    /// saves memory and costs time with large bodies. Below 64 KiB a head of the permitted size does not fit.
    pub fn buffer_size(mut self, bytes: usize) -> Self {
        self.buffer = Some(bytes);
        self
    }

    /// The certificates of this gateway in the mesh, which it shows and asks for on servers of mode `ISTIO_MUTUAL`, and to
    /// clusters whose `tls.mode` is that. Default: none; such servers close their connections, and to such clusters it
    /// speaks plain text.
    pub fn mesh_certificates(mut self, certificates: MeshCertificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Where `x-request-id` comes from. Default: dice that cannot be foretold.
    pub fn dice(mut self, dice: Dice) -> Self {
        self.dice = dice;
        self
    }

    /// Opens every listener of the mesh and begins to serve.
    ///
    /// Names of endpoints are looked up with the system's resolver unless a [`DnsSource`] does so already; the listeners
    /// are opened when each was looked up once, or after 5 s.
    ///
    /// # Errors
    ///
    /// If a listener or the admin port cannot be opened, or a thread not be started: then nothing is left open.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which follows the mesh and serves the admin port.
    pub async fn start(self) -> Result<Server, Error> {
        let readiness = Arc::new(Readiness::default());
        let admin = self.start_admin(&readiness).await?;
        let admin_address = admin.as_ref().map(|(address, _)| *address);
        let admin = admin.map(|(_, task)| AbortOnDrop(task));
        let resolving = DnsSource::new().open(&self.mesh).await;
        let versions = self.mesh.subscribe();
        let configs = Arc::new(Configs::new(self.certificates.clone()));
        let mut control = Control {
            workers: self.start_workers(&configs)?,
            configs,
            mesh: self.mesh,
            ports: self.ports,
            open: BTreeMap::new(),
        };
        let failures = control.follow().await;
        if !failures.is_empty() {
            control.drain(Duration::ZERO).await;
            return Err(Error::new(ErrorKind::Io, failures));
        }
        readiness.set_ready();
        let (drain, asked) = oneshot::channel();
        let control = tokio::spawn(control.run(versions, asked));
        Ok(Server { readiness, admin_address, drain, control, _admin: admin, _resolving: resolving })
    }

    async fn start_admin(&self, readiness: &Arc<Readiness>) -> Result<Option<(SocketAddr, JoinHandle<()>)>, Error> {
        let Some(address) = self.admin else { return Ok(None) };
        let failed = |error| Error::io(format!("the admin port {address} cannot be opened"), error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let admin = Admin { readiness: readiness.clone(), render: self.render.clone() };
        Ok(Some((address, tokio::spawn(admin.serve(listener)))))
    }

    fn start_workers(&self, configs: &Arc<Configs>) -> Result<Vec<mpsc::UnboundedSender<Command>>, Error> {
        (0..self.workers.get()).map(|number| self.start_worker(number, configs.clone())).collect()
    }

    fn start_worker(&self, number: usize, configs: Arc<Configs>) -> Result<mpsc::UnboundedSender<Command>, Error> {
        let failed = |error| Error::io(format!("worker {number} cannot be started"), error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (sender, commands) = mpsc::unbounded_channel();
        let (router, mesh) = (MeshRouter::new(&self.mesh), self.mesh.clone());
        let (protocols, dice) = (Protocols::new(self.idle, self.buffer), self.dice.clone());
        let trusted = self.mesh.options().num_trusted_proxies;
        let mut transport = Transport::builder();
        if let Some(certificates) = &self.certificates {
            transport = transport.mesh_certificates(certificates.clone());
        }
        let work = move || {
            let done = runtime.block_on(async {
                // Connections to endpoints belong to the runtime that opened them.
                let transport = transport.build();
                let inner = transport.clone();
                let make = move |origin: Origin| router.clone().with_origin(origin).layer(inner.clone());
                worker::run(Serving { make, protocols, dice, trusted, mesh, transport, configs }, commands).await
            });
            drop(runtime);
            if let Some(done) = done {
                let _ = done.send(());
            }
        };
        std::thread::Builder::new().name(format!("gateway-{number}")).spawn(work).map_err(failed)?;
        Ok(sender)
    }
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A gateway that serves: the listeners of a [`Mesh`], opened and closed as the mesh changes.
///
/// Dropping it ends it at once, connections included; [`Server::drain`] lets them finish.
#[derive(Debug)]
pub struct Server {
    readiness: Arc<Readiness>,
    admin_address: Option<SocketAddr>,
    drain: oneshot::Sender<(Duration, oneshot::Sender<()>)>,
    control: JoinHandle<()>,
    _admin: Option<AbortOnDrop>,
    _resolving: Resolving,
}

impl Server {
    /// A gateway for the listeners of `mesh`.
    pub fn builder(mesh: &Mesh) -> ServerBuilder {
        ServerBuilder {
            mesh: mesh.clone(),
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            ports: BTreeMap::new(),
            admin: None,
            render: None,
            idle: Duration::from_secs(60 * 60),
            buffer: None,
            certificates: None,
            dice: Dice::new(),
        }
    }

    /// The address of the admin port, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Whether all listeners have been opened and no drain has begun.
    pub fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// Accepts no more, lets what is in flight finish, and ends: after `within` at the latest, then what is left is
    /// cut. HTTP/1.1 connections close after their request, HTTP/2 ones are told to go away.
    pub async fn drain(self, within: Duration) {
        self.readiness.set_draining();
        let (done, ended) = oneshot::channel();
        if self.drain.send((within, done)).is_ok() {
            let _ = ended.await;
        }
        let _ = self.control.await;
    }
}

/// Opens and closes listeners.
#[derive(Debug)]
struct Control {
    mesh: Mesh,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    configs: Arc<Configs>,
    ports: BTreeMap<u16, u16>,
    open: BTreeMap<Address, Opened>,
}

/// What is open at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opened {
    bind: Bind,
    /// The listener in plaintext, with whether it is of gRPC-Web: its connections end with it. Those in TLS come and go
    /// behind one socket.
    plain: Option<(Arc<str>, u16, bool)>,
}

type DrainRequest = (Duration, oneshot::Sender<()>);

impl Control {
    async fn run(mut self, mut versions: watch::Receiver<u64>, mut asked: oneshot::Receiver<DrainRequest>) {
        let request = loop {
            tokio::select! {
                request = &mut asked => break request,
                changed = versions.changed() => {
                    if changed.is_err() {
                        break asked.await;
                    }
                    for failure in self.follow().await {
                        tracing::error!("{failure}; the other listeners are served");
                    }
                }
            }
        };
        match request {
            Ok((within, done)) => {
                self.drain(within).await;
                let _ = done.send(());
            }
            // The server was dropped.
            Err(_) => self.drain(Duration::ZERO).await,
        }
    }

    /// Makes what is open what the snapshot wants; what could not be opened is returned, and tried again next time.
    async fn follow(&mut self) -> Vec<Problem> {
        let snapshot = self.mesh.snapshot();
        let mut failures = Vec::new();
        let mut wanted = BTreeMap::new();
        for listener in snapshot.listeners() {
            if let Some(Err(error)) = self.configs.of(listener).map(|ended| ended.check()) {
                tracing::error!(listener = %listener.name, %error, "TLS cannot be ended: connections are closed");
            }
            let (address, opened) = self.wanted(listener);
            match wanted.entry(address) {
                Entry::Vacant(entry) => {
                    entry.insert((opened, listener));
                }
                Entry::Occupied(entry) if entry.get().0 == opened && opened.plain.is_none() => {}
                Entry::Occupied(entry) => {
                    failures.push(failure(listener, format!("{} is used by another listener", entry.key())));
                }
            }
        }
        self.close_unless(|address, opened| wanted.get(address).is_some_and(|(wanted, _)| wanted == opened)).await;
        for (address, (opened, listener)) in wanted {
            if self.open.contains_key(&address) {
                continue;
            }
            let beside_ours = self.open.keys().any(|open| open.shares_port_with(&address));
            match listener::bind(&address, self.workers.len(), beside_ours) {
                Ok(sockets) => {
                    for (worker, socket) in self.workers.iter().zip(sockets) {
                        let _ = worker.send(Command::Listen(address.clone(), socket, opened.bind.clone()));
                    }
                    tracing::info!(%address, listener = %listener.name, "listening");
                    self.open.insert(address, opened);
                }
                Err(error) => failures.push(failure(listener, format!("{address} cannot be opened: {error}"))),
            }
        }
        failures
    }

    fn wanted(&self, listener: &Listener) -> (Address, Opened) {
        let address = match &listener.bind {
            Bind::Tcp(address) => {
                let port = self.ports.get(&address.port()).copied().unwrap_or(address.port());
                Address::Tcp(SocketAddr::new(address.ip(), port))
            }
            Bind::Unix(path) => Address::Unix(path.clone()),
        };
        let plain = (!listener.is_secured()).then(|| (listener.name.clone(), listener.port, listener.grpc_web));
        (address, Opened { bind: listener.bind.clone(), plain })
    }

    /// Closes everything but what is kept, and waits until it is closed, so that its address is free.
    async fn close_unless(&mut self, keep: impl Fn(&Address, &Opened) -> bool) {
        let gone: Vec<_> =
            self.open.iter().filter(|(at, opened)| !keep(at, opened)).map(|(at, _)| at.clone()).collect();
        let mut closing = Vec::new();
        for address in gone {
            tracing::info!(%address, "no longer listening");
            self.open.remove(&address);
            for worker in &self.workers {
                let (closed, closes) = oneshot::channel();
                let _ = worker.send(Command::Close(address.clone(), closed));
                closing.push(closes);
            }
        }
        for closes in closing {
            let _ = closes.await;
        }
    }

    async fn drain(self, within: Duration) {
        let mut draining = Vec::new();
        for worker in &self.workers {
            let (done, ends) = oneshot::channel();
            let _ = worker.send(Command::Drain(within, done));
            draining.push(ends);
        }
        for ends in draining {
            let _ = ends.await;
        }
    }
}

fn failure(listener: &Listener, message: String) -> Problem {
    Problem::new(Severity::Error, "", format!("listener {}: {message}", listener.name))
        .with_resource(listener.gateway.clone())
        .with_place(listener.place.clone())
}
