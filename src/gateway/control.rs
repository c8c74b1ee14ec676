//! Opening and closing the listeners of a gateway as its mesh changes: [`Control`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::listener::{self, Address, Bound};
use super::secured::Configs;
use super::worker::Command;
use crate::error::{Problem, Severity};
use crate::mesh::Mesh;
use crate::snapshot::{Bind, Listener};

/// What is open over TCP: which address of a Gateway, and where.
#[derive(Clone, Debug, Default)]
pub(super) struct Listening(Arc<Mutex<BTreeMap<Address, (SocketAddr, SocketAddr)>>>);

impl Listening {
    pub(super) fn address(&self, port: u16) -> Option<SocketAddr> {
        let open = self.lock();
        open.values().find(|(asked, _)| asked.port() == port).map(|(_, open)| *open)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, (SocketAddr, SocketAddr)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens and closes listeners.
#[derive(Debug)]
pub(super) struct Control {
    mesh: Mesh,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    configs: Arc<Configs>,
    ports: BTreeMap<u16, u16>,
    /// What is open: listeners come and go behind a socket, whose connections know themselves when theirs is gone.
    open: BTreeMap<Address, Bind>,
    listening: Listening,
}

pub(super) type DrainRequest = (Duration, oneshot::Sender<()>);

impl Control {
    pub(super) fn new(
        workers: Vec<mpsc::UnboundedSender<Command>>,
        configs: Arc<Configs>,
        mesh: Mesh,
        ports: BTreeMap<u16, u16>,
    ) -> Self {
        Self { mesh, workers, configs, ports, open: BTreeMap::new(), listening: Listening::default() }
    }

    /// What is open, at any time from now on.
    pub(super) fn listening(&self) -> Listening {
        self.listening.clone()
    }

    pub(super) async fn run(mut self, mut versions: watch::Receiver<u64>, mut asked: oneshot::Receiver<DrainRequest>) {
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
    pub(super) async fn follow(&mut self) -> Vec<Problem> {
        let snapshot = self.mesh.snapshot();
        self.configs.keep(snapshot.listeners());
        let mut failures = Vec::new();
        let mut wanted = BTreeMap::new();
        for listener in snapshot.listeners() {
            if let Some(Err(error)) = self.configs.of(listener).map(|ended| ended.check()) {
                tracing::error!(listener = %listener.name, %error, "TLS cannot be ended: connections are closed");
            }
            match wanted.entry(self.address_of(listener)) {
                Entry::Vacant(entry) => {
                    entry.insert(listener);
                }
                Entry::Occupied(entry) if may_share(entry.get(), listener) => {}
                Entry::Occupied(entry) => {
                    failures.push(failure(listener, format!("{} is used by another listener", entry.key())));
                }
            }
        }
        let stays = |address: &Address, bind: &Bind| wanted.get(address).is_some_and(|wanted| wanted.bind == *bind);
        let opens: BTreeSet<_> = wanted.keys().filter(|address| !self.open.contains_key(address)).cloned().collect();
        // What an address beside it takes over goes on until that is open, unless it is to be opened anew itself.
        let moves = |address: &Address| {
            !wanted.contains_key(address) && opens.iter().any(|opens| opens.shares_port_with(address))
        };
        self.close_unless(|address, bind| stays(address, bind) || moves(address)).await;
        failures.extend(self.open_all(&wanted));
        self.close_unless(stays).await;
        failures
    }

    /// Opens what is not open yet; returned is what could not be.
    fn open_all(&mut self, wanted: &BTreeMap<Address, &Listener>) -> Vec<Problem> {
        let mut failures = Vec::new();
        for (address, &listener) in wanted {
            if self.open.contains_key(address) {
                continue;
            }
            let beside_ours = self.open.keys().any(|open| open.shares_port_with(address));
            match listener::bind(address, self.workers.len(), beside_ours) {
                Ok(sockets) => {
                    let at = sockets.first().and_then(Bound::address);
                    if let (Bind::Tcp(asked), Some(at)) = (&listener.bind, at) {
                        self.listening.lock().insert(address.clone(), (*asked, at));
                    }
                    for (worker, socket) in self.workers.iter().zip(sockets) {
                        let _ = worker.send(Command::Listen(address.clone(), socket, listener.bind.clone()));
                    }
                    let at = at.map_or_else(|| address.clone(), Address::Tcp);
                    tracing::info!(address = %at, listener = %listener.name, "listening");
                    self.open.insert(address.clone(), listener.bind.clone());
                }
                Err(error) => failures.push(failure(listener, format!("{address} cannot be opened: {error}"))),
            }
        }
        failures
    }

    fn address_of(&self, listener: &Listener) -> Address {
        match &listener.bind {
            Bind::Tcp(address) => match self.ports.get(&address.port()).copied().unwrap_or(address.port()) {
                0 => Address::Free(*address),
                port => Address::Tcp(SocketAddr::new(address.ip(), port)),
            },
            Bind::Unix(path) => Address::Unix(path.clone()),
        }
    }

    /// Closes everything but what is kept, and waits until it is closed, so that its address is free.
    async fn close_unless(&mut self, keep: impl Fn(&Address, &Bind) -> bool) {
        let gone: Vec<_> = self.open.iter().filter(|(at, bind)| !keep(at, bind)).map(|(at, _)| at.clone()).collect();
        let mut closing = Vec::new();
        for address in gone {
            tracing::info!(%address, "no longer listening");
            self.open.remove(&address);
            self.listening.lock().remove(&address);
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

    pub(super) async fn drain(self, within: Duration) {
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

/// Whether two listeners are told apart behind one socket, by the server names that clients ask for.
fn may_share(one: &Listener, other: &Listener) -> bool {
    one.bind == other.bind && one.is_secured() && other.is_secured()
}

fn failure(listener: &Listener, message: String) -> Problem {
    Problem::new(Severity::Error, "", format!("listener {}: {message}", listener.name))
        .with_resource(listener.gateway.clone())
        .with_place(listener.place.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// A port that nobody has at any address.
    fn free_port() -> u16 {
        std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
    }

    /// Whether this machine has more addresses of its own than one.
    fn has_others() -> bool {
        std::net::TcpListener::bind("127.0.0.9:0").is_ok()
    }

    /// What a worker is told when servers go from some addresses and ports to others. Ports 1 and 2 are one that is free,
    /// port 3 is another.
    async fn told(moves: [&[(&str, u16)]; 2]) -> Vec<String> {
        for _ in 0..20 {
            // Somebody else may be given it meanwhile.
            if let Some(told) = told_at(free_port(), moves).await {
                return told;
            }
        }
        panic!("it could not be opened: {moves:?}")
    }

    async fn told_at(port: u16, moves: [&[(&str, u16)]; 2]) -> Option<Vec<String>> {
        let (worker, mut commands) = mpsc::unbounded_channel();
        let mesh = Mesh::new();
        let configs = Arc::new(Configs::new(None));
        let ports = BTreeMap::from([(1, port), (2, port), (3, free_port())]);
        let mut control = Control::new(vec![worker], configs, mesh.clone(), ports);
        let listens = tokio::spawn(async move {
            // A socket that was handed over stays open until it is closed.
            let (mut told, mut open) = (Vec::new(), BTreeMap::new());
            while let Some(command) = commands.recv().await {
                let command = match command {
                    Command::Listen(address, bound, _) => {
                        open.insert(address.clone(), bound);
                        format!("listen {address}")
                    }
                    Command::Close(address, closed) => {
                        open.remove(&address);
                        let _ = closed.send(());
                        format!("close {address}")
                    }
                    Command::Drain(_, _) => "drain".to_owned(),
                };
                told.push(command.replace(&format!(":{port}"), ""));
            }
            told
        });
        for servers in moves {
            let server = |(number, (bind, port)): (usize, &(&str, u16))| {
                format!(
                    "  - {{port: {{number: {port}, name: web{number}, protocol: HTTP}}, bind: {bind}, hosts: ['*']}}\n"
                )
            };
            let servers: String = servers.iter().enumerate().map(server).collect();
            let gateway = format!(
                "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  servers:\n{servers}"
            );
            assert!(!mesh.apply(Config::from_yaml(&gateway, "it.yaml").unwrap()).unwrap().fails_check());
            if !control.follow().await.is_empty() {
                return None;
            }
        }
        drop(control);
        listens.await.ok()
    }

    #[tokio::test]
    async fn a_port_that_moves_to_another_address_is_open_throughout() {
        if !has_others() {
            return;
        }
        let here = ["listen 127.0.0.9", "listen 127.0.0.10", "close 127.0.0.9"];
        assert_eq!(told([&[("127.0.0.9", 1)], &[("127.0.0.10", 1)]]).await, here);
        let wide = ["listen 127.0.0.9", "listen 0.0.0.0", "close 127.0.0.9"];
        assert_eq!(told([&[("127.0.0.9", 1)], &[("0.0.0.0", 1)]]).await, wide);
        let elsewhere = told([&[("127.0.0.9", 1)], &[("127.0.0.9", 3)]]).await;
        assert_eq!(elsewhere[1], "close 127.0.0.9", "{elsewhere:?}");
    }

    #[tokio::test]
    async fn an_address_that_another_port_takes_over_is_opened_anew() {
        if !has_others() {
            return;
        }
        let told = told([&[("127.0.0.9", 1)], &[("127.0.0.9", 2), ("127.0.0.10", 2)]]).await;
        assert_eq!(told, ["listen 127.0.0.9", "close 127.0.0.9", "listen 127.0.0.9", "listen 127.0.0.10"]);
    }
}
