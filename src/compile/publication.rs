//! What publications build on each other: the last good resources and the living clusters.

use std::collections::HashSet;
use std::sync::Arc;

use super::given::Given;
use super::report::{Quarantined, Report};
use super::{Purpose, certificate_paths, compile, delegate, names, validate};
#[cfg(feature = "file")]
use super::{endpoints::Sources, services::Services};
use crate::config::{Config, Resource};
use crate::dice::Dice;
use crate::error::{Error, ErrorKind, ResourceName};
use crate::options::{MeshOptions, Workload};
use crate::request::GatewayOrigin;
use crate::route::RegexCache;
use crate::snapshot::Snapshot;
use crate::upstream::{EndpointConfig, Names, Registry, ResolvedName};

/// Names that are to be looked up.
pub(crate) type NeededNames = Vec<Arc<ResolvedName>>;

/// The state that one publication leaves to the next.
pub(crate) struct Publication {
    options: Arc<MeshOptions>,
    workload: Arc<Workload>,
    registry: Registry,
    names: Names,
    /// The resources that serve.
    serving: Config,
    /// What the judgment of the last configuration had to say, and what was kept back.
    judged: Report,
    /// The gateways that applications of this process stand for.
    gateways: Vec<GatewayOrigin>,
    /// Endpoints that the program gives.
    given: Given,
}

/// A configuration after judgment: what is good, and what is not and by which name.
pub(crate) struct Judged {
    good: Config,
    bad: Vec<ResourceName>,
    report: Report,
    /// Those of the good resources, compiled once for judgment and matching.
    regexes: RegexCache,
}

impl Publication {
    pub(crate) fn new(options: Arc<MeshOptions>, workload: Arc<Workload>, dice: &Dice) -> Self {
        Self {
            options,
            workload,
            registry: Registry::new(dice),
            names: Names::default(),
            serving: Config::default(),
            judged: Report::default(),
            gateways: Vec::new(),
            given: Given::default(),
        }
    }

    /// The same for one publication that nobody sees: of what is living there is nothing in it.
    pub(crate) fn rehearsal(&self) -> Self {
        let Self { options, workload, registry: _, names: _, serving, judged: _, gateways, given } = self;
        let (serving, gateways, given) = (serving.clone(), gateways.clone(), given.clone());
        Self { serving, gateways, given, ..Self::new(options.clone(), workload.clone(), &Dice::seeded(0)) }
    }

    /// Publishes what is good. A bad resource is replaced by its last good version, or left out.
    pub(crate) fn publish(&mut self, judged: Judged, version: u64) -> (Snapshot, Report) {
        let Judged { mut good, mut bad, mut report, mut regexes } = judged;
        let mut kept = HashSet::new();
        let mut kept_back = Vec::new();
        // What serves of one may be too much for another. What served together is not: this ends.
        while bad.iter().any(|resource| !kept_back.contains(resource)) {
            kept.extend(keep_last_good(&mut good, &self.serving, &bad));
            bad.retain(|resource| !kept_back.contains(resource));
            kept_back.append(&mut bad);
            delegate::keep_back(&mut good, &mut report, &mut bad, &kept);
        }
        // A program may have given a new one of the same name, with which it is too much.
        kept.retain(|resource| !bad.contains(resource));
        report.quarantined.extend(kept_back.into_iter().map(|resource| {
            let last_good_serves = kept.contains(&resource);
            Quarantined { resource, last_good_serves }
        }));
        let published = self.compile(&good, &report, version, &mut regexes);
        (self.serving, self.judged) = (good, report);
        published
    }

    /// Compiles what is to serve, with all that there is to report of it beside its judgment.
    fn compile(&self, serving: &Config, judged: &Report, version: u64, regexes: &mut RegexCache) -> (Snapshot, Report) {
        let mut report = judged.clone();
        let snapshot = compile(serving, self.purpose(), version, regexes, &mut report);
        report.version = version;
        report.tell_of_last_good(judged.problems.len());
        report.sort();
        (snapshot, report)
    }

    /// The names that the services of a configuration need.
    #[cfg(feature = "file")]
    pub(crate) fn names_of(&self, judged: &Judged) -> NeededNames {
        let services = Services::new(&judged.good, &Sources::new(&judged.good), &self.options, &self.workload);
        let visible = services.visible();
        let names = visible.iter().flat_map(|service| service.names());
        let mut names: NeededNames = names.map(|name| self.names.get(name)).collect();
        names.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        names.dedup_by(|one, other| one.name() == other.name());
        names
    }

    /// Has the rules of one more gateway; `None` if they are there already.
    pub(crate) fn serve_gateway(&mut self, origin: &GatewayOrigin, version: u64) -> Option<(Snapshot, Report)> {
        if self.gateways.contains(origin) {
            return None;
        }
        self.gateways.push(origin.clone());
        Some(self.compile(&self.serving, &self.judged, version, &mut RegexCache::new()))
    }

