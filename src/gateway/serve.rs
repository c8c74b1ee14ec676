//! A running gateway: [`Server`], which opens what the mesh says and follows it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tower_layer::Layer;

use super::admin::{Admin, Readiness, Render, Vital};
use super::connection::Protocols;
use super::control::{Control, DrainRequest, Listening};
use super::entrance::Entrance;
use super::secured::Configs;
use super::worker::{self, Command, Serving};
use crate::dice::Dice;
use crate::error::{Error, ErrorKind};
use crate::mesh::Mesh;
use crate::request::Origin;
use crate::service::MeshRouter;
use crate::source::{DnsSource, Resolving};
use crate::telemetry::MeshMetrics;
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

    /// Listens on `to` where a Gateway says `from`, as Kubernetes' `targetPort` does. Rules still see `from`. With 0 the
    /// port is a free one, which [`Server::address`] tells.
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

    /// How long a connection may be without a request, and a request head may take to arrive; 0 is for ever.
    /// Default: an hour, Envoy's idle timeout.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Bounds the buffers of a connection, in bytes, at least 8 KiB. Default: hyper's, which grow with use to about 400 KiB;
    /// less saves memory and costs time with large bodies. Below 64 KiB a head of the permitted size does not fit.
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
        let mut control = Control::new(self.start_workers(&configs, &readiness)?, configs, self.mesh, self.ports);
        let listening = control.listening();
        let failures = control.follow().await;
        if !failures.is_empty() {
            control.drain(Duration::ZERO).await;
            return Err(Error::new(ErrorKind::Io, failures));
        }
        readiness.set_ready();
        let (drain, asked) = oneshot::channel();
        let vital = Vital(readiness.clone());
        let control = tokio::spawn(async move {
            let _vital = vital;
            control.run(versions, asked).await;
        });
        Ok(Server { readiness, admin_address, listening, drain, control, _admin: admin, _resolving: resolving })
    }

    async fn start_admin(&self, readiness: &Arc<Readiness>) -> Result<Option<(SocketAddr, JoinHandle<()>)>, Error> {
        let Some(address) = self.admin else { return Ok(None) };
        let failed = |error| Error::io(format!("the admin port {address} cannot be opened"), error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let admin = Admin { readiness: readiness.clone(), render: self.render.clone() };
        Ok(Some((address, tokio::spawn(admin.serve(listener)))))
    }

    fn start_workers(
        &self,
        configs: &Arc<Configs>,
        readiness: &Arc<Readiness>,
    ) -> Result<Vec<mpsc::UnboundedSender<Command>>, Error> {
        (0..self.workers.get()).map(|number| self.start_worker(number, configs.clone(), readiness.clone())).collect()
    }

    fn start_worker(
        &self,
        number: usize,
        configs: Arc<Configs>,
        readiness: Arc<Readiness>,
    ) -> Result<mpsc::UnboundedSender<Command>, Error> {
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
            let _vital = Vital(readiness.clone());
            run_to_end(runtime, async {
                // Connections to endpoints belong to the runtime that opened them.
                let transport = transport.build();
                let inner = transport.clone();
                let make = move |origin: Origin, entrance: Arc<Entrance>| {
                    router.clone().with_origin(origin).with_detour(entrance).layer(inner.clone())
                };
                let metrics = MeshMetrics::new(mesh.workload());
                let serving = Serving { make, protocols, dice, trusted, mesh, transport, configs, metrics, readiness };
                worker::run(serving, commands).await
            });
        };
        std::thread::Builder::new().name(format!("gateway-{number}")).spawn(work).map_err(failed)?;
        Ok(sender)
    }
}

/// Runs a worker, and tells whom it returns when all that it had is gone.
fn run_to_end(runtime: Runtime, work: impl Future<Output = Option<oneshot::Sender<()>>>) {
    let done = runtime.block_on(work);
    // Not its look-ups: each has a thread for as long as the system's resolver likes.
    runtime.shutdown_background();
    if let Some(done) = done {
        let _ = done.send(());
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
/// Connections whose listener is gone have 45 s, Istio's default: the next answer of HTTP/1.1 is the last, HTTP/2 is told
/// to go away, and what is left then is cut.
///
/// Dropping it ends it at once, connections included; [`Server::drain`] lets them finish.
#[derive(Debug)]
pub struct Server {
    readiness: Arc<Readiness>,
    admin_address: Option<SocketAddr>,
    listening: Listening,
    drain: oneshot::Sender<DrainRequest>,
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

    /// Where the servers of this port of a Gateway listen over TCP, at present: the lowest address, if they have several
    /// (`bind`). `None`: nowhere.
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        self.listening.address(port)
    }

    /// Whether all listeners have been opened, no drain has begun, and nothing panicked that opens them or accepts there.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_does_not_wait_for_a_look_up_to_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (answer, answered) = std::sync::mpsc::channel::<()>();
        let (over, is_over) = std::sync::mpsc::channel();
        let (begun, begins) = oneshot::channel();
        let (done, mut ended) = oneshot::channel();
        let (held, mut dropped) = oneshot::channel::<()>();
        run_to_end(runtime, async {
            tokio::task::spawn_blocking(move || {
                let _ = begun.send(());
                let _ = answered.recv_timeout(Duration::from_secs(10));
                let _ = over.send(());
            });
            tokio::spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            begins.await.unwrap();
            Some(done)
        });
        assert!(is_over.try_recv().is_err(), "it was waited for");
        assert_eq!(ended.try_recv(), Ok(()));
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed), "the rest is gone by then");
        drop(answer);
    }
}
