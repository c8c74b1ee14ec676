//! Endpoints from a discovery as tower has it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tower::discover::{Change, Discover};

use super::EndpointsHandle;
use crate::upstream::EndpointConfig;

/// How many changes are published together at most, so that a discovery which always has more is not waited for.
const TOGETHER: usize = 1024;

impl EndpointsHandle {
    /// Gives the endpoints that `discover` tells of until it ends, in place of all that were given before; what is told
    /// at once is published at once.
    ///
    /// Any `Stream` of `Result<Change<_, EndpointConfig>, _>` is a [`Discover`]. An endpoint told again under its key
    /// replaces the one before. What was given last stays when this ends, fails or is dropped.
    ///
    /// ```
    /// use mesh_router::config::Config;
    /// use mesh_router::mesh::Mesh;
    /// use mesh_router::upstream::EndpointConfig;
    /// use tower::discover::Change;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), mesh_router::BoxError> {
    /// let mesh = Mesh::new();
    /// let report = mesh.apply(Config::from_yaml(
    ///     "
    /// apiVersion: networking.istio.io/v1
    /// kind: ServiceEntry
    /// metadata: {name: ratings}
    /// spec:
    ///   hosts: [ratings.test]
    ///   resolution: STATIC
    ///   ports: [{number: 80, name: http, protocol: HTTP}]
    /// ",
    ///     "ratings.yaml",
    /// )?)?;
    /// assert_eq!(report.errors().next(), None);
    /// // What a registry tells; an application spawns `follow` with a stream that goes on.
    /// let told = [
    ///     Change::Insert("a", EndpointConfig::new(([10, 0, 0, 7], 9080))),
    ///     Change::Insert("b", EndpointConfig::new(([10, 0, 0, 8], 9080))),
    ///     Change::Remove("a"),
    /// ];
    /// let changes = tokio_stream::iter(told.map(Ok::<_, mesh_router::BoxError>));
    /// mesh.endpoints_handle("ratings.test", 80).follow(changes).await?;
    /// assert_eq!(mesh.endpoints()[0].address.to_string(), "10.0.0.8:9080");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of `discover`; what it told before is published.
    pub async fn follow<D>(&self, discover: D) -> Result<(), D::Error>
    where
        D: Discover<Service = EndpointConfig>,
        D::Key: Hash,
    {
        let mut discover = pin!(discover);
        let mut known = Known { endpoints: HashMap::new(), told: 0 };
        loop {
            let Told { any, end } = poll_fn(|cx| known.poll(discover.as_mut(), cx)).await;
            if any {
                self.replace(known.in_order());
            }
            if let Some(end) = end {
                return end;
            }
            // Others have their turn, even if there is always more.
            tokio::task::yield_now().await;
        }
    }
}

/// What was told at once.
struct Told<E> {
    any: bool,
    end: Option<Result<(), E>>,
}

/// What is known by now.
struct Known<K> {
    /// With the number of the change that told first of it, which is its place.
    endpoints: HashMap<K, (u64, EndpointConfig)>,
    told: u64,
}

impl<K: Eq + Hash> Known<K> {
    fn poll<D>(&mut self, mut discover: Pin<&mut D>, cx: &mut Context<'_>) -> Poll<Told<D::Error>>
    where
        D: Discover<Key = K, Service = EndpointConfig>,
    {
        for number in 0..TOGETHER {
            let any = number > 0;
            match discover.as_mut().poll_discover(cx) {
                Poll::Ready(Some(Ok(change))) => self.take(change),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Told { any, end: Some(Err(error)) }),
                Poll::Ready(None) => return Poll::Ready(Told { any, end: Some(Ok(())) }),
                Poll::Pending if any => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Told { any: true, end: None })
    }

    fn take(&mut self, change: Change<K, EndpointConfig>) {
        match change {
            Change::Insert(key, endpoint) => {
                self.told += 1;
                let place = self.endpoints.get(&key).map_or(self.told, |(place, _)| *place);
                self.endpoints.insert(key, (place, endpoint));
            }
            Change::Remove(key) => {
                self.endpoints.remove(&key);
            }
        }
    }

    fn in_order(&self) -> Vec<EndpointConfig> {
        let mut known: Vec<_> = self.endpoints.values().collect();
        known.sort_unstable_by_key(|(number, _)| *number);
        known.into_iter().map(|(_, endpoint)| endpoint.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;
    use tokio_test::task::spawn;
    use tokio_test::{assert_pending, assert_ready_eq};

    use super::*;
    use crate::config::Config;
    use crate::mesh::Mesh;

    const HOST: &str = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a}, \
        spec: {hosts: [a.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}}";

    type Event = Result<Change<u8, EndpointConfig>, &'static str>;

    fn insert(key: u8, address: u8) -> Event {
        Ok(Change::Insert(key, EndpointConfig::new(([10, 0, 0, address], 80))))
    }

    #[tokio::test]
    async fn what_is_told_is_given_until_it_fails() {
        let mesh = Mesh::new();
        assert_eq!(mesh.apply(Config::from_yaml(HOST, "a.yaml").unwrap()).unwrap().errors().next(), None);
        let (send, told) = mpsc::unbounded_channel();
        let discover = UnboundedReceiverStream::new(told);
        let handle = mesh.endpoints_handle("a.test", 80);
        let mut follow = spawn(handle.follow(discover));
        let given = || mesh.endpoints().iter().map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>();
        assert_pending!(follow.poll());
        assert!(given().is_empty());
        for event in [insert(1, 1), insert(2, 2), insert(3, 3), insert(2, 4), Ok(Change::Remove(1))] {
            send.send(event).unwrap();
        }
        assert!(follow.is_woken());
        assert_pending!(follow.poll());
        assert_eq!(given(), ["10.0.0.4:80", "10.0.0.3:80"], "in the order in which their keys were told");
        send.send(Ok(Change::Remove(3))).unwrap();
        send.send(Err("gone")).unwrap();
        assert_ready_eq!(follow.poll(), Err("gone"));
        assert_eq!(given(), ["10.0.0.4:80"]);
    }

    #[tokio::test]
    async fn a_discovery_that_ends_leaves_what_it_told() {
        let mesh = Mesh::new();
        assert_eq!(mesh.apply(Config::from_yaml(HOST, "a.yaml").unwrap()).unwrap().errors().next(), None);
        let many = (0..=255).flat_map(|key| (0..8).map(move |_| insert(key, key)));
        mesh.endpoints_handle("a.test", 80).follow(tokio_stream::iter(many)).await.unwrap();
        assert_eq!(mesh.endpoints().len(), 256);
    }
}
