//! A resolver that knows how long an answer holds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::{DnsError, NetError};

use super::resolve::{Answer, Resolve};

/// Asks the name servers of `/etc/resolv.conf` and reads `/etc/hosts` itself, and so learns the TTL of an answer, as
/// Envoy does. Other sources of names that the system may have, such as mDNS, are not asked.
///
/// ```no_run
/// use mesh_router::Mesh;
/// use mesh_router::source::{DnsSource, TtlResolver};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let mesh = Mesh::new();
/// DnsSource::new().resolver(TtlResolver::from_system()?).open(&mesh).await.detach();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TtlResolver {
    inner: Arc<TokioResolver>,
}

impl std::fmt::Debug for TtlResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TtlResolver").finish_non_exhaustive()
    }
}

impl TtlResolver {
    /// A resolver that asks as the system is configured to.
    ///
    /// # Errors
    ///
    /// If the configuration of the system cannot be read.
    pub fn from_system() -> io::Result<Self> {
        let mut builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // What is asked for is due: an answer of before would be as old as its TTL.
        options.cache_size = 0;
        Ok(Self { inner: Arc::new(builder.build().map_err(io::Error::other)?) })
    }
}

impl Resolve for TtlResolver {
    async fn resolve(&self, name: Arc<str>) -> io::Result<Answer> {
        match self.inner.lookup_ip(&*name).await {
            Ok(found) => {
                let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min();
                let ttl = ttl.map(|seconds| Duration::from_secs(seconds.into()));
                Ok(Answer { addresses: found.iter().collect(), ttl })
            }
            // Known to have none, which is an answer.
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Answer::default()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_the_system_have_addresses_and_a_ttl() {
        let answer = TtlResolver::from_system().unwrap().resolve("localhost".into()).await.unwrap();
        assert!(answer.addresses.iter().all(std::net::IpAddr::is_loopback), "{answer:?}");
        assert!(!answer.addresses.is_empty() && answer.ttl.is_some(), "{answer:?}");
    }
}
