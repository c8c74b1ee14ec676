//! Names and order of routes (T8, T17).

use super::*;

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
