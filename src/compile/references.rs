//! References to what is not there. Istio takes them, and what needs them does not work; `check` names them.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use super::Purpose;
use super::clusters::{Asker, Clusters, Dangling};
use super::delegate::{Delegates, Missing};
use super::names;
use super::path::Path;
use super::report::Report;
use super::services::Services;
use super::virtual_services::{MeantVirtualService, Target};
use crate::config::{Config, VirtualService};
use crate::error::{Problem, Severity};

/// For how many different names of one sort what may be meant is looked for: each is compared with all that there are.
const GUESSED: usize = 20;

/// Names every reference of `virtual_services` that dangles. A gateway that the application stands for is there, and what
/// is behind it is the application.
pub(crate) fn check(
    virtual_services: &[MeantVirtualService<'_>],
    config: &Config,
    services: &Services,
    clusters: &Clusters<'_>,
    purpose: Purpose<'_>,
    report: &mut Report,
) {
    let is_own = |gateway: &String| purpose.gateways.iter().any(|own| *own.gateway == **gateway);
    let gateways: BTreeSet<String> =
        config.gateways.iter().map(|gateway| format!("{}/{}", gateway.namespace(), gateway.meta.name)).collect();
    let delegates = Delegates::new(virtual_services, purpose.options);
    let mut guesses = Guesses::default();
    let known = Known { services, clusters, hosts: OnceCell::new() };
    for virtual_service in virtual_services {
        each_gateway(virtual_service, |gateway, path| {
            if gateway != names::MESH && !gateways.contains(&gateway) && !is_own(&gateway) {
                let message = format!("there is no Gateway {gateway}");
                let nearest = guesses.gateways.of(&gateway, "", || &gateways);
                report.push(problem(virtual_service, &path.text(), message, nearest));
            }
        });
        for destination in virtual_service.tcp.iter().chain(&virtual_service.tls).flat_map(|rule| &rule.destinations) {
            let target = (&destination.target, "connections are closed");
            if let Some(dangling) = clusters.dangling(target.0, Asker::Other) {
                report.push(of_destination(virtual_service, target, &dangling, &known, &mut guesses));
            }
        }
        let served_here = virtual_service.gateways.iter().all(is_own);
        for rule in &virtual_service.rules {
            let routes = rule.destinations.iter().filter(|_| !served_here);
            let routes = routes.map(|destination| (&destination.target, "requests get 503"));
            let mirrors = rule.policies.mirror_targets().map(|mirror| (mirror, "no copy is sent"));
            let asker = Asker::Gateway(&virtual_service.name.namespace);
            for target in routes.chain(mirrors) {
                if let Some(dangling) = clusters.dangling(target.0, asker) {
                    report.push(of_destination(virtual_service, target, &dangling, &known, &mut guesses));
                }
            }
            if let Some(reference) = rule.delegate
                && let Err(missing) = delegates.find(virtual_service, reference)
            {
                report.push(of_delegate(virtual_service, &rule.origin.path, &missing, &delegates, &mut guesses));
            }
        }
    }
}

/// Visits every gateway that is named, completed: by the VirtualService, and by the matches of its rules.
fn each_gateway(virtual_service: &MeantVirtualService<'_>, mut visit: impl FnMut(String, &Path<'_>)) {
    let VirtualService { gateways, http, tls, tcp, .. } = &virtual_service.resource.spec;
    let namespace = &virtual_service.name.namespace;
    let mut visit = |gateways: &[String], path: &Path<'_>| {
        for (number, gateway) in gateways.iter().enumerate() {
            visit(names::gateway(gateway, namespace), &path.item("gateways", number));
        }
    };
    visit(gateways, &Path::root("spec"));
    of_matches("http", http.iter().map(|rule| rule.matches.iter().map(|entry| &entry.gateways)), &mut visit);
    of_matches("tls", tls.iter().map(|rule| rule.matches.iter().map(|entry| &entry.gateways)), &mut visit);
    of_matches("tcp", tcp.iter().map(|rule| rule.matches.iter().map(|entry| &entry.gateways)), &mut visit);
}

/// Visits the gateways of each match of each rule in the field `list`.
fn of_matches<'g>(
    list: &str,
    rules: impl Iterator<Item: Iterator<Item = &'g Vec<String>>>,
    visit: &mut impl FnMut(&[String], &Path<'_>),
) {
    let root = Path::root("spec");
    for (number, matches) in rules.enumerate() {
        let rule = root.item(list, number);
        for (number, gateways) in matches.enumerate() {
            visit(gateways, &rule.item("match", number));
        }
    }
}

fn of_destination(
    virtual_service: &MeantVirtualService<'_>,
    (destination, effect): (&Target, &str),
    dangling: &Dangling,
    known: &Known<'_>,
    guesses: &mut Guesses,
) -> Problem {
    let Known { services, clusters, .. } = known;
    let Target { host, subset, path, .. } = destination;
    match dangling {
        Dangling::Host => {
            if let Some(target) = services.target_of(host) {
                let message =
                    format!("{host} is another name of {target}, which no Service or ServiceEntry has: {effect}");
                return problem(virtual_service, &format!("{path}.host"), message, None);
            }
            let message = format!("no Service or ServiceEntry has the host {host}: {effect}");
            problem(virtual_service, &format!("{path}.host"), message, guesses.hosts.of(host, "", || known.hosts()))
        }
        Dangling::Port(port) => {
            let message = format!("{host} has no port {port}: {effect}");
            problem(virtual_service, &format!("{path}.port.number"), message, None)
        }
        Dangling::Subset => {
            let known = clusters.subsets_of(host);
            let message = match known.as_slice() {
                [] => format!("no DestinationRule gives {host} a subset {subset}: {effect}"),
                known => {
                    format!("the DestinationRule of {host} has no subset {subset} but {}: {effect}", known.join(", "))
                }
            };
            let nearest = guesses.subsets.of(subset, host, || known);
            problem(virtual_service, &format!("{path}.subset"), message, nearest)
        }
    }
}

