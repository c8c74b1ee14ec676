//! Resources of which some values cannot be read.

use std::collections::HashSet;

use regex::Regex;
use serde_json::{Value, json};

use crate::compile::publication::Judged;
use crate::config::{self, Config};

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

#[test]
fn what_is_missing_is_no_duplicate_of_what_cannot_be_read() {
    for (kind, spec, expected) in [
        (
            "DestinationRule",
            "host: a, subsets: [{name: [a]}, {labels: {}}]",
            ["spec.subsets[0].name", "spec.subsets[1]"],
        ),
        (
            "ServiceEntry",
            "hosts: [a.com], ports: [{number: 80, name: [a]}, {number: 81}]",
            ["spec.ports[0].name", "spec.ports[1]"],
        ),
    ] {
        let all = errors(&super::resource(kind, &format!("{{{spec}}}")));
        let found: Vec<_> = all.iter().map(|error| error.split(": ").nth(3).unwrap()).collect();
        assert_eq!(found, expected, "{all:#?}");
    }
}

/// Whichever value of a good resource cannot be read, in either spelling of its fields: nothing else is wrong with it.
#[test]
fn no_value_that_cannot_be_read_makes_others_wrong() {
    let good = [include_str!("seed.yaml"), include_str!("elsewhere.yaml")];
    let (mut broken, mut wrong) = (0, Vec::new());
    for document in good.iter().flat_map(|seed| seed.split("---\n")) {
        let document: Value = config::read(document).unwrap();
        for mut document in [snake_case(&document), document] {
            assert_eq!(errors(&document.to_string()), [""; 0], "{document}");
            for place in places(&document["spec"], "/spec") {
                let value = document.pointer_mut(&place).unwrap();
                let unread = if value.is_object() { json!("x") } else { json!({"a": {}}) };
                let whole = std::mem::replace(value, unread);
                let text = document.to_string();
                *document.pointer_mut(&place).unwrap() = whole;
                broken += usize::from(Config::from_yaml(&text, "a.yaml").unwrap().half_read.is_some());
                let judged = errors(&text).into_iter().filter(|error| error.contains(" [V") || error.contains(" [CRD"));
                wrong.extend(judged.map(|error| format!("{place} makes {error}")));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(broken > 1000, "{broken}");
}

/// The places of all that stands in `value`, which stands `at` one.
fn places(value: &Value, at: &str) -> Vec<String> {
    let entries: Vec<_> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(entries) => entries.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    let entries = entries.into_iter().map(|(name, value)| (format!("{at}/{name}"), value));
    entries.flat_map(|(at, value)| places(value, &at).into_iter().chain([at])).collect()
}

/// The same with the names that fields have in proto files.
fn snake_case(value: &Value) -> Value {
    let snake = |name: &str| match name {
        "apiVersion" => name.to_owned(),
        _ => Regex::new("5xx|[A-Z]").unwrap().replace_all(name, "_$0").to_lowercase(),
    };
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (snake(name), snake_case(value))).collect(),
        Value::Array(entries) => entries.iter().map(snake_case).collect(),
        value => value.clone(),
    }
}
