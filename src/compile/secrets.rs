//! Secrets as Istio reads them: certificates, keys and authorities under the names that `credentialName` uses.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, Secret};
use crate::options::Workload;
use crate::upstream::{Identity, Pem};

/// What a `credentialName` may begin with.
const PREFIX: &str = "kubernetes://";
/// What the name of a Secret ends with that holds authorities alone.
const AUTHORITIES: &str = "-cacert";

/// The Secrets of the workload's own namespace: no others are read.
#[derive(Debug)]
pub(crate) struct Secrets<'a> {
    by_name: HashMap<&'a str, &'a Secret>,
    namespace: &'a str,
}

impl<'a> Secrets<'a> {
    pub(crate) fn new(config: &'a Config, workload: &'a Workload) -> Self {
        let namespace = workload.namespace.as_str();
        let own = config.secrets.iter().filter(|secret| secret.namespace() == namespace);
        Self { by_name: own.map(|secret| (secret.meta.name.as_str(), &secret.spec)).collect(), namespace }
    }

    /// Whether there is a Secret for a `credentialName`.
    pub(crate) fn knows(&self, credential: &str) -> bool {
        self.by_name.contains_key(bare(credential))
    }

    /// A `credentialName` in full.
    pub(crate) fn full_name(&self, credential: &str) -> String {
        format!("{}/{}", self.namespace, bare(credential))
    }

    /// The certificate and its key.
    pub(crate) fn identity(&self, credential: &str) -> Identity {
        let secret = self.by_name.get(bare(credential));
        let generic = secret.is_some_and(|secret| secret.get("cert").is_some() && secret.get("key").is_some());
        let (certificates, key) = if generic { ("cert", "key") } else { ("tls.crt", "tls.key") };
        Identity { certificates: self.text(credential, &[certificates]), key: self.text(credential, &[key]) }
    }

    /// The authorities: of the Secret with `-cacert` after its name, else of the Secret itself.
    pub(crate) fn roots(&self, credential: &str) -> Pem {
        let apart = format!("{}{AUTHORITIES}", bare(credential));
        let credential = if self.by_name.contains_key(&*apart) { &apart } else { credential };
        self.text(credential, &["cacert", "ca.crt"])
    }

    /// The revoked certificates, if the Secret with the authorities lists any.
    pub(crate) fn revoked(&self, credential: &str) -> Option<Pem> {
        let apart = format!("{}{AUTHORITIES}", bare(credential));
        [apart.as_str(), bare(credential)].iter().find_map(|name| {
            let text = ["crl", "ca.crl"].iter().find_map(|key| self.by_name.get(name)?.get(key));
            text.filter(|text| !text.is_empty()).map(|text| Pem::Text(Arc::from(text)))
        })
    }

    fn text(&self, credential: &str, keys: &[&str]) -> Pem {
        let name = self.full_name(credential);
        let Some(secret) = self.by_name.get(bare(credential)) else {
            return Pem::Missing(format!("the Secret {name}").into());
        };
        match keys.iter().find_map(|key| secret.get(key)) {
            Some(text) => Pem::Text(Arc::from(text)),
            None => Pem::Missing(format!("the key {} of the Secret {name}", keys.join(" or ")).into()),
        }
    }
}

fn bare(credential: &str) -> &str {
    credential.strip_prefix(PREFIX).unwrap_or(credential)
}
