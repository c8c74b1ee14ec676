//! A resolver that knows how long an answer holds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{IntoName, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use super::resolve::{Answer, Resolve};

/// Asks the name servers of `/etc/resolv.conf` and reads `/etc/hosts` itself, and so learns the TTL of an answer, as
/// Envoy does. Other sources of names that the system may have, such as mDNS, are not asked.
///
/// A name is asked for as it is; the system's search domains are for names without a dot.
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
    /// `/etc/hosts`: what is there is not asked for.
    hosts: Arc<Hosts>,
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
        // What is asked for is due: an answer of before would be as old as its TTL.
        builder.options_mut().cache_size = 0;
        let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
        Ok(Self { inner: Arc::new(builder.build().map_err(io::Error::other)?), hosts })
    }

    /// The records of both kinds. An answer is what both were answered: half of the addresses would pass for all.
    async fn records(&self, name: String) -> Result<[Option<Lookup>; 2], NetError> {
        let name = name.into_name()?;
        let listed = [RecordType::A, RecordType::AAAA]
            .map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        if listed.iter().any(Option::is_some) {
            return Ok(listed);
        }
        let [four, six] = [RecordType::A, RecordType::AAAA].map(|kind| self.inner.lookup(name.clone(), kind));
        let (four, six) = tokio::join!(four, six);
        Ok([answered(four)?, answered(six)?])
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
        if let Ok(address) = name.parse() {
            return Ok(Answer::new([address]));
        }
        // Where domains are searched, what the last of them says hides that another could not be asked.
        let absolute = if name.contains('.') { format!("{name}.") } else { name.to_string() };
        let found = self.records(absolute).await.map_err(io::Error::other)?;
        let records = || found.iter().flatten().flat_map(Lookup::answers);
        let ttl = records().map(|record| record.ttl).min().map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Answer { addresses: records().filter_map(|record| record.data.ip_addr()).collect(), ttl })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    const A: u16 = 1;
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

    /// A resolver that asks a server which answers as `says`, and searches `corp.test`.
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
        let config = ResolverConfig::from_parts(None, vec!["corp.test.".parse().unwrap()], vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        TtlResolver { inner: Arc::new(builder.build().unwrap()), hosts: Arc::default() }
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
            (Reply::Found, Reply::Failure, None),
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
    async fn a_failure_is_not_hidden_by_the_domains_of_a_search() {
        let says = |name: &str, _| if name == "api.example.test." { Reply::Failure } else { Reply::NoName };
        assert!(asking(says).await.resolve("api.example.test".into()).await.is_err());
        let says = |name: &str, _| if name == "api.corp.test." { Reply::Found } else { Reply::NoName };
        let answer = asking(says).await.resolve("api".into()).await.unwrap();
        assert_eq!(answer.addresses[0], IpAddr::from(FOUND), "a name without a dot needs them");
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
