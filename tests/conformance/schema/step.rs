//! Steps: exactly one kind each, with what it expects beside it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use super::behavior::Behavior;
use super::expect::Expect;
use super::values::{Frame, HeaderLines, OneOrMany, Range, Word};

/// A step: its kind and the keys that any kind may have.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) expect: Expect,
    /// Repeat until it holds, for at most so many seconds.
    pub(crate) within: Option<f64>,
    /// Pause between repetitions, seconds.
    pub(crate) every: f64,
    pub(crate) capture: BTreeMap<String, Capture>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The words of the request once more for each `${i}`, and the request itself.
    Request(Value, Box<Request>),
    Grpc(Value, Box<Request>),
    Websocket(Box<Request>),
    Stream(Box<Request>),
    Tcp(Box<TcpWords>),
    Raw(Box<RawWords>),
    Behave(BTreeMap<String, Option<Behavior>>),
    Sleep(f64),
    Config(ConfigText),
    Files(BTreeMap<String, Option<String>>),
    Start(Box<Start>),
    Join(String),
    Signal(String),
    Exited(Exited),
    Alive,
    Connect(Connect),
    Admin(Admin),
    Metric(Metric),
    Check(Box<Verdict>),
    StartFails(Box<Verdict>),
}

impl Step {
    /// Reads a step; unknown keys, no kind and two kinds are errors.
    pub(crate) fn from_value(value: Value) -> Result<Step, String> {
        let Value::Mapping(mut words) = value else { return Err("a step is a map".to_owned()) };
        let wanted = words.get("expect").and_then(Value::as_mapping).cloned().unwrap_or_default();
        let expect = take(&mut words, "expect")?.unwrap_or_default();
        let within = take(&mut words, "within")?;
        let every = take(&mut words, "every")?.unwrap_or(0.1);
        let capture: BTreeMap<_, _> = take(&mut words, "capture")?.unwrap_or_default();
        let mut kinds = words.into_iter();
        let (Some((name, value)), None) = (kinds.next(), kinds.next()) else {
            return Err("a step has exactly one kind".to_owned());
        };
        let name = name.as_str().ok_or("the kind of a step is a word")?.to_owned();
        let kind = Kind::from_words(&name, value).map_err(|problem| format!("{name}: {problem}"))?;
        if let Some(key) = wanted.keys().filter_map(Value::as_str).find(|key| !kind.judges(key)) {
            return Err(format!("{name}: nothing judges {key}"));
        }
        if !capture.is_empty() && !matches!(kind, Kind::Request(..) | Kind::Grpc(..)) {
            return Err(format!("{name}: nothing is captured"));
        }
        Ok(Step { kind, expect, within, every, capture })
    }
}

impl Kind {
    fn from_words(name: &str, value: Value) -> Result<Kind, String> {
        if let Some(key) = idle(name).iter().find(|key| value.get(key).is_some()) {
            return Err(format!("nothing heeds {key}"));
        }
        Ok(match name {
            "request" => Kind::Request(value.clone(), Box::new(Request::of(value, &[])?)),
            "grpc" => Kind::Grpc(value.clone(), Box::new(Request::of(value, &["message"])?)),
            "websocket" => Kind::Websocket(Box::new(Request::of(value, &["send"])?)),
            "stream" => Kind::Stream(Box::new(Request::of(value, &["chunks", "size"])?)),
            "tcp" => Kind::Tcp(Box::new(read(value)?)),
            "raw" => Kind::Raw(Box::new(read(value)?)),
            "behave" => Kind::Behave(read(value)?),
            "sleep" => Kind::Sleep(read(value)?),
            "config" => Kind::Config(read(value)?),
            "files" => Kind::Files(read(value)?),
            "start" => Kind::Start(Box::new(Start::from_value(value)?)),
            "join" => Kind::Join(read(value)?),
            "signal" => Kind::Signal(read(value)?),
            "exited" => Kind::Exited(read(value)?),
            "alive" => Kind::Alive,
            "connect" => Kind::Connect(read(value)?),
            "admin" => Kind::Admin(read(value)?),
            "metric" => Kind::Metric(read(value)?),
            "check" => Kind::Check(Box::new(read(value)?)),
            "start_fails" => Kind::StartFails(Box::new(read(value)?)),
            _ => return Err("unknown kind of step".to_owned()),
        })
    }

