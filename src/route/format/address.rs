//! Commands that write addresses: [`Address`].

use std::io::{Result, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::FormatContext;

/// Whose address, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    side: Side,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Peer,
    DirectPeer,
    Local,
    Upstream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    WithoutPort,
    /// The network of so many bits that it is in.
    Network(i32),
    Port,
}

impl Address {
    /// The command of this name, if it is about addresses.
    pub(super) fn named(name: &str) -> Option<Self> {
        const SIDES: [(&str, Side); 5] = [
            ("DOWNSTREAM_REMOTE_", Side::Peer),
            ("DOWNSTREAM_DIRECT_REMOTE_", Side::DirectPeer),
            ("DOWNSTREAM_LOCAL_", Side::Local),
            ("DOWNSTREAM_DIRECT_LOCAL_", Side::Local),
            ("UPSTREAM_REMOTE_", Side::Upstream),
        ];
        let (side, part) = SIDES.iter().find_map(|(prefix, side)| Some((*side, name.strip_prefix(prefix)?)))?;
        let part = match part {
            "ADDRESS" => Part::All,
            "ADDRESS_WITHOUT_PORT" => Part::WithoutPort,
            "PORT" => Part::Port,
            _ => return None,
        };
        Some(Self { side, part })
    }

    /// The same as the network of so many bits that the address is in. `None` if it has a port.
    pub(super) fn within(self, bits: &str) -> Option<Self> {
        // What is no number says nothing to Envoy.
        let part = bits.trim().parse().map_or(Part::WithoutPort, Part::Network);
        (self.part == Part::WithoutPort).then_some(Self { part, ..self })
    }

    pub(super) fn render(self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> Result<()> {
        let address = match self.side {
            Side::Peer => context.peer,
            Side::DirectPeer => context.direct_peer.or(context.peer),
            Side::Local => context.local,
            Side::Upstream => {
                // Of a connection that did not come about it is not known.
                let Some(upstream) = context.upstream.filter(|_| context.upstream_version.is_some()) else {
                    return Ok(());
                };
                match upstream.to_string().parse() {
                    Ok(address) => Some(address),
                    // A path has no port.
                    Err(_) if self.part == Part::Port => None,
                    Err(_) => return write!(out, "{upstream}"),
                }
            }
        };
        address.map_or(Ok(()), |address| self.part.write(address, out))
    }
}

impl Part {
    fn write(self, address: SocketAddr, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Part::All => write!(out, "{address}"),
            Part::WithoutPort => write!(out, "{}", address.ip()),
            Part::Network(bits) => u32::try_from(bits).map_or(Ok(()), |bits| write_network(address.ip(), bits, out)),
            Part::Port => write!(out, "{}", address.port()),
        }
    }
}

fn write_network(address: IpAddr, bits: u32, out: &mut Vec<u8>) -> Result<()> {
    match address {
        IpAddr::V4(address) => {
            let bits = bits.min(Ipv4Addr::BITS);
            let mask = u32::MAX.checked_shl(Ipv4Addr::BITS - bits).unwrap_or(0);
            write!(out, "{}/{bits}", Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let bits = bits.min(Ipv6Addr::BITS);
            let mask = u128::MAX.checked_shl(Ipv6Addr::BITS - bits).unwrap_or(0);
            write!(out, "{}/{bits}", Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}
