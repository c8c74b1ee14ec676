//! The index of a rule set against trying the rules in turn, over random rules and requests.

#![allow(clippy::unwrap_used, reason = "what is built here is known to be right")]

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};

use http::Request;
use http::header::{HeaderName, HeaderValue};
use mesh_router::request::{Origin, RequestView};
use mesh_router::route::{Explanation, RegexCache, RouteIndex, RouteMatch, RouteMatchBuilder, RuleSet, StringMatcher};
use proptest::prelude::*;
use proptest::sample::select;

/// Few values, so that rules and requests meet often.
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a/bc", "/ab", "/b", "/b/c/d", "/B", "/a/b/c/d"];
const METHODS: &[&str] = &["GET", "POST", "PUT"];
const HOSTS: &[&str] = &["h.test", "H.test", "h.test:81"];
const NAMES: &[&str] = &["x", "y", "z"];
const VALUES: &[&str] = &["", "1", "2", "12", "a,b"];
const REGEXES: &[&str] = &[".*", "/a.*", "/a/b(/.*)?", "1?2", "(?i)/b", "/[ab]", "/a/b", "()"];

/// Each pattern is compiled once: compiling is what would take the time here.
fn regex(pattern: &str) -> StringMatcher {
    static CACHE: LazyLock<Mutex<RegexCache>> = LazyLock::new(Mutex::default);
    CACHE.lock().unwrap().matcher(pattern).unwrap()
}

fn text(values: &'static [&'static str]) -> BoxedStrategy<StringMatcher> {
    let text = select(values);
    prop_oneof![
        6 => text.clone().prop_map(StringMatcher::exact),
        3 => text.clone().prop_map(StringMatcher::prefix),
        1 => text.clone().prop_map(StringMatcher::exact_ignore_case),
        1 => text.prop_map(StringMatcher::prefix_ignore_case),
        1 => select(REGEXES).prop_map(regex),
        1 => Just(StringMatcher::present()),
    ]
    .boxed()
}

type Condition = fn(RouteMatchBuilder, &'static str, StringMatcher) -> RouteMatchBuilder;

fn condition() -> BoxedStrategy<(Condition, &'static str, StringMatcher)> {
    let scheme: Condition = |builder, _, matcher| builder.scheme(matcher);
    let method: Condition = |builder, _, matcher| builder.method(matcher);
    let authority: Condition = |builder, _, matcher| builder.authority(matcher);
    let with = |condition: Condition, names, values| (Just(condition), select(names), text(values));
    let keys: &[&str] = &[":path", ":method", "Host", ":authority", "a b"];
    prop_oneof![
        1 => with(scheme, NAMES, &["http", "https"]),
        3 => with(method, NAMES, METHODS),
        2 => with(authority, NAMES, HOSTS),
        6 => with(RouteMatchBuilder::header as Condition, NAMES, VALUES),
        1 => with(RouteMatchBuilder::header as Condition, keys, PATHS),
        2 => with(RouteMatchBuilder::without_header as Condition, NAMES, VALUES),
        2 => with(RouteMatchBuilder::query as Condition, NAMES, VALUES),
    ]
    .boxed()
}

fn rule() -> impl Strategy<Value = RouteMatch> {
    let uri = prop_oneof![3 => text(PATHS).prop_map(Some), 1 => Just(None)];
    let conditions = prop_oneof![
        2 => Just(vec![]),
        3 => proptest::collection::vec(condition(), 1..2),
        1 => proptest::collection::vec(condition(), 2..4),
    ];
    (uri, conditions).prop_map(|(uri, conditions)| {
        let builder = match uri {
            Some(uri) => RouteMatch::builder().uri(uri),
            None => RouteMatch::builder(),
        };
        conditions.into_iter().fold(builder, |builder, (add, key, matcher)| add(builder, key, matcher)).build()
    })
}

fn request() -> impl Strategy<Value = Request<()>> {
    let pairs = |most| proptest::collection::vec((select(NAMES), select(VALUES)), 0..most);
    let head = (select(METHODS), select(&["http", "https"][..]), select(HOSTS), select(PATHS));
    (head, pairs(3), pairs(4)).prop_map(|((method, scheme, host, path), query, headers)| {
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let uri = format!("{scheme}://{host}{path}{query}");
        let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        request
    })
}

fn view(request: &Request<()>) -> RequestView<'_> {
    RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh)
}

fn numbered(rules: Vec<RouteMatch>) -> Vec<(RouteMatch, RouteIndex)> {
    rules.into_iter().zip((0..).map(RouteIndex)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_finds_what_a_plain_scan_finds(
        rules in proptest::collection::vec(rule(), 0..40),
        requests in proptest::collection::vec(request(), 1..12),
    ) {
        let rules = numbered(rules);
        let indexed = RuleSet::new_indexed(rules.clone());
        let usual = RuleSet::new(rules.clone());
        let plain = RuleSet::new_unindexed(rules);
        for request in &requests {
            let view = view(request);
            let wanted = plain.first_match(&view, &mut ());
            prop_assert_eq!(indexed.first_match(&view, &mut ()), wanted);
            prop_assert_eq!(usual.first_match(&view, &mut ()), wanted);
        }
    }

    #[test]
    fn an_explanation_tries_every_rule_up_to_the_hit_and_agrees(
        rules in proptest::collection::vec(rule(), 0..20),
        request in request(),
    ) {
        let set = RuleSet::new_indexed(numbered(rules));
        let view = view(&request);
        let mut explanation = Explanation::default();
        let found = set.first_match(&view, &mut explanation);
        prop_assert_eq!(found, set.first_match(&view, &mut ()));
        let tried = explanation.rules();
        prop_assert_eq!(tried.len(), found.map_or(set.rules().len(), |route| route.0 as usize + 1));
        for (rule, number) in tried.iter().zip(0..) {
            prop_assert_eq!(rule.route, RouteIndex(number));
            prop_assert_eq!(rule.failed.is_none(), found == Some(rule.route));
        }
    }
}

#[test]
fn the_random_rules_are_hit_often_and_by_many_numbers() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut hits, mut numbers) = (0, BTreeSet::new());
    for _ in 0..300 {
        let rules = proptest::collection::vec(rule(), 10..40).new_tree(&mut runner).unwrap().current();
        let request = request().new_tree(&mut runner).unwrap().current();
        if let Some(route) = RuleSet::new(numbered(rules)).first_match(&view(&request), &mut ()) {
            hits += 1;
            numbers.insert(route.0);
        }
    }
    assert!(hits > 150 && numbers.len() > 10, "{hits} hits on {numbers:?}");
}