    /// Whether a key of `expect` is looked at.
    fn judges(&self, key: &str) -> bool {
        let at_upstreams = ["calls", "conns", "max_inflight", "seen", "settle"].contains(&key);
        let served = ["upstream", "counts", "used", "never", "fractions", "sigma", "error"].contains(&key);
        match self {
            Kind::Request(..) | Kind::Grpc(..) | Kind::Stream(_) => !["echo", "sni", "closed"].contains(&key),
            Kind::Websocket(_) => !["sni", "closed"].contains(&key),
            Kind::Tcp(_) => at_upstreams || served || ["sni", "closed"].contains(&key),
            Kind::Raw(_) => at_upstreams || ["status", "body_regex", "closed"].contains(&key),
            _ => false,
        }
    }
}

/// Keys of a request that a kind made of one does not heed.
fn idle(name: &str) -> &'static [&'static str] {
    match name {
        "grpc" => &["proto", "body", "body_size", "chunked", "expect_continue", "reuse"],
        "stream" => &["body", "body_size", "trailers", "expect_continue", "count", "concurrency", "vary", "reuse"],
        "websocket" => &["method", "proto", "scheme", "body", "body_size", "chunked", "trailers", "expect_continue"],
        _ => &[],
    }
}

fn take<T: DeserializeOwned>(words: &mut Mapping, key: &str) -> Result<Option<T>, String> {
    let Some(value) = words.remove(key).filter(|value| !value.is_null()) else { return Ok(None) };
    serde_yaml::from_value(value).map(Some).map_err(|error| format!("{key}: {error}"))
}

/// A map of words; `null` stands for an empty one.
fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let value = if value.is_null() { Value::Mapping(Mapping::new()) } else { value };
    serde_yaml::from_value(value).map_err(|error| error.to_string())
}

/// HTTP version of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proto {
    #[default]
    H1,
    H2,
}

/// The client side of TLS; without `ca` nothing is verified.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientTls {
    pub(crate) sni: Option<String>,
    pub(crate) ca: Option<String>,
    pub(crate) cert: Option<String>,
    pub(crate) alpn: Option<Vec<String>>,
    pub(crate) max_version: Option<String>,
}

/// A request, and the keys of the kinds that begin with one.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) host: String,
    pub(crate) headers: HeaderLines,
    pub(crate) body: Option<Word>,
    pub(crate) body_size: Option<usize>,
    pub(crate) chunked: bool,
    pub(crate) trailers: HeaderLines,
    pub(crate) proto: Proto,
    pub(crate) scheme: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) source: Option<IpAddrWord>,
    pub(crate) expect_continue: bool,
    pub(crate) timeout: Option<f64>,
    pub(crate) count: usize,
    pub(crate) concurrency: usize,
    pub(crate) vary: usize,
    pub(crate) reuse: Option<bool>,
    pub(crate) pause: Option<f64>,
    /// In a loop: a new connection for each request.
    pub(crate) new_conn: bool,
    /// grpc: the message.
    pub(crate) message: Option<String>,
    /// websocket: what is sent.
    pub(crate) send: Vec<Frame>,
    /// stream: number of chunks and bytes in each.
    pub(crate) chunks: Option<usize>,
    pub(crate) size: Option<usize>,
}

/// A source address; kept as text until `${i}` is filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct IpAddrWord(String);

impl IpAddrWord {
    pub(crate) fn address(&self) -> Result<IpAddr, String> {
        self.0.parse().map_err(|_| format!("{} is no IP address", self.0))
    }
}

