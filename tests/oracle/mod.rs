//! A slow and literal reading of Istio's text: which rule a request meets. It reads the words as strings and knows
//! nothing of the compiled tables it judges.

use std::collections::BTreeMap;

use mesh_router::config::{
    Config, HttpMatchRequest, HttpRoute, Resource, Service, ServiceEntry, StringMatch, VirtualService,
};

/// A request, as text.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) scheme: String,
    /// With its port, as sent.
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// In the order they were sent, names in any case.
    pub(crate) headers: Vec<(String, String)>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// `None`: a client of the mesh. Else the port of a gateway's listener.
    pub(crate) listener: Option<u16>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Rule and match of a VirtualService.
    Rule {
        namespace: String,
        name: String,
        rule: usize,
        entry: Option<usize>,
    },
    /// A service without a rule of its own: the kind, namespace and name of its resource.
    Service(String),
    NoRoute,
    Unknown,
}

const DOMAIN: &str = "cluster.local";

pub(crate) fn decide(config: &Config, asker: &Asker, asked: &Asked) -> Decision {
    let hosts = match asker.listener {
        None => mesh_hosts(config, asker, port_of(asked)),
        Some(port) => gateway_hosts(config, asker, port),
    };
    let host = host_of(&asked.authority).to_ascii_lowercase();
    let Some(found) = look_up(&hosts, &host) else { return Decision::Unknown };
    for candidate in &found.candidates {
        let holds = match candidate.entry {
            None => uri_holds(None, false, asked),
            Some((_, entry)) => match_holds(entry, asked),
        };
        if holds {
            return candidate.decision.clone();
        }
    }
    Decision::NoRoute
}

/// A rule that may hold, with its match block if it has one.
#[derive(Clone)]
struct Candidate<'a> {
    decision: Decision,
    entry: Option<(usize, &'a HttpMatchRequest)>,
}

/// Some names and the rules behind them.
struct Host<'a> {
    names: Vec<String>,
    candidates: Vec<Candidate<'a>>,
}

fn look_up<'h, 'a>(hosts: &'h [Host<'a>], host: &str) -> Option<&'h Host<'a>> {
    if let Some(found) = hosts.iter().find(|known| known.names.iter().any(|name| name == host)) {
        return Some(found);
    }
    let mut best: Option<(&str, &Host<'a>)> = None;
    for known in hosts {
        for name in known.names.iter().filter(|name| name.starts_with('*') && name.len() > 1) {
            let longer = best.is_none_or(|(other, _)| name.len() > other.len());
            if host.ends_with(&name[1..]) && host.len() > name.len() - 1 && longer {
                best = Some((name, known));
            }
        }
    }
    best.map(|(_, known)| known).or_else(|| hosts.iter().find(|known| known.names.iter().any(|name| name == "*")))
}

// -- the mesh

/// The hosts that listen on `port`, each VirtualService in turn.
fn mesh_hosts<'a>(config: &'a Config, asker: &Asker, port: u16) -> Vec<Host<'a>> {
    let services = services(config, asker);
    let here: Vec<_> = services.iter().filter(|service| service.protocol(port).is_some()).collect();
    let rules: Vec<_> =
        visible(config, asker).into_iter().filter(|vs| gateways(vs).contains(&"mesh".to_owned())).collect();
    let mut hosts = Vec::new();
    for vs in &rules {
        let candidates = candidates(vs, "mesh", asker, port);
        if candidates.is_empty() {
            continue;
        }
        let host = |names: Vec<String>| Host { names, candidates: candidates.clone() };
        let all_wanted: Vec<_> = vs.spec.hosts.iter().map(|host| complete(host, namespace(vs))).collect();
        // Where it has one service its other hosts are too.
        let has = |service: &&Known| {
            all_wanted.contains(&service.host)
                || owner(&rules, &service.host).is_some_and(|owner| std::ptr::eq(owner, *vs))
        };
        let has_one =
            here.iter().copied().filter(|service| service.protocol(port) == Some(true)).any(|known| has(&known));
        for wanted in &all_wanted {
            // A wildcard meets what it covers and what covers it.
            let meets = |service: &Known| {
                covers(wanted, &service.host) || wanted.starts_with('*') && covers(&service.host, wanted)
            };
            let on_port: Vec<_> = here.iter().filter(|service| meets(service)).collect();
            // There is no listener of Istio's for a host that is no service but on port 80; here there is on every port.
            let known = services.iter().any(meets);
            if on_port.is_empty() && (port == 80 || has_one || !known) {
                hosts.push(host(vec![wanted.clone()]));
            }
            for service in on_port.into_iter().filter(|service| service.protocol(port) == Some(true)) {
                if !wanted.starts_with('*')
                    || owner(&rules, &service.host).is_some_and(|owner| std::ptr::eq(owner, *vs))
                {
                    hosts.push(host(service.names(&here)));
                }
            }
        }
    }
    for service in &here {
        let implicit = Candidate { decision: Decision::Service(service.resource.clone()), entry: None };
        hosts.push(Host { names: service.names(&here), candidates: vec![implicit] });
    }
    hosts
}