fn of_delegate(
    virtual_service: &MeantVirtualService<'_>,
    rule: &str,
    missing: &Missing,
    delegates: &Delegates<'_, '_>,
    guesses: &mut Guesses,
) -> Problem {
    let path = format!("{rule}.delegate");
    match missing {
        Missing::Unknown(name) => {
            let message = format!("there is no VirtualService {name} without hosts: the rule is left out");
            problem(virtual_service, &path, message, guesses.delegates.of(name, "", || delegates.names()))
        }
        Missing::HasHosts(name) => {
            let message = format!("the VirtualService {name} has hosts, so it is no delegate: the rule is left out");
            problem(virtual_service, &path, message, None)
        }
        Missing::NotExported(name) => {
            let namespace = &virtual_service.name.namespace;
            let message = format!("the VirtualService {name} is not exported to {namespace}: the rule is left out");
            problem(virtual_service, &path, message, None)
        }
    }
}

fn problem(virtual_service: &MeantVirtualService<'_>, path: &str, message: String, nearest: Option<String>) -> Problem {
    let problem = Problem::new(Severity::Reference, path, message)
        .with_resource(virtual_service.name.clone())
        .with_place(virtual_service.resource.place(path));
    match nearest {
        Some(name) => problem.with_help(format!("did you mean {name}?")),
        None => problem,
    }
}

/// What destinations may name.
struct Known<'a> {
    services: &'a Services,
    clusters: &'a Clusters<'a>,
    /// Found when the first one is missing.
    hosts: OnceCell<Vec<&'a str>>,
}

impl<'a> Known<'a> {
    fn hosts(&self) -> &[&'a str] {
        let all = || self.services.visible().into_iter().map(|service| service.host.as_str()).collect();
        self.hosts.get_or_init(all)
    }
}

/// What may be meant by the names that are missing, by their sorts.
#[derive(Default)]
struct Guesses {
    hosts: Guessed,
    subsets: Guessed,
    gateways: Guessed,
    delegates: Guessed,
}

/// What may be meant by names of one sort: by name, and what it is a name within.
#[derive(Default)]
struct Guessed(HashMap<(String, String), Option<String>>);

impl Guessed {
    /// The one of `known` that may be meant by `name`; the first names only are looked at.
    fn of<K>(&mut self, name: &str, within: &str, known: impl FnOnce() -> K) -> Option<String>
    where
        K: IntoIterator<Item: AsRef<str>>,
    {
        let key = (name.to_owned(), within.to_owned());
        if let Some(guessed) = self.0.get(&key) {
            return guessed.clone();
        }
        if self.0.len() == GUESSED {
            return None;
        }
        let nearest = nearest(name, known());
        self.0.insert(key, nearest.clone());
        nearest
    }
}

/// The known name that looks most like `name`, if one does. Domains that both are in make no names alike.
fn nearest(name: &str, known: impl IntoIterator<Item: AsRef<str>>) -> Option<String> {
    let likeness = |known: &str| {
        let (one, other) = apart(name, known);
        strsim::jaro_winkler(one, other)
    };
    let scored = known.into_iter().map(|known| (likeness(known.as_ref()), known));
    let best = scored.filter(|(score, _)| *score > 0.85).max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.map(|(_, known)| known.as_ref().to_owned())
}

/// Two names without the labels that both end in.
fn apart<'a>(mut one: &'a str, mut other: &'a str) -> (&'a str, &'a str) {
    while let (Some((first, last)), Some((second, same))) = (one.rsplit_once('.'), other.rsplit_once('.'))
        && last == same
    {
        (one, other) = (first, second);
    }
    (one, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_domain_are_alike_by_their_own_part() {
        let within = |names: [&str; 2]| names.map(|name| format!("{name}.default.svc.cluster.local"));
        let known = within(["pods", "reviews"]);
        for (name, meant) in [("review", Some(&known[1])), ("dis", None), ("ratings", None)] {
            let [name, _] = within([name, ""]);
            assert_eq!(nearest(&name, &known).as_ref(), meant, "{name}");
        }
        let misspelt = "reviews.defualt.svc.cluster.local";
        assert_eq!(nearest(misspelt, &known).as_ref(), Some(&known[1]));
        assert_eq!(nearest("shop.exampel.com", ["shop.example.com"]).as_deref(), Some("shop.example.com"));
        assert_eq!(nearest("web.example.com", ["api.example.com"]), None);
    }

    #[test]
    fn each_missing_name_is_compared_once_and_no_more_than_the_first() {
        let (mut guessed, mut asked) = (Guessed::default(), 0);
        for _ in 0..3 {
            for number in 0..GUESSED + 10 {
                let guess = guessed.of(&format!("reviews-{number}"), "", || {
                    asked += 1;
                    ["ratings", "reviews"]
                });
                assert_eq!(guess.as_deref(), (number < GUESSED).then_some("reviews"));
            }
        }
        assert_eq!(asked, GUESSED);
        let mut subsets = Guessed::default();
        assert_eq!(subsets.of("canary-2", "a.test", || ["canary"]).as_deref(), Some("canary"));
        assert_eq!(subsets.of("canary-2", "b.test", || ["v1"]), None, "a subset is one of its host");
    }
}
