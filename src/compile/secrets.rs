//! Secrets as Istio reads them: certificates, keys and authorities under the names that `credentialName` uses.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Config, Secret};
use crate::options::Workload;
use crate::upstream::{Identity, Pem};

/// What a `credentialName` may begin with.
const PREFIX: &str = "kubernetes://";
/// What the name of a ConfigMap begins with.
const CONFIG_MAP: &str = "configmap://";
/// What the name of a Secret ends with that holds authorities alone.
const AUTHORITIES: &str = "-cacert";

/// Whose certificates are taken: both of one Secret.
#[derive(Debug)]
pub(crate) struct Authorities {
    pub(crate) roots: Pem,
    /// The certificates that they have taken back, if they list any.
    pub(crate) revoked: Option<Pem>,
}

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

    /// The name of the Secret that holds authorities named `name`: if there is none of this very name, and it ends with
    /// `-cacert`, the name before that.
    pub(crate) fn holder<'n>(&self, name: &'n str) -> &'n str {
        let name = bare(name);
        match name.strip_suffix(AUTHORITIES) {
            Some(whole) if !self.by_name.contains_key(name) => whole,
            _ => name,
        }
    }

    /// The authorities named `name` ([`beside`] or `caCertCredentialName`), and what they have taken back: both of one
    /// Secret, under keys that belong together.
    pub(crate) fn authorities(&self, name: &str) -> Authorities {
        let holder = self.holder(name);
        let secret = self.by_name.get(holder);
        let filled =
            |key: &str| secret?.get(key).filter(|text| !text.is_empty()).map(|text| Pem::Text(Arc::from(text)));
        let pair =
            |(roots, revoked): (&str, &str)| Some(Authorities { roots: filled(roots)?, revoked: filled(revoked) });
        let found = [("cacert", "crl"), ("ca.crt", "ca.crl")].into_iter().find_map(pair);
        found.unwrap_or_else(|| Authorities { roots: self.text(holder, &["cacert", "ca.crt"]), revoked: None })
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

/// What the authorities beside a `credentialName` are called: the Secret of that name may hold them itself.
pub(crate) fn beside(credential: &str) -> String {
    format!("{}{AUTHORITIES}", bare(credential))
}

/// Whether a `credentialName` names a ConfigMap: none are read.
pub(crate) fn is_config_map(credential: &str) -> bool {
    credential.starts_with(CONFIG_MAP)
}

/// The name alone.
pub(crate) fn bare(credential: &str) -> &str {
    credential.strip_prefix(PREFIX).unwrap_or(credential)
}