/// The first VirtualService with the most specific host that covers a service, whatever its rules.
fn owner<'a>(rules: &[&'a Resource<VirtualService>], service: &str) -> Option<&'a Resource<VirtualService>> {
    let hosts = rules.iter().flat_map(|vs| vs.spec.hosts.iter().map(|host| (complete(host, namespace(vs)), *vs)));
    let covering = hosts.filter(|(host, _)| covers(host, service));
    covering.min_by_key(|(host, _)| (host.starts_with('*'), std::cmp::Reverse(host.len()))).map(|(_, vs)| vs)
}

struct Known {
    host: String,
    resource: String,
    /// Its host first, then what is derived from it.
    names: Vec<String>,
    /// Numbers, and whether they speak HTTP as far as is known.
    ports: Vec<(u16, bool)>,
}

impl Known {
    /// Its names, but for those that are hosts of others.
    fn names(&self, here: &[&Known]) -> Vec<String> {
        let own = |name: &&String| **name == self.host || here.iter().all(|other| other.host != **name);
        self.names.iter().filter(own).cloned().collect()
    }

    /// Whether a port of it speaks HTTP; `None`: it has no such port.
    fn protocol(&self, port: u16) -> Option<bool> {
        self.ports.iter().find(|(number, _)| *number == port).map(|(_, http)| *http)
    }
}

fn services(config: &Config, asker: &Asker) -> Vec<Known> {
    // Whether of another namespace, of ServiceEntries, for all; the name.
    type Rank = (bool, bool, bool, String);
    let mut all: Vec<(Rank, String, Known)> = Vec::new();
    for service in &config.services {
        let rank = (namespace(service) != asker.namespace, false, true, service.meta.name.clone());
        all.push((rank, String::new(), from_kubernetes(service, asker)));
    }
    for entry in &config.service_entries {
        let own = namespace(entry);
        if let Some(group) = is_exported(&entry.spec.export_to, own.clone(), &asker.namespace) {
            let rank = (own != asker.namespace, true, group == 3, entry.meta.name.clone());
            let ServiceEntry { resolution, export_to, workload_selector, .. } = &entry.spec;
            let kin = format!("{own} {resolution:?} {export_to:?} {workload_selector:?} {:?}", entry.meta.labels);
            all.extend(from_entry(entry).into_iter().map(|known| (rank.clone(), kin.clone(), known)));
        }
    }
    all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let mut services: Vec<(String, Known)> = Vec::new();
    for (_, kin, known) in all {
        match services.iter_mut().find(|(_, first)| first.host == known.host) {
            Some((first_kin, first)) if *first_kin == kin => {
                let more: Vec<_> = known.ports.into_iter().filter(|port| first.protocol(port.0).is_none()).collect();
                first.ports.extend(more);
            }
            Some(_) => {}
            None => services.push((kin, known)),
        }
    }
    services.into_iter().map(|(_, service)| service).collect()
}

