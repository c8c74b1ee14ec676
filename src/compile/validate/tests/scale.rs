//! Large resources take time by their size, not by its square, and good ones are not copied.

use std::fmt::Write as _;

use super::super::{Findings, virtual_service};
use crate::config::{
    Destination, HttpMatchRequest, HttpRoute, HttpRouteDestination, Resource, StringMatch, VirtualService,
};

/// The work of a quadratic comparison of this many takes minutes in a debug build.
const MANY: usize = 20_000;

fn rule(prefix: String) -> HttpRoute {
    let destination = Some(Destination { host: "b".into(), ..Destination::default() });
    let uri = Some(StringMatch { prefix: Some(prefix), ..StringMatch::default() });
    HttpRoute {
        matches: vec![HttpMatchRequest { uri, ..HttpMatchRequest::default() }],
        route: vec![HttpRouteDestination { destination, ..HttpRouteDestination::default() }],
        ..HttpRoute::default()
    }
}

fn found(spec: VirtualService) -> usize {
    let resource = Resource::new("a", None, spec);
    let mut findings = Findings::new();
    virtual_service(&resource, &|_| Ok(()), &mut findings);
    findings.into_problems().len()
}

#[test]
fn many_rules_are_judged_in_one_pass() {
    let http = (0..MANY).map(|number| rule(format!("/{number:06}"))).collect();
    assert_eq!(found(VirtualService { hosts: vec!["a".into()], http, ..VirtualService::default() }), 0);
}

#[test]
fn many_shadowed_rules_are_each_named_once() {
    let http = (0..MANY).map(|number| rule("/".repeat(2 + number % 200))).collect();
    let spec = VirtualService { hosts: vec!["a".into()], http, ..VirtualService::default() };
    // The first is used; 199 are longer; the others are the same as one before and have two warnings.
    assert_eq!(found(spec), 199 + 2 * (MANY - 200));
}

#[test]
fn many_nested_prefixes_do_not_add_up() {
    let mut prefix = String::new();
    let mut prefixes: Vec<String> = Vec::new();
    for number in 0..2_000 {
        write!(prefix, "/{number}").unwrap();
        prefixes.push(prefix.clone());
    }
    let http = prefixes.into_iter().rev().map(rule).collect();
    assert_eq!(found(VirtualService { hosts: vec!["a".into()], http, ..VirtualService::default() }), 0);
}

#[test]
fn many_hosts_are_compared_by_lookups() {
    let hosts = (0..MANY).map(|number| format!("*.h{number}.com")).chain(["x.h7.com".into()]).collect();
    let spec = VirtualService { hosts, http: vec![rule("/".into())], ..VirtualService::default() };
    assert_eq!(found(spec), 1);
}
