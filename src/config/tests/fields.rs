use super::{told, virtual_service};
use crate::config::Config;

/// The only problem with a rule, without its file, severity, resource and the beginning of its path.
fn only(rule: &str) -> String {
    let told = told(&virtual_service(rule));
    assert_eq!(told.len(), 1, "{told:#?}");
    told[0].replace(" error: VirtualService default/a: spec.http[0].", " ").replace("a.yaml:", "")
}

#[test]
fn unknown_fields_are_told_with_what_was_meant() {
    assert_eq!(only("retry: {attempts: 3}"), "7:5: retry: unknown field \"retry\" (did you mean \"retries\"?)");
    assert_eq!(only("match:\n- url: {prefix: /}"), "8:7: match[0].url: unknown field \"url\" (did you mean \"uri\"?)");
    assert_eq!(
        only("retries: {attempts: 1, zzz: 1}"),
        "7:28: retries.zzz: unknown field \"zzz\" (known here: attempts, perTryTimeout, retryOn, retryRemoteLocalities, \
         retryIgnorePreviousHosts, backoff)"
    );
    assert_eq!(
        only("route:\n- destination: {host: a}\n  retries: {attempts: 1}"),
        "9:7: route[0].retries: unknown field \"retries\" (\"retries\" is a field of spec.http[0]: check the indentation)"
    );
    assert_eq!(
        only("route:\n- host: a"),
        "8:7: route[0].host: unknown field \"host\" (\"host\" is a field of \"destination\": it belongs below it)"
    );
    let config = Config::from_yaml(&virtual_service("retry: {}"), "a.yaml").unwrap();
    assert!(config.problems[0].refuses_start() && !config.problems[0].is_error());
    assert_eq!(config.virtual_services.len(), 1);
}

#[test]
fn removed_fields_are_told_with_what_replaced_them() {
    for (field, instead) in [
        ("appendHeaders", "headers.request.add"),
        ("append_headers", "headers.request.add"),
        ("appendRequestHeaders", "headers.request.add"),
        ("appendResponseHeaders", "headers.response.add"),
        ("removeRequestHeaders", "headers.request.remove"),
        ("removeResponseHeaders", "headers.response.remove"),
        ("websocketUpgrade", "need no setting"),
    ] {
        assert!(only(&format!("{field}: {{a: b}}")).contains(instead));
    }
    assert!(only("route:\n- appendRequestHeaders: {}").contains("headers.request.add"));
}

#[test]
fn a_value_beside_its_empty_field_is_an_error() {
    assert_eq!(
        only("match:\n- uri:\n  prefix: /"),
        "9:7: match[0].prefix: \"prefix\" stands beside \"uri\", which is empty, not below it (indent \"prefix\" by two more \
         spaces, so that it is below `uri:`)"
    );
    assert!(only("route:\ndestination: {host: a}").contains("`- destination: ...`"));
}

#[test]
fn a_null_match_takes_everything_as_one_without_fields_does() {
    let of = |matches: &str| {
        let rule = format!("match: {matches}\nroute: [{{destination: {{host: a}}}}]");
        Config::from_yaml(&virtual_service(&rule), "a.yaml").unwrap()
    };
    let (null, empty) = (of("[null, {uri: {prefix: /x}}]"), of("[{}, {uri: {prefix: /x}}]"));
    assert_eq!(null.virtual_services[0].spec, empty.virtual_services[0].spec);
    let told: Vec<_> = null.problems.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].starts_with("a.yaml:7:13: warning: "), "{told:#?}");
    assert!(told[0].contains("match[0]: this entry of the list is empty (null): everything matches it"), "{told:#?}");
    assert_eq!(empty.problems, []);
}

#[test]
fn all_mistakes_of_a_document_are_told_at_once() {
    let rule = "timeout: 5\nretries: {attempts: x, perTryTimeout: 1x}\nmatch: {uri: {prefix: /}}\nroute:\n-\nfault: 1\n\
                redirect: [a]\nmirror: {host: [a]}\nheaders: {request: {set: a}}";
    let told = told(&virtual_service(rule));
    let expected = [
        (7, "timeout: expected a duration, found the number 5 (a unit is missing: \"5s\" or \"5ms\")"),
        (8, "retries.attempts: expected a whole number, found the text \"x\""),
        (8, "retries.perTryTimeout: \"1x\" is no duration (unknown unit \"x\": use h, m, s, ms, us or ns)"),
        (9, "match: expected a list, found a mapping (begin each entry of the list with `- `)"),
        (11, "route[0]: this entry of the list is empty (null) (fill it in or remove it)"),
        (
            12,
            "fault: expected a mapping, found the number 1 (write its fields on lines of their own below it: delay, abort)",
        ),
        (13, "redirect: expected a mapping, found a list (remove the `- ` before it: there is only one here)"),
        (14, "mirror.host: expected a string, found a list"),
        (
            15,
            "headers.request.set: expected a mapping, found the text \"a\" (write `name: value` on lines of their own below it)",
        ),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, (line, text)) in told.iter().zip(expected) {
        assert!(
            told.starts_with(&format!("a.yaml:{line}:")) && told.ends_with(&format!("spec.http[0].{text}")),
            "{told}"
        );
    }
}

#[test]
fn there_is_an_end_to_the_problems_of_a_document() {
    let text = virtual_service(&format!("match:\n{}", "- {zzz: 1}\n".repeat(5_000)));
    let told = told(&text);
    assert_eq!(told.len(), 101);
    assert!(told[100].contains("there may be more problems"), "{}", told[100]);
}

#[test]
fn secrets_are_not_told() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: \"h#sh\"}\nstringData: {p: 12345}\n";
    let told = told(text);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|told| !told.contains("h#sh") && !told.contains("12345")), "{told:#?}");
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: aHVzaA==}\nstringData: {p: hush}\n";
    let config = Config::from_yaml(text, "a.yaml").unwrap();
    assert!(!format!("{config:?}").contains("hush"));
    assert_eq!(config.secrets[0].spec.get("k"), Some(&b"hush"[..]));
    assert_eq!(config.secrets[0].spec.get("p"), Some(&b"hush"[..]));
}