fn from_kubernetes(service: &Resource<Service>, asker: &Asker) -> Known {
    let (name, own) = (&service.meta.name, namespace(service));
    let host = format!("{name}.{own}.svc.{DOMAIN}");
    let mut names = vec![host.clone(), format!("{host}."), format!("{name}.{own}.svc"), format!("{name}.{own}")];
    if own == asker.namespace {
        names.push(name.clone());
    }
    let http =
        |name: &str| !["tcp", "tls", "https", "mongo", "mysql", "redis"].contains(&name.split('-').next().unwrap());
    let ports = service.spec.ports.iter().map(|port| (port.port as u16, http(&port.name))).collect();
    Known { host, resource: format!("Service {own}/{name}"), names, ports }
}

fn from_entry(entry: &Resource<ServiceEntry>) -> Vec<Known> {
    let http = |protocol: &str| !["TCP", "TLS", "HTTPS", "MONGO", "MYSQL", "REDIS"].contains(&protocol);
    let ports: Vec<_> = entry.spec.ports.iter().map(|port| (port.number as u16, http(&port.protocol))).collect();
    let known = |host: &String| Known {
        host: host.clone(),
        resource: format!("ServiceEntry {}/{}", namespace(entry), entry.meta.name),
        names: vec![host.clone(), format!("{host}.")],
        ports: ports.clone(),
    };
    entry.spec.hosts.iter().map(known).collect()
}

// -- gateways

fn gateway_hosts<'a>(config: &'a Config, asker: &Asker, port: u16) -> Vec<Host<'a>> {
    let mut all: Vec<_> = config.gateways.iter().collect();
    all.sort_by_key(|gateway| (gateway.meta.creation_timestamp, gateway.meta.name.clone(), namespace(gateway)));
    let mut hosts: Vec<(String, Vec<Candidate<'a>>)> = Vec::new();
    let mut taken: Vec<(String, String, *const Resource<VirtualService>)> = Vec::new();
    for gateway in all {
        let selected = gateway.spec.selector.iter().all(|(key, value)| asker.labels.get(key) == Some(value));
        if !asker.labels.is_empty() && !selected {
            continue;
        }
        let name = format!("{}/{}", namespace(gateway), gateway.meta.name);
        for server in
            gateway.spec.servers.iter().filter(|server| server.port.as_ref().unwrap().number == u32::from(port))
        {
            for vs in visible(config, asker).into_iter().filter(|vs| gateways(vs).contains(&name)) {
                for host in served(&server.hosts, namespace(gateway), vs) {
                    let key = (host.clone(), name.clone(), std::ptr::from_ref(vs));
                    if taken.contains(&key) {
                        continue;
                    }
                    taken.push(key);
                    let more = candidates(vs, &name, asker, port);
                    if more.is_empty() {
                        // It does not apply here, and takes its host from nobody.
                        continue;
                    }
                    match hosts.iter_mut().find(|(known, _)| *known == host) {
                        Some((_, known)) => known.extend(more),
                        None => hosts.push((host, more)),
                    }
                }
            }
        }
    }
    let catch_alls_last = |(host, candidates): (String, Vec<Candidate<'a>>)| {
        let all = |candidate: &Candidate<'_>| candidate.entry.is_none_or(|(_, entry)| is_catch_all(entry));
        let (last, mut first): (Vec<_>, Vec<_>) = candidates.into_iter().partition(all);
        first.extend(last);
        Host { names: vec![host], candidates: first }
    };
    hosts.into_iter().map(catch_alls_last).collect()
}

fn served(server: &[String], gateway: String, vs: &Resource<VirtualService>) -> Vec<String> {
    let mut served = Vec::new();
    for entry in server {
        let (from, host) = entry.split_once('/').unwrap_or(("*", entry));
        if from != "*" && from != namespace(vs) && !(from == "." && gateway == namespace(vs)) {
            continue;
        }
        for wanted in vs.spec.hosts.iter().map(|host| complete(host, namespace(vs))) {
            let narrower =
                if covers(host, &wanted) { Some(wanted) } else { covers(&wanted, host).then(|| host.to_owned()) };
            served.extend(narrower.filter(|host| !served.contains(host)));
        }
    }
    served
}

