//! The PROXY header, versions 1 and 2: who the client is, before the first byte of its protocol.

use std::net::{IpAddr, SocketAddr};

use super::terms::Proxy;
use super::wire::Wire;
use crate::upstream::ProxyVersion;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header for `wire`. Where there is no client, version 1 names the ends of the wire itself and version 2 says that
/// it is local, as Envoy does.
pub(super) fn encode(proxy: Proxy, wire: &Wire) -> Vec<u8> {
    match proxy.version {
        ProxyVersion::V1 => version1(proxy.client.or_else(|| wire.ends())),
        ProxyVersion::V2 => version2(proxy.client),
    }
}

fn version1(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((from, to)) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let line = match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            format!("PROXY TCP4 {source} {destination} {} {}\r\n", from.port(), to.port())
        }
        (source, destination) => {
            let (source, destination) = (octets6(source), octets6(destination));
            let (source, destination) = (std::net::Ipv6Addr::from(source), std::net::Ipv6Addr::from(destination));
            format!("PROXY TCP6 {source} {destination} {} {}\r\n", from.port(), to.port())
        }
    };
    line.into_bytes()
}

fn version2(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some((from, to)) = ends else {
        header.extend([LOCAL, 0, 0, 0]);
        return header;
    };
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.extend([PROXY, TCP_OVER_IPV4, 0, 12]);
            header.extend(source.octets());
            header.extend(destination.octets());
        }
        (source, destination) => {
            header.extend([PROXY, TCP_OVER_IPV6, 0, 36]);
            header.extend(octets6(source));
            header.extend(octets6(destination));
        }
    }
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header
}

fn octets6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((from.parse().unwrap(), to.parse().unwrap()))
    }

    #[test]
    fn version_1_is_a_line() {
        for (ends, line) in [
            (ends("192.0.2.7:4000", "198.51.100.1:80"), "PROXY TCP4 192.0.2.7 198.51.100.1 4000 80\r\n"),
            (ends("[::ffff:192.0.2.7]:4000", "198.51.100.1:80"), "PROXY TCP4 192.0.2.7 198.51.100.1 4000 80\r\n"),
            (ends("[2001:db8::1]:4000", "[2001:db8::2]:443"), "PROXY TCP6 2001:db8::1 2001:db8::2 4000 443\r\n"),
            (None, "PROXY UNKNOWN\r\n"),
        ] {
            assert_eq!(String::from_utf8(version1(ends)).unwrap(), line);
        }
    }

    #[test]
    fn version_2_is_binary() {
        let header = version2(ends("192.0.2.7:258", "198.51.100.1:80"));
        assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(header[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 0, 80]);
        let mixed = version2(ends("192.0.2.7:258", "[2001:db8::2]:80"));
        assert_eq!((mixed.len(), &mixed[12..16]), (16 + 36, &[0x21, 0x21, 0, 36][..]));
        assert_eq!(mixed[16..32], std::net::Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets());
        assert_eq!(version2(None)[12..], [0x20, 0, 0, 0]);
    }
}
