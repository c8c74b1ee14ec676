//! The case format as typed words. A file that says anything else does not load.

mod behavior;
mod expect;
mod step;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_yaml::Value;

pub(crate) use behavior::{Behavior, Close, Protocol, UpstreamTls, UpstreamWords};
pub(crate) use expect::{Expect, Seen};
pub(crate) use step::{
    Admin, Capture, CertWords, ClientTls, ConfigText, Connect, Exited, IpAddrWord, Kind, Metric, Proto, RawWords,
    Request, Start, Step, TcpWords, Verdict,
};
pub(crate) use values::{Check, Frame, HeaderLines, Range, Rules, Word};

/// One case: the text of one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) area: String,
    pub(crate) why: String,
    #[serde(default, rename = "note")]
    _note: Option<String>,
    #[serde(default)]
    pub(crate) upstreams: BTreeMap<String, Option<Value>>,
    #[serde(default)]
    pub(crate) listen: Vec<String>,
    #[serde(default)]
    pub(crate) certs: BTreeMap<String, Option<CertWords>>,
    #[serde(default)]
    pub(crate) args: Vec<Word>,
    #[serde(default)]
    pub(crate) gateway: GatewayWord,
    #[serde(default)]
    pub(crate) timeout: Option<f64>,
    #[serde(default)]
    pub(crate) paths: Vec<String>,
    #[serde(default)]
    pub(crate) config: ConfigText,
    /// Kept as written: placeholders are filled in when a step's turn has come.
    pub(crate) steps: Vec<Value>,
}

/// Whether the case's gateway is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GatewayWord {
    #[default]
    Run,
    None,
}

impl Case {
    /// Reads a file and every step and upstream in it.
    pub(crate) fn load(path: &Path) -> Result<Case, String> {
        let at = |problem: String| format!("{}: {problem}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
        let mut case: Case = serde_yaml::from_str(&text).map_err(|error| at(error.to_string()))?;
        for (index, words) in case.steps.iter().enumerate() {
            Step::from_value(words.clone()).map_err(|problem| at(format!("step {}: {problem}", index + 1)))?;
        }
        for (name, words) in &case.upstreams {
            upstream_words(words.clone()).map_err(|problem| at(format!("upstream {name}: {problem}")))?;
        }
        if case.listen.is_empty() {
            case.listen.push("http".to_owned());
        }
        Ok(case)
    }
}

/// The words of an upstream; none are an upstream that behaves as usual.
pub(crate) fn upstream_words(words: Option<Value>) -> Result<UpstreamWords, String> {
    words.map_or_else(
        || Ok(UpstreamWords::default()),
        |words| serde_yaml::from_value(words).map_err(|error| error.to_string()),
    )
}
