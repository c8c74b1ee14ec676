//! localityLbSetting and zoneAwareLbSetting (VD17 to VD22).

use std::collections::{HashMap, HashSet};

use super::Findings;
use crate::compile::path::Path;
use crate::config::{Distribute, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting};

/// The labels that say where an endpoint is.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// Judges one localityLbSetting. `outlier`: an outlierDetection stands beside it.
pub(crate) fn judge(setting: &LocalityLoadBalancerSetting, path: &Path<'_>, outlier: bool, findings: &mut Findings) {
    let LocalityLoadBalancerSetting { distribute, failover, failover_priority, enabled: _ } = setting;
    if !distribute.is_empty() && !failover.is_empty() {
        findings.error("VD17", &path.field("failover"), "`distribute` and `failover` cannot be together");
    }
    if !failover.is_empty() {
        topology(failover_priority, "VD18", "beside `failover`", path, findings);
    }
    self::distribute(distribute, path, findings);
    let pairs = failover.iter().map(|entry| (entry.from.as_str(), entry.to.as_str()));
    self::failover(pairs, path, findings);
    needs_outlier(path, (!failover.is_empty(), !failover_priority.is_empty()), outlier, findings);
}

/// Judges one zoneAwareLbSetting. `outlier`: an outlierDetection stands beside it.
pub(crate) fn zone_aware(
    setting: &ZoneAwareLoadBalancerSetting,
    path: &Path<'_>,
    outlier: bool,
    findings: &mut Findings,
) {
    let ZoneAwareLoadBalancerSetting { enabled: _, failover, failover_priority, min_cluster_size: _ } = setting;
    topology(
        failover_priority,
        "VD22",
        "in zoneAwareLbSetting, which goes by regions and zones itself",
        path,
        findings,
    );
    let pairs = failover.iter().map(|entry| (entry.from.as_str(), entry.to.as_str()));
    self::failover(pairs, path, findings);
    needs_outlier(path, (!failover.is_empty(), !failover_priority.is_empty()), outlier, findings);
}

fn topology(priority: &[String], rule: &'static str, why: &str, path: &Path<'_>, findings: &mut Findings) {
    for (index, label) in priority.iter().enumerate().filter(|(_, label)| TOPOLOGY.contains(&label.as_str())) {
        findings.error(rule, &path.item("failoverPriority", index), format!("`{label}` cannot be {why}"));
    }
}

fn needs_outlier(path: &Path<'_>, (failover, priority): (bool, bool), outlier: bool, findings: &mut Findings) {
    if !outlier && (failover || priority) {
        let name = if failover { "failover" } else { "failoverPriority" };
        findings
            .warning("VD21", &path.field(name), format!("`{name}` has no effect without outlierDetection"))
            .help("set outlierDetection in the same policy: it finds out which endpoints to leave");
    }
}

fn failover<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, path: &Path<'_>, findings: &mut Findings) {
    for (index, (from, to)) in pairs.enumerate() {
        let path = path.item("failover", index);
        if from == to {
            findings.error("VD20", &path, format!("failover from `{from}` leads to the same region"));
        }
        for (name, region) in [("from", from), ("to", to)] {
            if region.contains(['/', '*']) {
                findings.error("VD20", &path.field(name), format!("`{region}` is not a region: no `/` and no `*`"));
            }
        }
    }
}

fn distribute(distribute: &[Distribute], path: &Path<'_>, findings: &mut Findings) {
    let mut sources = Localities::default();
    for (index, Distribute { from, to }) in distribute.iter().enumerate() {
        let path = path.item("distribute", index);
        if let Err(message) = sources.add(from) {
            findings.error("VD19", &path.field("from"), message);
        }
        let mut targets = Localities::default();
        for (locality, weight) in to {
            let path = path.entry("to", locality);
            if let Err(message) = targets.add(locality) {
                findings.error("VD19", &path, message);
            }
            if !(1..=100).contains(weight) {
                findings.error("VD19", &path, format!("the weight {weight} is not within 1..=100"));
            }
        }
        let sum: u64 = to.values().copied().map(u64::from).sum();
        if sum != 100 {
            findings.error("VD19", &path.field("to"), format!("the weights sum up to {sum}, not to 100"));
        }
    }
}

