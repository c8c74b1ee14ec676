//! `%REQUESTED_SERVER_NAME(SNI_FIRST)%`: [`ServerName`].

use super::FormatContext;
use super::header::Header;

/// Whom a client asked for: by its TLS or by the host of its request, whichever says it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerName {
    pub(super) host: Header,
    pub(super) host_first: bool,
}

impl ServerName {
    pub(super) fn render(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let of_tls = context.tls.map_or("", |tls| &*tls.server_name).as_bytes();
        if !self.host_first {
            out.extend_from_slice(of_tls);
        }
        if out.len() == start {
            self.host.render(context, out);
        }
        if out.len() == start {
            out.extend_from_slice(of_tls);
        }
    }
}