impl Default for Request {
    fn default() -> Self {
        Request {
            method: None,
            path: None,
            host: "app.test".to_owned(),
            headers: HeaderLines::default(),
            body: None,
            body_size: None,
            chunked: false,
            trailers: HeaderLines::default(),
            proto: Proto::H1,
            scheme: None,
            listen: None,
            tls: None,
            source: None,
            expect_continue: false,
            timeout: None,
            count: 1,
            concurrency: 1,
            vary: 0,
            reuse: None,
            pause: None,
            new_conn: false,
            message: None,
            send: Vec::new(),
            chunks: None,
            size: None,
        }
    }
}

impl Request {
    /// Reads a request; of the keys that belong to one kind only, `extra` are allowed.
    pub(crate) fn of(value: Value, extra: &[&str]) -> Result<Request, String> {
        if value.is_null() {
            return Ok(Request::default());
        }
        for key in ["message", "send", "chunks", "size"] {
            if !extra.contains(&key) && value.get(key).is_some() {
                return Err(format!("unknown key {key}"));
            }
        }
        read(value)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TcpWords {
    pub(crate) listen: Option<String>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) source: Option<IpAddrWord>,
    pub(crate) send: Option<Word>,
    pub(crate) send_size: Option<usize>,
    pub(crate) count: Option<usize>,
    pub(crate) timeout: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawWords {
    pub(crate) listen: Option<String>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) source: Option<IpAddrWord>,
    pub(crate) send: String,
    pub(crate) pad: Option<usize>,
    pub(crate) read_for: Option<f64>,
    pub(crate) escapes: Option<bool>,
}

/// A configuration: one file, or files by name in a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ConfigText {
    File(String),
    Folder(BTreeMap<String, Option<String>>),
}

impl Default for ConfigText {
    fn default() -> Self {
        ConfigText::File(String::new())
    }
}

/// A step in the background: once, or a request again and again until it is joined.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) repeat: bool,
    pub(crate) step: Step,
}

impl Start {
    fn from_value(value: Value) -> Result<Start, String> {
        let Value::Mapping(mut words) = value else { return Err("a map is wanted".to_owned()) };
        let name = take(&mut words, "name")?.ok_or("a name is wanted")?;
        let repeat = take(&mut words, "loop")?.unwrap_or(false);
        let step = Step::from_value(Value::Mapping(words))?;
        if repeat && !matches!(step.kind, Kind::Request(..)) {
            return Err("a loop is made of a request".to_owned());
        }
        Ok(Start { name, repeat, step })
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Exited {
    pub(crate) code: Option<Range>,
    pub(crate) within: Option<f64>,
    /// Not sooner than so many seconds.
    pub(crate) min: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connect {
    pub(crate) listen: Option<String>,
    pub(crate) refused: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) body_contains: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metric {
    pub(crate) regex: String,
    #[serde(default)]
    pub(crate) value: Option<Range>,
    #[serde(default)]
    pub(crate) typed: bool,
}

/// What the gateway has to say of a configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Verdict {
    pub(crate) exit: Option<Range>,
    pub(crate) output: Vec<String>,
    pub(crate) at: Option<String>,
    pub(crate) slack: Option<usize>,
    pub(crate) config: Option<ConfigText>,
}

/// A variable taken from an answer.
#[derive(Clone, Debug)]
pub(crate) enum Capture {
    Upstream,
    Header { name: String, regex: Option<String> },
}

impl<'de> Deserialize<'de> for Capture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Words {
            header: String,
            #[serde(default)]
            regex: Option<String>,
        }
        match Value::deserialize(deserializer)? {
            Value::String(word) if word == "upstream" => Ok(Capture::Upstream),
            words => serde_yaml::from_value(words)
                .map(|Words { header, regex }| Capture::Header { name: header, regex })
                .map_err(serde::de::Error::custom),
        }
    }
}

/// Certificates of a case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CertWords {
    pub(crate) ca: Option<String>,
    pub(crate) dns: OneOrMany<String>,
    pub(crate) uri: OneOrMany<String>,
    pub(crate) ip: OneOrMany<String>,
    pub(crate) cn: Option<String>,
    pub(crate) expired: bool,
}
