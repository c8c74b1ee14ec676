//! Secrets that are named and not there, or of no use. Istio takes the reference and connections fail: `check` fails on
//! the former and warns of the latter.

use std::collections::HashMap;

use super::destination_rules;
use super::path::Path;
use super::report::Report;
use super::secrets::{Secrets, beside, is_config_map};
use super::server_tls;
use crate::config::{ClientTlsMode, ClientTlsSettings, Config, Resource, ServerTlsMode, ServerTlsSettings};
use crate::error::{Problem, ResourceName, Severity};

/// What is said of ConfigMaps.
const UNREAD: &str = "not yet honored: ConfigMaps are not read: connections fail";

/// Names every `credentialName` without a Secret, or with one that cannot be used.
pub(crate) fn check(config: &Config, secrets: &Secrets<'_>, report: &mut Report) {
    let root = Path::root("spec");
    let mut verdicts = Verdicts { secrets, known: HashMap::new() };
    for rule in &config.destination_rules {
        let name = rule.name_of("DestinationRule");
        let mut look = Look { resource: rule, name, verdicts: &mut verdicts, report };
        destination_rules::each_part(&rule.spec, |policy, _, path| {
            if let Some(tls) = policy.tls {
                look.client(tls, &path.field("tls"));
            }
        });
    }
    for gateway in &config.gateways {
        let name = gateway.name_of("Gateway");
        let mut look = Look { resource: gateway, name, verdicts: &mut verdicts, report };
        let list = root.field("servers");
        for (number, server) in gateway.spec.servers.iter().enumerate() {
            if let Some(tls) = &server.tls {
                look.server(tls, &list.index(number).field("tls"));
            }
        }
    }
}

/// What a Secret is used for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    /// A certificate and its key.
    Identity,
    /// Who is trusted.
    Authorities,
    /// What those have taken back.
    Revoked,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Identity => "certificate and key",
            Self::Authorities => "authorities",
            Self::Revoked => "revoked certificates",
        }
    }
}

/// Why parts of Secrets are of no use: each is read once, however often it is named.
struct Verdicts<'s> {
    secrets: &'s Secrets<'s>,
    /// By the full name.
    known: HashMap<(String, Part), Option<String>>,
}

impl Verdicts<'_> {
    fn fault(&mut self, credential: &str, part: Part) -> Option<String> {
        let key = (self.secrets.full_name(credential), part);
        self.known.entry(key).or_insert_with(|| fault(self.secrets, credential, part)).clone()
    }
}

/// What connections will say that need it.
#[cfg(feature = "tls")]
fn fault(secrets: &Secrets<'_>, credential: &str, part: Part) -> Option<String> {
    match part {
        Part::Identity => crate::tls::fault_of_identity(&secrets.identity(credential)),
        Part::Authorities => crate::tls::fault_of_authorities(&secrets.authorities(credential).roots),
        Part::Revoked => crate::tls::fault_of_revoked(&secrets.authorities(credential).revoked?),
    }
}

/// What is not used here cannot be judged here.
#[cfg(not(feature = "tls"))]
fn fault(_: &Secrets<'_>, _: &str, _: Part) -> Option<String> {
    None
}

/// Looks through one resource.
struct Look<'r, 's, T> {
    resource: &'r Resource<T>,
    name: ResourceName,
    verdicts: &'r mut Verdicts<'s>,
    report: &'r mut Report,
}

impl<T> Look<'_, '_, T> {
    fn client(&mut self, tls: &ClientTlsSettings, path: &Path<'_>) {
        let shows = match tls.mode {
            ClientTlsMode::Simple => false,
            ClientTlsMode::Mutual => true,
            ClientTlsMode::Disable | ClientTlsMode::IstioMutual => return,
        };
        let verifies = tls.insecure_skip_verify != Some(true);
        let authorities = verifies.then(|| beside(&tls.credential_name));
        self.at(&tls.credential_name, shows, authorities.as_deref(), &path.field("credentialName"));
    }

    fn server(&mut self, tls: &ServerTlsSettings, path: &Path<'_>) {
        let verifies = match tls.mode {
            ServerTlsMode::Simple => false,
            ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => tls.insecure_skip_verify != Some(true),
            _ => return,
        };
        let mut asked = if verifies { server_tls::authorities(tls) } else { None };
        let apart = &tls.ca_cert_credential_name;
        if !apart.is_empty() {
            self.at(apart, false, asked.take().as_deref(), &path.field("caCertCredentialName"));
        }
        let names = path.field("credentialNames");
        let several = tls.credential_names.iter().enumerate().map(|(number, name)| (name, names.index(number)));
        for (name, path) in several.chain([(&tls.credential_name, path.field("credentialName"))]) {
            // They are beside the first.
            let authorities = if name.is_empty() { None } else { asked.take() };
            self.at(name, true, authorities.as_deref(), &path);
        }
    }

    /// A name of Secrets: whether their certificate is shown, and what the authorities are called if those are asked.
    fn at(&mut self, name: &str, shown: bool, authorities: Option<&str>, path: &Path<'_>) {
        if name.is_empty() || !shown && authorities.is_none() {
            return;
        }
        if is_config_map(name) {
            self.say(Severity::Reference, path, UNREAD.to_owned());
            return;
        }
        let secrets = self.verdicts.secrets;
        let shown = shown.then_some((Part::Identity, name));
        let holder = authorities.map(|name| secrets.holder(name));
        let asked = holder.into_iter().flat_map(|holder| [(Part::Authorities, holder), (Part::Revoked, holder)]);
        for (part, secret) in shown.into_iter().chain(asked) {
            let full = secrets.full_name(secret);
            if !secrets.knows(secret) {
                self.say(Severity::Reference, path, format!("there is no Secret {full}: connections fail"));
                return;
            }
            if let Some(fault) = self.verdicts.fault(secret, part) {
                let part = part.name();
                let message = format!("the {part} of the Secret {full} cannot be used: {fault}: connections fail");
                self.say(Severity::Warning, path, message);
            }
        }
    }

    fn say(&mut self, severity: Severity, path: &Path<'_>, message: String) {
        let path = path.text();
        let place = self.resource.place(&path);
        let problem = Problem::new(severity, path, message);
        self.report.push(problem.with_resource(self.name.clone()).with_place(place));
    }
}
