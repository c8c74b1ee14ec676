//! Header operations: the rules H1 to H13.

use super::*;

fn lines(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn h1_set_replaces_add_appends_remove_deletes() {
    let mut builder = HeaderOps::request();
    builder.set("s", "1").unwrap().add("a", "1").unwrap().remove("r").unwrap();
    let mut map = headers(&[("s", "old"), ("s", "older"), ("a", "0"), ("r", "x"), ("r", "y")]);
    builder.build().apply_request(&mut map, &FormatContext::default());
    assert_eq!(lines(&map, "s"), ["1"]);
    assert_eq!(lines(&map, "a"), ["0", "1"]);
    assert_eq!(lines(&map, "r"), [""; 0]);
}

#[test]
fn h2_removals_run_before_sets_and_sets_before_adds() {
    let mut builder = HeaderOps::request();
    builder.add("a", "2").unwrap().set("a", "1").unwrap().remove("a").unwrap();
    let mut map = headers(&[("a", "0")]);
    builder.build().apply_request(&mut map, &FormatContext::default());
    assert_eq!(lines(&map, "a"), ["1", "2"]);
}

#[test]
fn h3_host_of_a_request_is_the_authority_and_set_wins() {
    for name in ["host", "Host", ":authority", ":Authority"] {
        let mut builder = HeaderOps::request();
        builder.set(name, "a.test:81").unwrap().add(name, "b.test").unwrap();
        let ops = builder.build();
        assert!(ops.is_empty(), "{name}");
        assert_eq!(ops.authority().unwrap().host, "a.test:81");
        assert_eq!(ops.authority().unwrap().uri.port_u16(), Some(81));
    }
}

#[test]
fn h3_reserved_names_are_passed_over_elsewhere() {
    let mut builder = HeaderOps::response();
    builder.set("host", "a").unwrap().add(":status", "200").unwrap().remove("Host").unwrap();
    let ops = builder.build();
    assert!(ops.is_empty() && ops.authority().is_none());
    let mut builder = HeaderOps::request();
    builder.set(":path", "/x").unwrap().remove(":authority").unwrap().set("host", "").unwrap();
    let ops = builder.build();
    assert!(ops.is_empty() && ops.authority().is_none());
}

#[test]
fn h4_a_doubled_percent_is_one_and_a_lone_one_is_refused() {
    let mut builder = HeaderOps::request();
    builder.set("a", "a%%b%%%%").unwrap();
    let mut map = HeaderMap::new();
    let ops = builder.build();
    assert!(ops.is_literal());
    ops.apply_request(&mut map, &FormatContext::default());
    assert_eq!(lines(&map, "a"), ["a%b%%"]);
    assert!(matches!(HeaderOps::request().set("a", "50%").unwrap_err(), HeaderOpError::Format(_)));
    assert!(matches!(HeaderOps::response().add("a", "%NOPE%").unwrap_err(), HeaderOpError::Format(_)));
}

#[test]
fn the_vector_of_header_operations() {
    let mut builder = HeaderOps::request();
    builder.remove("a").unwrap().set("a", "1").unwrap().set("b", "%REQ(a)%").unwrap().add("a", "2").unwrap();
    let mut map = headers(&[("a", "0"), ("b", "kept")]);
    builder.build().apply_request(&mut map, &FormatContext::default());
    assert_eq!(lines(&map, "a"), ["1", "2"]);
    assert_eq!(lines(&map, "b"), ["kept"]);
}

#[test]
fn h2_values_are_read_before_the_first_is_written() {
    let mut builder = HeaderOps::request();
    builder.set("a", "%REQ(b)%").unwrap().set("b", "%REQ(a)%").unwrap().add("c", "%REQ(a)%-%REQ(c)%").unwrap();
    let ops = builder.build();
    assert!(ops.needs_request() && !ops.is_literal());
    let mut map = headers(&[("a", "1"), ("b", "2"), ("c", "3")]);
    ops.apply_request(&mut map, &FormatContext::default());
    assert_eq!(
        (lines(&map, "a"), lines(&map, "b"), lines(&map, "c")),
        (vec!["2".to_owned()], vec!["1".to_owned()], vec!["3".to_owned(), "1-3".to_owned()],)
    );
}

#[test]
fn h4_a_response_may_name_both_heads() {
    let mut builder = HeaderOps::response();
    builder.set("x", "%REQ(a)%/%RESP(a)%/%RESPONSE_CODE%").unwrap().remove("b").unwrap();
    builder.add("y", "%RESP(b)%").unwrap();
    let request = headers(&[("a", "asked")]);
    let mut map = headers(&[("a", "answered"), ("b", "0")]);
    let code = Some(http::StatusCode::OK);
    let context = FormatContext { request: &request, code, ..FormatContext::default() };
    builder.build().apply_response(&mut map, &context);
    assert_eq!(lines(&map, "x"), ["asked/answered/200"]);
    assert!(!map.contains_key("y"), "H5");
}

#[test]
fn h5_an_empty_value_does_nothing() {
    let mut builder = HeaderOps::request();
    builder.set("x", "").unwrap().add("x", "").unwrap();
    let ops = builder.build();
    assert!(ops.is_empty());
    let mut map = headers(&[("x", "kept")]);
    ops.apply_request(&mut map, &FormatContext::default());
    assert_eq!(lines(&map, "x"), ["kept"]);
}

#[test]
fn h6_the_only_destination_wins_over_the_rule_and_its_adds_come_last() {
    let mut rule = HeaderOps::request();
    rule.set("x", "rule").unwrap().add("y", "rule").unwrap().remove("y").unwrap();
    let mut destination = HeaderOps::request();
    destination.set("x", "destination").unwrap().add("y", "destination").unwrap().remove("z").unwrap();
    let mut map = headers(&[("y", "0"), ("z", "0")]);
    rule.build().then(destination.build()).apply_request(&mut map, &FormatContext::default());
    assert_eq!(lines(&map, "x"), ["destination"]);
    assert_eq!(lines(&map, "y"), ["rule", "destination"]);
    assert_eq!(lines(&map, "z"), [""; 0]);
}

#[test]
fn h8_the_authority_of_the_rule_wins() {
    let mut rule = HeaderOps::request();
    rule.add("host", "rule.test").unwrap();
    let mut destination = HeaderOps::request();
    destination.set("host", "destination.test").unwrap();
    let (rule, destination) = (rule.build(), destination.build());
    assert_eq!(rule.clone().then(destination.clone()).authority().unwrap().host, "rule.test");
    assert_eq!(HeaderOps::default().then(destination).authority().unwrap().host, "destination.test");
}

#[test]
fn h11_names_are_lower_cased_and_h13_exact() {
    let mut builder = HeaderOps::request();
    builder.set("X-Upper", "1").unwrap().remove("x-a").unwrap();
    let mut map = headers(&[("x-a", "1"), ("x-ab", "1")]);
    builder.build().apply_request(&mut map, &FormatContext::default());
    assert_eq!(map.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-ab", "x-upper"]);
}

#[test]
fn h12_added_cookies_are_lines_of_their_own() {
    let mut builder = HeaderOps::response();
    builder.add("set-cookie", "b=2").unwrap();
    let mut map = headers(&[("set-cookie", "a=1")]);
    builder.build().apply_response(&mut map, &FormatContext::default());
    assert_eq!(lines(&map, "set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn keys_are_applied_in_sorted_order() {
    let mut builder = HeaderOps::request();
    builder.set("b", "1").unwrap().set("a", "1").unwrap().set("c", "1").unwrap();
    let names: Vec<_> = builder.build().set.iter().map(|(name, _)| name.as_str().to_owned()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn names_and_values_that_cannot_be_are_refused() {
    let mut builder = HeaderOps::request();
    assert_eq!(builder.remove("a b").unwrap_err(), HeaderOpError::Name("a b".to_owned()));
    assert_eq!(builder.set("a", "x\ny").unwrap_err(), HeaderOpError::Value("x\ny".to_owned()));
    assert_eq!(builder.set("host", "a b").unwrap_err(), HeaderOpError::Authority("a b".to_owned()));
    assert!(builder.set("a", "grün").is_ok());
}
