//! What a forward proxy is asked for: [`Tunnel`].

use std::fmt;

use http::uri::Authority;

/// A request to a forward proxy for a connection to somewhere else, on which bytes flow once it has answered with 2xx
/// (`tunnel` of a DestinationRule).
///
/// ```
/// use http::uri::Authority;
/// use mesh_router::request::{Tunnel, TunnelMethod};
///
/// let tunnel = Tunnel::new(TunnelMethod::Connect, Authority::from_static("db.test:5432"));
/// assert_eq!(tunnel.to_string(), "CONNECT db.test:5432");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tunnel {
    /// How it is asked (`protocol`).
    pub method: TunnelMethod,
    /// Where the tunnel leads (`targetHost` and `targetPort`): `host:port`, an IPv6 address in brackets. The proxy looks
    /// it up, nobody else does.
    pub authority: Authority,
}

/// How a forward proxy is asked for a [`Tunnel`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TunnelMethod {
    /// `CONNECT host:port`.
    #[default]
    Connect,
    /// `POST /` with the `Host` where the tunnel leads: what follows is its body, and that of the answer.
    Post,
}

impl Tunnel {
    /// A tunnel to `authority`, which has a port.
    pub fn new(method: TunnelMethod, authority: Authority) -> Self {
        Self { method, authority }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            TunnelMethod::Connect => "CONNECT",
            TunnelMethod::Post => "POST",
        };
        write!(f, "{method} {}", self.authority)
    }
}