// -- VirtualServices

fn visible<'a>(config: &'a Config, asker: &Asker) -> Vec<&'a Resource<VirtualService>> {
    let mut visible: Vec<_> = config
        .virtual_services
        .iter()
        .filter_map(|vs| Some((is_exported(&vs.spec.export_to, namespace(vs), &asker.namespace)?, vs)))
        .collect();
    visible.sort_by_key(|(group, vs)| (*group, vs.meta.creation_timestamp, vs.meta.name.clone(), namespace(vs)));
    visible.into_iter().map(|(_, vs)| vs).collect()
}

/// 1: private, 2: by name, 3: to all.
fn is_exported(to: &[String], own: String, client: &str) -> Option<u8> {
    if to.is_empty() {
        return Some(3);
    }
    to.iter().find_map(|to| match to.as_str() {
        "*" => Some(3),
        "." => (own == client).then_some(1),
        named => (named == client).then_some(if own == client { 1 } else { 2 }),
    })
}

fn gateways(vs: &Resource<VirtualService>) -> Vec<String> {
    if vs.spec.gateways.is_empty() {
        return vec!["mesh".to_owned()];
    }
    vs.spec.gateways.iter().map(|gateway| gateway_name(gateway, namespace(vs))).collect()
}

fn gateway_name(gateway: &str, own: String) -> String {
    if gateway == "mesh" || gateway.contains('/') { gateway.to_owned() } else { format!("{own}/{gateway}") }
}

/// The matches that can hold for this asker at all, cut after the first that always holds.
fn candidates<'a>(vs: &'a Resource<VirtualService>, gateway: &str, asker: &Asker, port: u16) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    let decision = |rule, entry| Decision::Rule { namespace: namespace(vs), name: vs.meta.name.clone(), rule, entry };
    for (number, HttpRoute { matches, .. }) in vs.spec.http.iter().enumerate() {
        if matches.is_empty() {
            candidates.push(Candidate { decision: decision(number, None), entry: None });
            return candidates;
        }
        for (which, entry) in matches.iter().enumerate() {
            if entry.port != 0 && entry.port != u32::from(port) {
                continue;
            }
            let named: Vec<_> = entry.gateways.iter().map(|gateway| gateway_name(gateway, namespace(vs))).collect();
            let source = entry.source_labels.iter().all(|(key, value)| asker.labels.get(key) == Some(value))
                && (entry.source_namespace.is_empty() || entry.source_namespace == asker.namespace);
            let admitted = if named.is_empty() { source } else { named.contains(&gateway.to_owned()) };
            if admitted {
                candidates.push(Candidate { decision: decision(number, Some(which)), entry: Some((which, entry)) });
                if is_catch_all(entry) {
                    return candidates;
                }
            }
        }
    }
    candidates
}

fn is_catch_all(entry: &HttpMatchRequest) -> bool {
    let uri = match &entry.uri {
        None => true,
        Some(StringMatch { exact: None, prefix: None, regex: None }) => true,
        Some(StringMatch { prefix: Some(prefix), .. }) => prefix == "/",
        Some(StringMatch { regex: Some(regex), .. }) => regex == ".*",
        Some(_) => false,
    };
    uri && entry.headers.is_empty()
        && entry.without_headers.is_empty()
        && entry.query_params.is_empty()
        && entry.method.is_none()
        && entry.authority.is_none()
        && entry.scheme.is_none()
}

// -- matching

fn match_holds(entry: &HttpMatchRequest, asked: &Asked) -> bool {
    let simple =
        |matcher: &Option<StringMatch>, text: &str| matcher.as_ref().is_none_or(|matcher| text_holds(matcher, text));
    uri_holds(entry.uri.as_ref(), entry.ignore_uri_case, asked)
        && simple(&entry.scheme, &asked.scheme)
        && simple(&entry.method, &asked.method)
        && simple(&entry.authority, &asked.authority)
        && entry.headers.iter().all(|(name, matcher)| header_holds(name, matcher.as_ref(), asked))
        && entry.without_headers.iter().all(|(name, matcher)| without_holds(name, matcher.as_ref(), asked))
        && entry.query_params.iter().all(|(name, matcher)| query_holds(name, matcher.as_ref(), asked))
}

