//! Commands that tell of the TLS of the client's connection: [`TlsFact`].

use std::io::{Result, Write as _};

use super::time::TimeFormat;
use crate::request::{Certificate, DownstreamTls};

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TlsFact {
    Version,
    Cipher,
    ServerName,
    Text(Side, Text),
    Names(Side, Names),
    NotBefore(TimeFormat),
    NotAfter(TimeFormat),
}

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Peer,
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Subject,
    Issuer,
    Serial,
    Sha256,
    Sha1,
    Pem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Uri,
    Dns,
    Ip,
    Email,
}

impl TlsFact {
    /// The command of this name, if it is about TLS and takes no argument.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "DOWNSTREAM_TLS_VERSION" => return Some(Self::Version),
            "DOWNSTREAM_TLS_CIPHER" => return Some(Self::Cipher),
            "REQUESTED_SERVER_NAME" => return Some(Self::ServerName),
            _ => {}
        }
        let of_peer = name.strip_prefix("DOWNSTREAM_PEER_").map(|fact| (Side::Peer, fact));
        let (side, fact) = of_peer.or_else(|| Some((Side::Local, name.strip_prefix("DOWNSTREAM_LOCAL_")?)))?;
        Some(match (fact, side) {
            ("SUBJECT", _) => Self::Text(side, Text::Subject),
            ("ISSUER", Side::Peer) => Self::Text(side, Text::Issuer),
            ("SERIAL", Side::Peer) => Self::Text(side, Text::Serial),
            ("FINGERPRINT_256", Side::Peer) => Self::Text(side, Text::Sha256),
            ("FINGERPRINT_1", Side::Peer) => Self::Text(side, Text::Sha1),
            ("CERT", Side::Peer) => Self::Text(side, Text::Pem),
            ("URI_SAN", _) => Self::Names(side, Names::Uri),
            ("DNS_SAN", _) => Self::Names(side, Names::Dns),
            ("IP_SAN", _) => Self::Names(side, Names::Ip),
            ("EMAIL_SAN", _) => Self::Names(side, Names::Email),
            _ => return None,
        })
    }

    pub(super) fn render(&self, tls: &DownstreamTls, out: &mut Vec<u8>) -> Result<()> {
        let text = match self {
            Self::Version => &*tls.version,
            Self::Cipher => &tls.cipher,
            Self::ServerName => &tls.server_name,
            Self::Text(side, text) => match side.certificate(tls) {
                Some(certificate) => text.of(certificate),
                None => return Ok(()),
            },
            Self::Names(side, names) => {
                let names = side.certificate(tls).map_or(&[][..], |certificate| names.of(certificate));
                return out.write_all(names.join(",").as_bytes());
            }
            Self::NotBefore(format) | Self::NotAfter(format) => {
                if let Some(certificate) = &tls.peer {
                    let is_start = matches!(self, Self::NotBefore(_));
                    format.render(if is_start { certificate.not_before } else { certificate.not_after }, out);
                }
                return Ok(());
            }
        };
        out.write_all(text.as_bytes())
    }
}

impl Side {
    fn certificate(self, tls: &DownstreamTls) -> Option<&Certificate> {
        match self {
            Self::Peer => tls.peer.as_ref(),
            Self::Local => tls.local.as_deref(),
        }
    }
}

impl Text {
    fn of(self, certificate: &Certificate) -> &str {
        match self {
            Self::Subject => &certificate.subject,
            Self::Issuer => &certificate.issuer,
            Self::Serial => &certificate.serial,
            Self::Sha256 => &certificate.sha256,
            Self::Sha1 => &certificate.sha1,
            Self::Pem => &certificate.pem,
        }
    }
}

impl Names {
    fn of(self, certificate: &Certificate) -> &[Box<str>] {
        match self {
            Self::Uri => &certificate.uris,
            Self::Dns => &certificate.dns_names,
            Self::Ip => &certificate.addresses,
            Self::Email => &certificate.emails,
        }
    }
}
