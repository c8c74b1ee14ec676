//! Secrets that are named and not there. Istio takes the reference and connections fail; `check` names it.

use super::destination_rules;
use super::path::Path;
use super::report::Report;
use super::secrets::Secrets;
use crate::config::{ClientTlsMode, Config, Resource, ServerTlsMode, TrafficPolicy};
use crate::error::{Problem, ResourceName, Severity};

/// Names every `credentialName` without a Secret.
pub(crate) fn check(config: &Config, secrets: &Secrets<'_>, report: &mut Report) {
    let root = Path::root("spec");
    for rule in &config.destination_rules {
        let mut look = Look { resource: rule, name: rule.name_of("DestinationRule"), secrets, report };
        destination_rules::each_policy(&rule.spec, |policy, _, path| look.policy(policy, path));
    }
    for gateway in &config.gateways {
        let mut look = Look { resource: gateway, name: gateway.name_of("Gateway"), secrets, report };
        let list = root.field("servers");
        for (number, server) in gateway.spec.servers.iter().enumerate() {
            let Some(tls) = &server.tls else { continue };
            if !matches!(tls.mode, ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
                continue;
            }
            let path = list.index(number);
            let path = path.field("tls");
            look.at(&tls.credential_name, &path.field("credentialName"));
            look.at(&tls.ca_cert_credential_name, &path.field("caCertCredentialName"));
            let names = path.field("credentialNames");
            for (number, name) in tls.credential_names.iter().enumerate() {
                look.at(name, &names.index(number));
            }
        }
    }
}

/// Looks through one resource.
struct Look<'r, T> {
    resource: &'r Resource<T>,
    name: ResourceName,
    secrets: &'r Secrets<'r>,
    report: &'r mut Report,
}

impl<T> Look<'_, T> {
    fn policy(&mut self, policy: &TrafficPolicy, path: &Path<'_>) {
        let list = path.field("portLevelSettings");
        for (number, entry) in policy.port_level_settings.iter().enumerate() {
            if let Some(tls) = &entry.tls {
                self.client(tls.mode, &tls.credential_name, &list.index(number).field("tls"));
            }
        }
        if let Some(tls) = &policy.tls {
            self.client(tls.mode, &tls.credential_name, &path.field("tls"));
        }
    }

    fn client(&mut self, mode: ClientTlsMode, credential: &str, path: &Path<'_>) {
        if matches!(mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
            self.at(credential, &path.field("credentialName"));
        }
    }

    fn at(&mut self, credential: &str, path: &Path<'_>) {
        if credential.is_empty() || self.secrets.knows(credential) {
            return;
        }
        let message = format!("there is no Secret {}: connections fail", self.secrets.full_name(credential));
        let path = path.to_string();
        let place = self.resource.place(&path);
        let problem = Problem::new(Severity::Reference, path, message);
        self.report.push(problem.with_resource(self.name.clone()).with_place(place));
    }
}
