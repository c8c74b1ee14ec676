//! Commands that write addresses: [`Address`].

use std::io::{Result, Write as _};
use std::net::SocketAddr;

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

    pub(super) fn render(self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> Result<()> {
        let address = match self.side {
            Side::Peer => context.peer,
            Side::DirectPeer => context.direct_peer.or(context.peer),
            Side::Local => context.local,
            Side::Upstream => {
                let Some(upstream) = context.upstream else { return Ok(()) };
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
            Part::Port => write!(out, "{}", address.port()),
        }
    }
}
