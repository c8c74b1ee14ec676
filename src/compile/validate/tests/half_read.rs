//! Resources of which some values cannot be read.

use std::collections::HashSet;

use regex::Regex;

use crate::compile::publication::Judged;
use crate::config::Config;

/// The errors of the resources in a text, those first that were found as it was read.
fn errors(yaml: &str) -> Vec<String> {
    let config = Config::from_yaml(yaml, "a.yaml").unwrap_or_else(|error| panic!("{yaml}\n{error}"));
    match Judged::new(config).strict() {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().filter(|problem| problem.is_error()).map(ToString::to_string).collect(),
    }
}

#[test]
fn what_can_be_read_is_judged_beside_what_cannot() {
    let text = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.test]
  http:
  - timeout: soon
    retries: {attempts: 1, retryOn: often}
    route: [{destination: {host: a.test}}]
  - match: [{uri: {regex: '('}}, {port: many}]
    redirect: {uri: /x, redirectCode: 999}
  - route: [{destination: {host: b.test}, weight: -3}]
  - {}
";
    let all = errors(text);
    let found: Vec<_> = all.iter().map(|error| error.split(": ").nth(3).unwrap()).collect();
    let read = ["spec.http[0].timeout", "spec.http[1].match[1].port"];
    let judged = [
        "spec.http[0].retries.retryOn",
        "spec.http[1].match[0].uri.regex",
        "spec.http[1].redirect.redirectCode",
        "spec.http[2].route[0].weight",
        "spec.http[3]",
    ];
    let expected: HashSet<_> = read.into_iter().chain(judged).collect();
    assert_eq!(found.iter().copied().collect::<HashSet<_>>(), expected, "{all:#?}");
}

#[test]
fn what_may_be_wrong_by_a_value_that_cannot_be_read_is_not_told() {
    for spec in [
        // Without its destination nothing is left of the rule.
        "hosts: [a], http: [{route: {destination: b}}]",
        "hosts: [a], http: [{route: [{destination: {host: [b]}}]}]",
        "hosts: {a: b}, http: [{route: [{destination: {host: b}}]}]",
        "hosts: [a], http: [{route: [{destination: {host: b}, weight: many}, {destination: {host: c}}]}]",
        "hosts: [a], http: [{route: [{destination: {host: b}}], fault: {abort: {httpStatus: x}}}]",
        "hosts: [a, {}], http: 3",
    ] {
        let text = format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: a}}, spec: {{{spec}}}}}"
        );
        let all = errors(&text);
        assert!(!all.is_empty() && all.iter().all(|error| !error.contains('[') || !error.contains("[V")), "{all:#?}");
    }
    let nameless =
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {}, spec: {hosts: [a], http: [{}]}}";
    assert_eq!(errors(nameless).len(), 1);
}

/// Whichever value of a good resource cannot be read: nothing else is wrong with it.
#[test]
fn no_value_that_cannot_be_read_makes_others_wrong() {
    let seed = include_str!("seed.yaml");
    let whole = |error: &String| error.splitn(4, ':').nth(3).unwrap().to_owned();
    let known: HashSet<_> = errors(seed).iter().map(whole).collect();
    let values = Regex::new(r#": ("[^"]*"|[^\s{}\[\],"][^{}\[\],\n]*)"#).unwrap();
    let spec = seed.find("spec:").unwrap();
    let mut broken = 0;
    for value in values.captures_iter(seed).filter_map(|captures| captures.get(1)) {
        if value.start() < spec {
            continue;
        }
        let text = format!("{}{{a: {{}}}}{}", &seed[..value.start()], &seed[value.end()..]);
        let Ok(config) = Config::from_yaml(&text, "a.yaml") else { continue };
        broken += usize::from(config.half_read.is_some());
        for error in errors(&text).iter().filter(|error| error.contains(" [V") || error.contains(" [CRD")) {
            assert!(known.contains(&whole(error)), "{} makes {error}", value.as_str());
        }
    }
    assert!(broken > 200, "{broken}");
}
