//! What an upstream is and how it behaves.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

use super::values::{HeaderLines, Word};

/// One endpoint of a case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpstreamWords {
    pub(crate) behavior: Option<Behavior>,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<UpstreamTls>,
}

/// What an upstream speaks on an accepted connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// HTTP/1.1 or HTTP/2, told apart by the preface.
    #[default]
    Http,
    /// The name as a banner, then an echo of the bytes.
    Tcp,
}

/// The server side of TLS at an upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamTls {
    pub(crate) cert: String,
    #[serde(default)]
    pub(crate) client_ca: Option<String>,
    #[serde(default)]
    pub(crate) alpn: Option<Vec<String>>,
}

/// How an upstream answers; see SCHEMA for each key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Behavior {
    pub(crate) status: Option<u16>,
    pub(crate) headers: HeaderLines,
    pub(crate) body: Option<Word>,
    pub(crate) body_size: Option<usize>,
    pub(crate) delay: f64,
    pub(crate) delay_body: f64,
    pub(crate) chunked: bool,
    pub(crate) trailers: HeaderLines,
    pub(crate) close: Option<Close>,
    pub(crate) h2_error: Option<u32>,
    pub(crate) connection_close: bool,
    pub(crate) fail_first: Option<Box<FailFirst>>,
    pub(crate) refuse: bool,
    pub(crate) blackhole: bool,
    pub(crate) stream_echo: bool,
    pub(crate) no_continue: bool,
    pub(crate) early_reply: bool,
    pub(crate) grpc_status: u32,
    pub(crate) grpc_message: Option<String>,
    pub(crate) grpc_in_trailers: bool,
}

/// Where an exchange is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Close {
    /// After the request, without an answer.
    Before,
    /// After half of the answer's body.
    Mid,
    /// Before the request's body is read.
    Early,
}

/// The behavior of the first `n` requests.
#[derive(Clone, Debug)]
pub(crate) struct FailFirst {
    pub(crate) n: usize,
    pub(crate) behavior: Behavior,
}

impl<'de> Deserialize<'de> for FailFirst {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut words = Mapping::deserialize(deserializer)?;
        let n = words.remove("n").and_then(|n| n.as_u64()).ok_or_else(|| D::Error::missing_field("n"))?;
        let behavior = serde_yaml::from_value(Value::Mapping(words)).map_err(D::Error::custom)?;
        Ok(FailFirst { n: n as usize, behavior })
    }
}