    /// Changes what endpoints the program gives for a port of a host (`None`: nothing is given). A snapshot where that
    /// needs one: endpoints that were discovered make way, or come back. Otherwise `current` has what is new.
    pub(crate) fn give(
        &mut self,
        host: &str,
        port: u16,
        change: impl FnOnce(&mut Option<Vec<EndpointConfig>>),
        current: &Snapshot,
    ) -> Option<(Snapshot, Report)> {
        let host = self.full_name(host);
        let mut given = self.given.remove(&host, port);
        let was_given = given.is_some();
        change(&mut given);
        let is_given = given.is_some();
        if let Some(endpoints) = given {
            if was_given {
                current.publish_given(&host, port, &endpoints);
            }
            self.given.insert(&host, port, endpoints);
        }
        if was_given == is_given {
            return None;
        }
        let version = current.version() + 1;
        Some(self.compile(&self.serving, &self.judged, version, &mut RegexCache::new()))
    }

    /// The host that a program means, as clusters are named by it.
    pub(crate) fn full_name(&self, host: &str) -> String {
        names::complete(host, &self.workload.namespace, &self.options.domain)
    }

    fn purpose(&self) -> Purpose<'_> {
        let Self { options, workload, registry, names, gateways, given, serving: _, judged: _ } = self;
        Purpose { options, workload, registry, names, gateways, given }
    }
}

impl Judged {
    /// Judges every resource by itself.
    pub(crate) fn new(mut config: Config) -> Self {
        certificate_paths::resolve(&mut config);
        let mut report = Report { skipped: std::mem::take(&mut config.skipped), ..Report::default() };
        report.problems = std::mem::take(&mut config.problems);
        if let Some(half_read) = config.half_read.take() {
            validate::half_read(*half_read, &mut report);
        }
        let mut bad = std::mem::take(&mut config.rejected);
        let regexes = validate::keep_good(&mut config, &mut report, &mut bad);
        delegate::keep_back(&mut config, &mut report, &mut bad, &HashSet::new());
        Self { good: config, bad, report, regexes }
    }

    /// Takes every resource that could be read for good.
    pub(crate) fn unseen(mut config: Config) -> Self {
        certificate_paths::resolve(&mut config);
        (config.problems, config.half_read) = (Vec::new(), None);
        let (mut report, mut bad) = (Report::default(), Vec::new());
        delegate::keep_back(&mut config, &mut report, &mut bad, &HashSet::new());
        Self { good: config, bad, report, regexes: RegexCache::new() }
    }

    /// Refuses what a strict start refuses.
    pub(crate) fn strict(self) -> Result<Self, Error> {
        if !self.report.refuses_start() {
            return Ok(self);
        }
        let mut report = self.report;
        report.sort();
        report.problems.retain(|problem| problem.refuses_start());
        Err(Error::new(ErrorKind::Invalid, report.problems))
    }
}

/// Takes the resources named `bad` from the last publication into this one, and says which there were.
fn keep_last_good(good: &mut Config, last: &Config, bad: &[ResourceName]) -> HashSet<ResourceName> {
    let wanted: HashSet<&ResourceName> = bad.iter().collect();
    let mut kept = HashSet::new();
    let mut keep = Keep { wanted: &wanted, kept: &mut kept };
    keep.of_kind("VirtualService", &mut good.virtual_services, &last.virtual_services);
    keep.of_kind("DestinationRule", &mut good.destination_rules, &last.destination_rules);
    keep.of_kind("Gateway", &mut good.gateways, &last.gateways);
    keep.of_kind("ServiceEntry", &mut good.service_entries, &last.service_entries);
    keep.of_kind("WorkloadEntry", &mut good.workload_entries, &last.workload_entries);
    keep.of_kind("Service", &mut good.services, &last.services);
    keep.of_kind("EndpointSlice", &mut good.endpoint_slices, &last.endpoint_slices);
    keep.of_kind("Pod", &mut good.pods, &last.pods);
    keep.of_kind("Node", &mut good.nodes, &last.nodes);
    keep.of_kind("Secret", &mut good.secrets, &last.secrets);
    kept
}

struct Keep<'a> {
    wanted: &'a HashSet<&'a ResourceName>,
    kept: &'a mut HashSet<ResourceName>,
}

impl Keep<'_> {
    fn of_kind<T: Clone>(&mut self, kind: &str, good: &mut Vec<Resource<T>>, last: &[Resource<T>]) {
        for resource in last {
            let name = resource.name_of(kind);
            // A program may give two of one name, of which the first is good and the second is not.
            let serves_anew = || good.iter().any(|new| new.name_of(kind) == name);
            if self.wanted.contains(&name) && !serves_anew() {
                self.kept.insert(name);
                good.push(resource.clone());
            }
        }
    }
}
