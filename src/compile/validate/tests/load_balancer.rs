//! VD13 to VD23, and V1 in loadBalancer.

use super::{good, policy, says};

const AT: &str = "spec.trafficPolicy.loadBalancer";

fn balancer(fields: &str) -> String {
    policy(&format!("{{outlierDetection: {{}}, loadBalancer: {{{fields}}}}}"))
}

fn hash(fields: &str) -> String {
    balancer(&format!("consistentHash: {{{fields}}}"))
}

fn locality(fields: &str) -> String {
    balancer(&format!("localityLbSetting: {{{fields}}}"))
}

#[track_caller]
fn wrong(yaml: &str, rule: &str, path: &str) {
    says(yaml, &[&format!("error {rule} {AT}.{path}")]);
}

#[test]
fn v1_oneofs_of_balancers_have_one_member() {
    wrong(&balancer("simple: RANDOM, consistentHash: {useSourceIp: true}"), "V1", "consistentHash");
    wrong(&hash("httpHeaderName: a, useSourceIp: true"), "V1", "consistentHash.useSourceIp");
    wrong(&hash("useSourceIp: true, ringHash: {}, maglev: {tableSize: 7}"), "V1", "consistentHash.maglev");
}

#[test]
fn vd13_cookies_and_their_attributes_have_names() {
    good(&hash("httpCookie: {name: a, ttl: 0s, attributes: [{name: b}, {name: c}]}"));
    wrong(&hash("httpCookie: {ttl: 1s}"), "VD13", "consistentHash.httpCookie");
    wrong(&hash("httpCookie: {name: a, attributes: [{value: b}]}"), "VD13", "consistentHash.httpCookie.attributes[0]");
    let twice = hash("httpCookie: {name: a, attributes: [{name: b}, {name: b}]}");
    wrong(&twice, "VD13", "consistentHash.httpCookie.attributes[1].name");
}

#[test]
fn vd14_the_ring_size_stands_in_the_ring() {
    let warning = format!("warning VD14 {AT}.consistentHash.minimumRingSize");
    says(&hash("minimumRingSize: 1"), &[&warning]);
    let error = format!("error VD14 {AT}.consistentHash.minimumRingSize");
    says(&hash("minimumRingSize: 1, ringHash: {}"), &[&error, &warning]);
    good(&hash("ringHash: {minimumRingSize: 1}"));
}

#[test]
fn vd15_maglev_tables_are_prime() {
    for size in ["2", "7", "65537", "4999999"] {
        good(&hash(&format!("maglev: {{tableSize: {size}}}")));
    }
    for size in ["0", "4", "9", "65536", "5000011", "18446744073709551615"] {
        wrong(&hash(&format!("maglev: {{tableSize: {size}}}")), "VD15", "consistentHash.maglev.tableSize");
    }
    wrong(&hash("maglev: {}"), "VD15", "consistentHash.maglev.tableSize");
}

#[test]
fn vd16_one_kind_of_locality_settings() {
    wrong(&balancer("localityLbSetting: {}, zoneAwareLbSetting: {}"), "VD16", "zoneAwareLbSetting");
    good(&balancer("zoneAwareLbSetting: {minClusterSize: 1}"));
    wrong(&balancer("zoneAwareLbSetting: {minClusterSize: 0}"), "CRD", "zoneAwareLbSetting.minClusterSize");
}

#[test]
fn vd17_distribute_or_failover() {
    let both = "distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]";
    wrong(&locality(both), "VD17", "localityLbSetting.failover");
}

#[test]
fn vd18_failover_goes_by_regions_itself() {
    let labels = |label: &str| locality(&format!("failover: [{{from: a, to: b}}], failoverPriority: [x, {label}]"));
    for label in ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"] {
        wrong(&labels(label), "VD18", "localityLbSetting.failoverPriority[1]");
    }
    good(&labels("topology.istio.io/network"));
    good(&locality("failoverPriority: [topology.kubernetes.io/region]"));
}

#[test]
fn vd19_weights_and_localities_of_distribute() {
    let to = |to: &str| locality(&format!("distribute: [{{from: a, to: {{{to}}}}}]"));
    good(&to("a/b/*: 80, c/*: 20"));
    good(&to("'*': 100"));
    wrong(&to("a/b: 80, c: 19"), "VD19", "localityLbSetting.distribute[0].to");
    wrong(&to("a/b: 100, c: 0"), "VD19", "localityLbSetting.distribute[0].to.c");
    wrong(&to("a/b: 50, a: 50"), "VD19", "localityLbSetting.distribute[0].to.a/b");
    wrong(&to("a//b: 100"), "VD19", "localityLbSetting.distribute[0].to.a//b");
    wrong(&to("a/*/b: 100"), "VD19", "localityLbSetting.distribute[0].to.a/*/b");
    let from = "distribute: [{from: a/*, to: {b: 100}}, {from: a/b, to: {b: 100}}]";
    wrong(&locality(from), "VD19", "localityLbSetting.distribute[1].from");
    wrong(&locality("distribute: [{to: {b: 100}}]"), "VD19", "localityLbSetting.distribute[0].from");
}

#[test]
fn vd20_failover_leads_from_region_to_region() {
    for setting in ["localityLbSetting", "zoneAwareLbSetting"] {
        let failover = |pair: &str| balancer(&format!("{setting}: {{failover: [{pair}]}}"));
        good(&failover("{from: a, to: b}"));
        wrong(&failover("{from: a, to: a}"), "VD20", &format!("{setting}.failover[0]"));
        wrong(&failover("{from: a/b, to: c}"), "VD20", &format!("{setting}.failover[0].from"));
        wrong(&failover("{from: a, to: '*'}"), "VD20", &format!("{setting}.failover[0].to"));
    }
}

#[test]
fn vd21_failover_needs_outlier_detection() {
    for setting in ["localityLbSetting", "zoneAwareLbSetting"] {
        for (name, value) in [("failover", "[{from: a, to: b}]"), ("failoverPriority", "[x]")] {
            let alone = policy(&format!("{{loadBalancer: {{{setting}: {{{name}: {value}}}}}}}"));
            says(&alone, &[&format!("warning VD21 {AT}.{setting}.{name}")]);
            good(&balancer(&format!("{setting}: {{{name}: {value}}}")));
        }
    }
}

#[test]
fn vd22_zone_aware_goes_by_regions_itself() {
    for label in ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"] {
        let setting = balancer(&format!("zoneAwareLbSetting: {{failoverPriority: [{label}]}}"));
        wrong(&setting, "VD22", "zoneAwareLbSetting.failoverPriority[0]");
    }
}

#[test]
fn vd23_warmup_has_a_duration() {
    good(&balancer("warmup: {duration: 1s, minimumPercent: 100, aggression: 0.5}"));
    wrong(&balancer("warmup: {}"), "VD23", "warmup");
    wrong(&balancer("warmup: {duration: 0s}"), "VD23", "warmup.duration");
    wrong(&balancer("warmup: {duration: 1s, minimumPercent: 101}"), "VD23", "warmup.minimumPercent");
    wrong(&balancer("warmup: {duration: 1s, aggression: 0}"), "VD23", "warmup.aggression");
    good(&balancer("warmupDurationSecs: 1.0005s"));
    for short in ["0s", "999us", "-1s"] {
        wrong(&balancer(&format!("warmupDurationSecs: {short}")), "CRD", "warmupDurationSecs");
    }
}