/// Localities of which none may be part of another before it.
#[derive(Default)]
struct Localities<'a> {
    everything: bool,
    /// Regions that stand for themselves, and with them all of their zones.
    regions: HashSet<&'a str>,
    zones: HashMap<&'a str, Zones<'a>>,
}

/// The zones of one region.
#[derive(Default)]
struct Zones<'a> {
    /// Zones that stand for themselves, and with them all of their subzones.
    whole: HashSet<&'a str>,
    subzones: HashMap<&'a str, HashSet<&'a str>>,
}

impl<'a> Localities<'a> {
    fn add(&mut self, locality: &'a str) -> Result<(), String> {
        let stars = locality.matches('*').count();
        if stars > 1 || (stars == 1 && !locality.ends_with('*')) {
            return Err(format!("`{locality}` is wrong: one `*`, at the end, is all that a locality can have"));
        }
        let mut parts = locality.splitn(3, '/');
        let (region, zone, subzone) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if region.is_empty() || zone == Some("") || subzone == Some("") {
            return Err(format!("`{locality}` is not a locality: a part of it is empty"));
        }
        let added = !self.everything
            && match (zone, subzone) {
                (None, _) => self.add_region(region),
                (Some(zone), None) => self.add_zone(region, zone),
                (Some(zone), Some(subzone)) => self.add_subzone(region, zone, subzone),
            };
        if added { Ok(()) } else { Err(format!("`{locality}` overlaps with a locality before it")) }
    }

    fn add_region(&mut self, region: &'a str) -> bool {
        self.everything |= region == "*";
        !self.zones.contains_key(region) && self.regions.insert(region)
    }

    /// The zones of a region that does not stand for itself.
    fn zones(&mut self, region: &'a str) -> Option<&mut Zones<'a>> {
        if self.regions.contains(region) {
            return None;
        }
        Some(self.zones.entry(region).or_default())
    }

    fn add_zone(&mut self, region: &'a str, zone: &'a str) -> bool {
        self.zones(region).is_some_and(|zones| {
            !zones.whole.contains("*") && !zones.subzones.contains_key(zone) && zones.whole.insert(zone)
        })
    }

    fn add_subzone(&mut self, region: &'a str, zone: &'a str, subzone: &'a str) -> bool {
        self.zones(region).is_some_and(|zones| {
            if zones.whole.contains("*") || zones.whole.contains(zone) {
                return false;
            }
            let subzones = zones.subzones.entry(zone).or_default();
            !subzones.contains("*") && subzones.insert(subzone)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(localities: &[&'static str]) -> Vec<bool> {
        let mut set = Localities::default();
        localities.iter().map(|locality| set.add(locality).is_ok()).collect()
    }

    #[test]
    fn a_locality_overlaps_with_the_whole_of_which_it_is_a_part() {
        assert_eq!(added(&["a/b/c", "a/b/d", "a/e", "f"]), [true; 4]);
        assert_eq!(added(&["a", "a/b"]), [true, false]);
        assert_eq!(added(&["a/b", "a"]), [true, false]);
        assert_eq!(added(&["a/*", "a/b", "a/b/c"]), [true, false, false]);
        assert_eq!(added(&["a/b", "a/b/c", "a/b"]), [true, false, false]);
        assert_eq!(added(&["a/b/*", "a/b/c", "a/c/*"]), [true, false, true]);
        assert_eq!(added(&["a/b/c", "a/b"]), [true, false]);
        assert_eq!(added(&["*", "a"]), [true, false]);
        assert_eq!(added(&["a", "*"]), [true, true]);
        assert_eq!(added(&["*", "*"]), [true, false]);
    }

    #[test]
    fn a_locality_has_one_to_three_parts_and_a_star_at_the_end() {
        assert_eq!(added(&["", "a//c", "a/", "a/*/c", "*/*", "*a"]), [false; 6]);
        assert_eq!(added(&["a/b/c/d"]), [true]);
    }
}
