//! A resolver that knows how long an answer holds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{IntoName, Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};

use super::resolve::{Answer, Resolve};
use crate::options::DnsLookupFamily;

/// Asks the name servers of `/etc/resolv.conf` and reads `/etc/hosts` itself, and so learns the TTL of an answer, as
/// Envoy does. Other sources of names that the system may have, such as mDNS, are not asked.
///
/// A name is asked for as it is; the system's search domains are for names without a dot, in each of which both kinds of
/// addresses are asked for before the next. Of IPv6 nothing is asked where IPv4 is enough.
///
/// [`Mesh::open`](crate::Mesh::open) begins with the system's resolver, and a mesh has one at a time: open it before the
/// folder.
///
/// ```no_run
/// use mesh_router::source::{DnsSource, TtlResolver};
/// use mesh_router::{BoxError, Mesh};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let mesh = Mesh::new();
/// DnsSource::new().resolver(TtlResolver::from_system()?).open(&mesh).await.detach();
/// # #[cfg(feature = "file")]
/// mesh_router::source::FileSource::new("/etc/mesh").open(&mesh).await?.detach();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TtlResolver {
    inner: Arc<TokioResolver>,
    /// `/etc/hosts`: what is there is not asked for.
    hosts: Arc<Hosts>,
    /// In which of them a name without a dot may be, in order.
    domains: Arc<[Name]>,
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
        let (config, options) = read_system_conf().map_err(io::Error::other)?;
        Self::new(config, options, Hosts::from_system().unwrap_or_default())
    }

    fn new(config: ResolverConfig, mut options: ResolverOpts, hosts: Hosts) -> io::Result<Self> {
        let domains = config.domain().into_iter().chain(config.search()).cloned().collect();
        // What is asked for is due: an answer of before would be as old as its TTL.
        options.cache_size = 0;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let inner = builder.with_options(options).build().map_err(io::Error::other)?;
        Ok(Self { inner: Arc::new(inner), hosts: Arc::new(hosts), domains })
    }

    /// What is found by `name`, or where it has no dot by the first name in a domain that has any address: one in
    /// another domain is somebody else.
    async fn search(&self, name: &str, family: DnsLookupFamily) -> Result<[Option<Lookup>; 2], NetError> {
        let mut absolute = name.into_name()?;
        let searched = !absolute.is_fqdn() && absolute.num_labels() == 1 && !absolute.is_localhost();
        absolute.set_fqdn(true);
        let listed = [RecordType::A, RecordType::AAAA]
            .map(|kind| self.hosts.lookup_static_host(&Query::query(absolute.clone(), kind)));
        if listed.iter().any(Option::is_some) {
            return Ok(listed);
        }
        let mut failed = None;
        for domain in self.domains.iter().filter(|_| searched) {
            let Ok(within) = absolute.clone().append_domain(domain) else { continue };
            match self.records(within, family).await {
                Ok(found) if found.iter().any(Option::is_some) => return Ok(found),
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        match (self.records(absolute, family).await?, failed) {
            // It may be where nobody could be asked.
            ([None, None], Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// The records of the kinds that `family` wants. An answer is what all of them were answered: half of the addresses
    /// would pass for all. But servers that do not know of IPv6, and fail or say nothing when they are asked, are no reason
    /// to go without IPv4, nor to wait with it.
    async fn records(&self, name: Name, family: DnsLookupFamily) -> Result<[Option<Lookup>; 2], NetError> {
        let [four, six] = [RecordType::A, RecordType::AAAA].map(|kind| self.inner.lookup(name.clone(), kind));
        Ok(match family {
            DnsLookupFamily::V4Only => [answered(four.await)?, None],
            DnsLookupFamily::V6Only => [None, answered(six.await)?],
            DnsLookupFamily::V4Preferred => match answered(four.await)? {
                None => [None, answered(six.await)?],
                found => [found, None],
            },
            DnsLookupFamily::All => {
                let (four, six) = tokio::join!(four, six);
                let four = answered(four)?;
                let six = answered(six).or_else(|error| if four.is_some() { Ok(None) } else { Err(error) })?;
                [four, six]
            }
        })
    }
}

/// What was found; `None`: known to have none, which is an answer.
fn answered(found: Result<Lookup, NetError>) -> Result<Option<Lookup>, NetError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Resolve for TtlResolver {
    async fn resolve(&self, name: Arc<str>) -> io::Result<Answer> {
        self.resolve_family(name, DnsLookupFamily::All).await
    }

    async fn resolve_family(&self, name: Arc<str>, family: DnsLookupFamily) -> io::Result<Answer> {
        if let Ok(address) = name.parse() {
            return Ok(Answer::new([address]));
        }
        let found = self.search(&name, family).await.map_err(io::Error::other)?;
        let records = || found.iter().flatten().flat_map(Lookup::answers);
        let ttl = records().map(|record| record.ttl).min().map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Answer { addresses: records().filter_map(|record| record.data.ip_addr()).collect(), ttl })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::sync::Mutex;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
    use tokio::net::UdpSocket;

    use super::*;

    const A: u16 = 1;
    const AAAA: u16 = 28;
    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const FOUND: [u8; 4] = [192, 0, 2, 7];

    #[derive(Clone, Copy)]
    enum Reply {
        /// An address, whose TTL is 20 s.
        Found,
        NoName,
        NoRecords,
        Failure,
    }

    /// The reply to a query: its question, and an address.
    fn reply(query: &[u8], question_end: usize, kind: u16, reply: Reply) -> Vec<u8> {
        let (code, answers) = match reply {
            Reply::Found => (0, 1),
            Reply::NoRecords => (0, 0),
            Reply::Failure => (2, 0),
            Reply::NoName => (3, 0),
        };
        let mut bytes = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0];
        bytes.extend_from_slice(&query[12..question_end]);
        if answers > 0 {
            let address: &[u8] = if kind == A { &FOUND } else { &Ipv6Addr::LOCALHOST.octets() };
            bytes.extend_from_slice(&[0xC0, 12, 0, kind as u8, 0, 1, 0, 0, 0, 20, 0, address.len() as u8]);
            bytes.extend_from_slice(address);
        }
        bytes
    }

    /// A resolver that asks a server which answers as `says`, and searches `corp.test` and `far.test`.
    async fn asking(says: impl Fn(&str, u16) -> Reply + Send + 'static) -> TtlResolver {
        let socket = UdpSocket::bind((LOCAL, 0)).await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        let server = NameServerConfig::new(LOCAL, true, vec![connection]);
        tokio::spawn(async move {
            let mut query = [0; 1500];
            loop {
                let (_, from) = socket.recv_from(&mut query).await.unwrap();
                let (mut at, mut name) = (12, String::new());
                while query[at] != 0 {
                    let end = at + 1 + usize::from(query[at]);
                    name.push_str(std::str::from_utf8(&query[at + 1..end]).unwrap());
                    name.push('.');
                    at = end;
                }
                let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
                let bytes = reply(&query, at + 5, kind, says(&name, kind));
                socket.send_to(&bytes, from).await.unwrap();
            }
        });
        let domains = ["corp.test.", "far.test."].map(|domain| domain.parse().unwrap());
        let config = ResolverConfig::from_parts(None, domains.to_vec(), vec![server]);
        TtlResolver::new(config, ResolverOpts::default(), Hosts::default()).unwrap()
    }

    #[tokio::test]
    async fn names_of_the_system_have_addresses_and_a_ttl() {
        let answer = TtlResolver::from_system().unwrap().resolve("localhost".into()).await.unwrap();
        assert!(answer.addresses.iter().all(IpAddr::is_loopback), "{answer:?}");
        assert!(!answer.addresses.is_empty() && answer.ttl.is_some(), "{answer:?}");
    }

    #[tokio::test]
    async fn an_answer_is_what_both_kinds_of_addresses_were_answered() {
        for (four, six, addresses) in [
            (Reply::Found, Reply::Found, Some(2)),
            (Reply::Found, Reply::NoRecords, Some(1)),
            (Reply::NoRecords, Reply::Found, Some(1)),
            (Reply::NoName, Reply::NoName, Some(0)),
            (Reply::NoRecords, Reply::NoRecords, Some(0)),
            (Reply::Found, Reply::Failure, Some(1)),
            (Reply::Failure, Reply::Found, None),
            (Reply::NoRecords, Reply::Failure, None),
            (Reply::Failure, Reply::NoName, None),
        ] {
            let resolver = asking(move |_, kind| if kind == A { four } else { six }).await;
            let answer = resolver.resolve("api.example.test".into()).await;
            assert_eq!(answer.as_ref().ok().map(|answer| answer.addresses.len()), addresses, "{answer:?}");
            let ttl = answer.ok().and_then(|answer| answer.ttl);
            assert_eq!(ttl.map(|ttl| ttl.as_secs()), addresses.filter(|count| *count > 0).map(|_| 20));
        }
    }

    #[tokio::test]
    async fn only_what_a_family_wants_is_asked_for() {
        use DnsLookupFamily::{V4Only, V4Preferred, V6Only};
        for (family, four, six, asked, addresses) in [
            (V4Preferred, Reply::Found, Reply::Failure, &[A][..], Some(1)),
            (V4Preferred, Reply::NoRecords, Reply::Found, &[A, AAAA], Some(1)),
            (V4Preferred, Reply::Failure, Reply::Found, &[A], None),
            (V4Only, Reply::Found, Reply::Failure, &[A], Some(1)),
            (V4Only, Reply::NoRecords, Reply::Found, &[A], Some(0)),
            // Their last addresses stay.
            (V6Only, Reply::Found, Reply::Failure, &[AAAA], None),
            (V6Only, Reply::Found, Reply::NoRecords, &[AAAA], Some(0)),
        ] {
            let kinds = Arc::new(Mutex::new(Vec::new()));
            let seen = kinds.clone();
            let says = move |_: &str, kind| {
                seen.lock().unwrap().push(kind);
                if kind == A { four } else { six }
            };
            let answer = asking(says).await.resolve_family("api.example.test".into(), family).await;
            assert_eq!(answer.ok().map(|answer| answer.addresses.len()), addresses, "{family:?} {asked:?}");
            // One that failed is asked for again.
            let mut kinds = kinds.lock().unwrap().clone();
            kinds.dedup();
            assert_eq!(kinds, asked, "{family:?}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_not_hidden_by_the_domains_of_a_search() {
        let says = |name: &str, _| if name == "api.example.test." { Reply::Failure } else { Reply::NoName };
        assert!(asking(says).await.resolve("api.example.test".into()).await.is_err());
        let says = |name: &str, _| if name == "api.corp.test." { Reply::Found } else { Reply::NoName };
        let answer = asking(says).await.resolve("api".into()).await.unwrap();
        assert_eq!(answer.addresses[0], IpAddr::from(FOUND), "a name without a dot needs them");
    }

    #[tokio::test]
    async fn both_kinds_of_addresses_are_of_one_name() {
        let says = |name: &str, kind| match (name, kind) {
            ("api.corp.test.", A) | ("api.far.test.", _) => Reply::Found,
            ("api.corp.test.", _) => Reply::NoRecords,
            _ => Reply::NoName,
        };
        let answer = asking(says).await.resolve("api".into()).await.unwrap();
        assert_eq!(answer.addresses, [IpAddr::from(FOUND)]);
        let says = |name: &str, kind| match (name, kind) {
            ("api.corp.test.", A) => Reply::Found,
            ("api.corp.test.", _) => Reply::NoRecords,
            _ => Reply::Failure,
        };
        assert!(asking(says).await.resolve("api".into()).await.is_ok(), "nobody else is asked");
        let says = |name: &str, _| if name == "api.far.test." { Reply::Failure } else { Reply::NoName };
        assert!(asking(says).await.resolve("api".into()).await.is_err());
    }

    #[tokio::test]
    async fn a_name_may_say_that_it_is_whole() {
        let says = |name: &str, _| if name.contains("corp") { Reply::NoName } else { Reply::Found };
        for name in ["api.example.test.", "api."] {
            assert_eq!(asking(says).await.resolve(name.into()).await.unwrap().addresses.len(), 2, "{name}");
        }
    }

    #[tokio::test]
    async fn an_address_and_a_name_of_the_hosts_file_are_not_asked_for() {
        let mut resolver = asking(|_, _| Reply::Failure).await;
        assert_eq!(resolver.resolve("192.0.2.1".into()).await.unwrap(), Answer::new([[192, 0, 2, 1].into()]));
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"192.0.2.9 db.test db\n"[..]).unwrap();
        resolver.hosts = Arc::new(hosts);
        for name in ["db.test", "db"] {
            assert_eq!(resolver.resolve(name.into()).await.unwrap().addresses, [IpAddr::from([192, 0, 2, 9])]);
        }
    }
}
