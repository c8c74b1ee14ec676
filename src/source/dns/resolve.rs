//! Who is asked: [`Resolve`], and the system.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::options::DnsLookupFamily;

/// What a name was resolved to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The addresses, in the order of the answer. None: the name has none, which is known.
    pub addresses: Vec<IpAddr>,
    /// How long the answer holds; `None`: the resolver does not know.
    pub ttl: Option<Duration>,
}

impl Answer {
    /// An answer without a TTL.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { addresses: addresses.into_iter().collect(), ttl: None }
    }

    /// The same answer, which holds that long.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

/// Looks names up, for [`DnsSource::resolver`](super::DnsSource::resolver).
///
/// Every `Fn(Arc<str>) -> impl Future<Output = io::Result<Answer>>` is one.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `name`, which is in lower case and without a dot at its end. An error leaves the last ones.
    fn resolve(&self, name: Arc<str>) -> impl Future<Output = io::Result<Answer>> + Send;

    /// The same for who takes the addresses of `family` alone, as
    /// [`dns_lookup_family`](crate::options::MeshOptions::dns_lookup_family) says: others need not be asked for, and that
    /// they cannot be had is no error. By default all are.
    fn resolve_family(
        &self,
        name: Arc<str>,
        family: DnsLookupFamily,
    ) -> impl Future<Output = io::Result<Answer>> + Send {
        let _ = family;
        self.resolve(name)
    }
}

impl<R, F> Resolve for R
where
    R: Fn(Arc<str>) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<Answer>> + Send,
{
    fn resolve(&self, name: Arc<str>) -> impl Future<Output = io::Result<Answer>> + Send {
        self(name)
    }
}

/// The resolver of the system: `getaddrinfo` on Unix, without TTLs. It does not tell a name without addresses from one
/// that could not be looked up: both are errors.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, name: Arc<str>) -> io::Result<Answer> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for found in on_thread(&THREADS, move || (&*name, 0).to_socket_addrs()).await?? {
            if !addresses.contains(&found.ip()) {
                addresses.push(found.ip());
            }
        }
        Ok(Answer { addresses, ttl: None })
    }
}

/// How many threads the system's look-ups take: each takes one until it has ended, also when it is waited for no more.
static THREADS: Semaphore = Semaphore::const_new(64);

async fn on_thread<T: Send + 'static>(
    threads: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let turn = threads.acquire().await.map_err(io::Error::other)?;
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    work.await.map_err(io::Error::other)
}

type Resolution = Pin<Box<dyn Future<Output = io::Result<Answer>> + Send>>;

/// Whoever is asked; a user's own type is forgotten here.
#[derive(Clone)]
pub(super) struct Resolver(Arc<dyn Fn(Arc<str>, DnsLookupFamily) -> Resolution + Send + Sync>);

impl Resolver {
    pub(super) fn of<R: Resolve>(resolver: R) -> Self {
        let resolver = Arc::new(resolver);
        Self(Arc::new(move |name, family| {
            let resolver = resolver.clone();
            Box::pin(async move { resolver.resolve_family(name, family).await })
        }))
    }

    pub(super) async fn ask(&self, name: Arc<str>, family: DnsLookupFamily) -> io::Result<Answer> {
        (self.0)(name, family).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::on_thread;

    #[tokio::test]
    async fn a_look_up_that_is_waited_for_no_more_still_takes_its_thread() {
        static ONE: Semaphore = Semaphore::const_new(1);
        let (release, released) = mpsc::channel::<()>();
        let hangs = on_thread(&ONE, move || released.recv());
        assert!(timeout(Duration::ZERO, hangs).await.is_err());
        let mut next = Box::pin(on_thread(&ONE, || 1));
        assert!(timeout(Duration::ZERO, &mut next).await.is_err());
        assert_eq!(ONE.available_permits(), 0);
        release.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 1);
    }
}