fn uri_holds(matcher: Option<&StringMatch>, ignore_case: bool, asked: &Asked) -> bool {
    let lower = |text: &str| if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
    asked.path.starts_with('/')
        && match matcher {
            Some(StringMatch { exact: Some(exact), .. }) => lower(&asked.path) == lower(exact),
            Some(StringMatch { prefix: Some(prefix), .. }) => lower(&asked.path).starts_with(&lower(prefix)),
            Some(StringMatch { regex: Some(regex), .. }) => whole(regex, &asked.path),
            _ => true,
        }
}

fn text_holds(matcher: &StringMatch, text: &str) -> bool {
    match matcher {
        StringMatch { exact: Some(exact), .. } => text == exact,
        StringMatch { prefix: Some(prefix), .. } => text.starts_with(prefix),
        StringMatch { regex: Some(regex), .. } => whole(regex, text),
        _ => true,
    }
}

fn whole(regex: &str, text: &str) -> bool {
    regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(text)
}

fn asks_presence(matcher: Option<&StringMatch>) -> bool {
    match matcher {
        None => true,
        Some(StringMatch { exact: None, prefix: None, regex }) => regex.as_deref().is_none_or(|regex| regex == "*"),
        Some(_) => false,
    }
}

fn lines<'a>(name: &'a str, asked: &'a Asked) -> Vec<String> {
    match name.to_ascii_lowercase().as_str() {
        ":method" => vec![asked.method.clone()],
        ":scheme" => vec![asked.scheme.clone()],
        ":authority" | "host" => vec![asked.authority.clone()],
        ":path" => {
            let query = asked.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
            vec![format!("{}{query}", asked.path)]
        }
        name => {
            let named = asked.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.clone()).collect()
        }
    }
}

fn header_holds(name: &str, matcher: Option<&StringMatch>, asked: &Asked) -> bool {
    let lines = lines(name, asked);
    if asks_presence(matcher) { !lines.is_empty() } else { lines.iter().any(|line| text_holds(matcher.unwrap(), line)) }
}

fn without_holds(name: &str, matcher: Option<&StringMatch>, asked: &Asked) -> bool {
    let mut lines = lines(name, asked);
    if asks_presence(matcher) {
        return lines.is_empty();
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    !lines.iter().any(|line| text_holds(matcher.unwrap(), line))
}

fn query_holds(name: &str, matcher: Option<&StringMatch>, asked: &Asked) -> bool {
    let pairs = asked.query.as_deref().unwrap_or("").split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) = pairs.find(|(key, _)| *key == name) else { return false };
    asks_presence(matcher) || text_holds(matcher.unwrap(), value)
}

// -- names

fn namespace<T>(resource: &Resource<T>) -> String {
    resource.meta.namespace.clone().unwrap_or_else(|| "default".to_owned())
}

fn complete(host: &str, own: String) -> String {
    let short = !host.contains('.') && !host.starts_with('*');
    if short { format!("{host}.{own}.svc.{DOMAIN}") } else { host.to_ascii_lowercase() }
}

fn covers(wide: &str, narrow: &str) -> bool {
    match (wide.strip_prefix('*'), narrow.strip_prefix('*')) {
        (None, None) => wide == narrow,
        (None, Some(_)) => false,
        (Some(suffix), None) => narrow.ends_with(suffix) && narrow.len() > suffix.len(),
        (Some(suffix), Some(other)) => other.ends_with(suffix),
    }
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // What is no number there is no port, and no part of the host either.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    }
}

fn port_of(asked: &Asked) -> u16 {
    let port = asked.authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(if asked.scheme == "https" { 443 } else { 80 })
}
