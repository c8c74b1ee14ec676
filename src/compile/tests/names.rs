//! Names and order of routes (T8 to T17).

use super::super::{Purpose, compile};
use super::*;
use crate::dice::Dice;
use crate::options::Workload;
use crate::route::RegexCache;
use crate::upstream::Registry;

#[test]
fn t17_a_route_has_the_names_of_rule_and_match() {
    let snapshot = of_rules(
        "
- name: r
  match: [{name: m, uri: {exact: /1}}, {uri: {exact: /2}}]
  route: [{destination: {host: a.test}}]
- match: [{name: m, uri: {exact: /3}}]
  route: [{destination: {host: a.test}}]
- name: last
  route: [{destination: {host: a.test}}]
",
    );
    assert_eq!(names(&snapshot), ["r.m", "r", ".m", "last"]);
    assert_eq!(route(&snapshot, "http://it.test/1").unwrap().origin.path, "spec.http[0].match[0]");
    assert_eq!(route(&snapshot, "http://it.test/9").unwrap().origin.path, "spec.http[2]");
    assert_eq!(&*route(&snapshot, "http://plain.test/").unwrap().name, "default");
}

#[test]
fn t14_a_redirect_counts_before_a_direct_response_and_that_before_destinations() {
    // Validation keeps such rules back: here they come unseen.
    let all =
        [("redirect", "{uri: /r}"), ("directResponse", "{status: 204}"), ("route", "[{destination: {host: a.test}}]")];
    let action = |fields: &[(&str, &str)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let rules = virtual_service("it", &format!("hosts: [it.test]\nhttp: [{{{}}}]", fields.join(", ")));
        let config = Config::from_yaml(&format!("{SERVICES}{rules}"), "it.yaml").unwrap();
        let (options, workload, registry) = (MeshOptions::default(), Workload::default(), Registry::new(&Dice::new()));
        let purpose = Purpose { options: &options, workload: &workload, registry: &registry };
        let snapshot = compile(&config, purpose, 1, &mut RegexCache::new(), &mut Report::default());
        route(&snapshot, "http://it.test/").unwrap().action.clone()
    };
    assert!(matches!(action(&all), Action::Redirect(_)));
    assert!(matches!(action(&all[1..]), Action::Respond(_)));
    assert!(matches!(action(&all[2..]), Action::Forward(_)));
}
