//! Timeout, retries, faults, mirrors and CORS.

use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::options::HttpRetryPolicy;
use crate::route::{Abort, CorsVerdict, Percent, RetryOn, RetryPolicy};

/// What a rule with these words and one destination does.
fn with(words: &str) -> Forward {
    forward(&route_with(words)).clone()
}

fn route_with(words: &str) -> Arc<Route> {
    let snapshot = of_rule(&format!("{{{words}, route: [{{destination: {{host: a.test}}}}]}}"));
    route(&snapshot, "http://it.test/").unwrap()
}

/// The same, of which the report says at `path` of the rule, and nowhere else, that it has no effect.
fn in_vain(words: &str, path: &str) -> Arc<Route> {
    let rules = format!("hosts: [it.test]\nhttp: [{{{words}, route: [{{destination: {{host: a.test}}}}]}}]");
    let (snapshot, report) = published(&virtual_service("it", &rules), MeshOptions::default());
    let [problem] = report.problems() else { panic!("{words}\n{report}") };
    assert_eq!(problem.path, format!("spec.http[0].{path}"));
    assert!(problem.message.starts_with("without effect: "), "{problem}");
    route(&snapshot, "http://it.test/").unwrap()
}

#[test]
fn to1_a_timeout_is_there_or_not() {
    assert_eq!(with("timeout: 1.5s").timeout, Some(Duration::from_millis(1500)));
    assert_eq!(with("name: none").timeout, None);
}

#[test]
fn to3_a_timeout_of_nothing_is_none_and_said() {
    let rules = "hosts: [it.test]\nhttp: [{timeout: 0s, route: [{destination: {host: a.test}}]}]";
    let (snapshot, report) = published(&virtual_service("it", rules), MeshOptions::default());
    assert_eq!(forward(&route(&snapshot, "http://it.test/").unwrap()).timeout, None);
    assert_eq!(report.problems().len(), 1);
    assert!(!report.fails_check(), "{report}");
}

#[test]
fn rt1_to_rt4_retries_are_the_rules_or_the_default() {
    assert_eq!(with("name: none").retry, Some(RetryPolicy::default()));
    assert_eq!(with("retries: {attempts: 0}").retry, None);
    assert_eq!(with("retries: {}").retry, None);
    let attempts = |attempts| Some(RetryPolicy { attempts, ..RetryPolicy::default() });
    assert_eq!(with("retries: {attempts: 5}").retry, attempts(5));
    let all = with(
        "retries: {attempts: 1, perTryTimeout: 2s, retryOn: 'reset,503', retryRemoteLocalities: true, \
         retryIgnorePreviousHosts: false, backoff: 1s}",
    );
    let expected = RetryPolicy {
        attempts: 1,
        per_try_timeout: Some(Duration::from_secs(2)),
        on: RetryOn::RESET.and(RetryOn::STATUSES),
        statuses: Box::new([StatusCode::SERVICE_UNAVAILABLE]),
        headers: Box::default(),
        backoff: Duration::from_secs(1),
        ignore_previous_hosts: false,
        remote_localities: true,
    };
    assert_eq!(all.retry, Some(expected));
}

#[test]
fn rt1_and_rt17_the_mesh_may_say_what_is_tried_again() {
    let rules = "hosts: [it.test]\nhttp: [{match: [{uri: {exact: /own}}], retries: {attempts: 7}, route: \
                 [{destination: {host: a.test}}]}, {route: [{destination: {host: a.test}}]}]";
    let retry = |policy: HttpRetryPolicy, uri: &str| {
        let options = MeshOptions { default_http_retry_policy: Some(policy), ..MeshOptions::default() };
        let (snapshot, _) = published(&virtual_service("it", rules), options);
        forward(&route(&snapshot, uri).unwrap()).retry.clone()
    };
    let policy = HttpRetryPolicy { attempts: 3, retry_on: "5xx".to_owned(), ..HttpRetryPolicy::default() };
    for uri in ["http://it.test/", "http://plain.test/"] {
        let found = retry(policy.clone(), uri).unwrap();
        assert_eq!((found.attempts, found.on), (3, RetryOn::SERVER_ERROR), "{uri}");
        assert_eq!(retry(HttpRetryPolicy::default(), uri), None, "{uri}");
    }
    let own = retry(policy, "http://it.test/own").unwrap();
    assert_eq!((own.attempts, own.on), (7, RetryPolicy::default().on));
    assert_eq!(retry(HttpRetryPolicy::default(), "http://it.test/own").unwrap().attempts, 7);
}

const HASHED: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hashed}
spec:
  hosts: [hashed.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hashed}
spec: {host: hashed.test, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
---
";

#[test]
fn rt10_a_hash_keeps_retries_at_home_unless_the_rule_says_otherwise() {
    let hashed = "{destination: {host: hashed.test}, weight: 1}";
    for (words, expected) in [
        (format!("route: [{hashed}]"), false),
        (format!("retries: {{attempts: 1}}, route: [{hashed}]"), false),
        (format!("retries: {{attempts: 1, retryIgnorePreviousHosts: true}}, route: [{hashed}]"), true),
        (format!("route: [{hashed}, {{destination: {{host: a.test}}, weight: 1}}]"), true),
        ("route: [{destination: {host: a.test}}]".to_owned(), true),
    ] {
        let rules = virtual_service("it", &format!("hosts: [it.test]\nhttp: [{{{words}}}]"));
        let (snapshot, _) = published(&format!("{HASHED}{rules}"), MeshOptions::default());
        let found = route(&snapshot, "http://it.test/").unwrap();
        assert_eq!(forward(&found).retry.as_ref().unwrap().ignore_previous_hosts, expected, "{words}");
    }
    let (snapshot, _) = published(HASHED, MeshOptions::default());
    let implicit = route(&snapshot, "http://hashed.test/").unwrap();
    assert!(forward(&implicit).retry.as_ref().unwrap().ignore_previous_hosts);
}

#[test]
fn f4_faults_need_a_share() {
    let second = Duration::from_secs(1);
    let half = Percent::new(50.0);
    for (words, delay, abort) in [
        ("delay: {fixedDelay: 1s, percentage: {value: 50}}", Some((half, second)), None),
        ("delay: {fixedDelay: 1s, percent: 50}", Some((half, second)), None),
        (
            "abort: {httpStatus: 503, percentage: {value: 50}}",
            None,
            Some((half, Abort::Http(StatusCode::SERVICE_UNAVAILABLE))),
        ),
        ("abort: {grpcStatus: NOT_FOUND, percentage: {value: 50}}", None, Some((half, Abort::Grpc(5)))),
        (
            "delay: {fixedDelay: 1s, percentage: {value: 50}}, abort: {httpStatus: 404, percentage: {value: 50}}",
            Some((half, second)),
            Some((half, Abort::Http(StatusCode::NOT_FOUND))),
        ),
    ] {
        let fault = route_with(&format!("fault: {{{words}}}")).fault.clone().unwrap();
        assert_eq!((fault.delay, fault.abort), (delay, abort), "{words}");
    }
    let twice =
        in_vain("fault: {delay: {fixedDelay: 1s, percent: 10, percentage: {value: 50}}}", "fault.delay.percent");
    assert_eq!(twice.fault.as_ref().unwrap().delay, Some((half, second)));
    for (words, path) in [
        ("delay: {fixedDelay: 1s}", "fault.delay"),
        ("delay: {percent: 10}", "fault.delay"),
        ("abort: {httpStatus: 503}", "fault.abort"),
        ("abort: {httpStatus: 503, percentage: {}}", "fault.abort"),
    ] {
        assert!(in_vain(&format!("fault: {{{words}}}"), path).fault.is_none(), "{words}");
    }
}

#[test]
fn mi1_mirrors_take_all_unless_it_is_said() {
    let quarter = Percent::new(25.0);
    for (words, expected) in [
        ("mirror: {host: b.test}", vec![Percent::ALWAYS]),
        ("mirror: {host: b.test}, mirrorPercentage: {value: 25}", vec![quarter]),
        ("mirror: {host: b.test}, mirrorPercentage: {value: 0}", vec![]),
        ("mirror: {host: b.test}, mirrorPercentage: {}", vec![]),
        (
            "mirrors: [{destination: {host: b.test}}, {destination: {host: a.test}, percentage: {value: 25}}]",
            vec![Percent::ALWAYS, quarter],
        ),
        ("mirrors: [{destination: {host: b.test}, percentage: {value: 0}}]", vec![]),
    ] {
        let mirrors: Vec<_> = with(words).mirrors.iter().map(|mirror| mirror.percent).collect();
        assert_eq!(mirrors, expected, "{words}");
    }
    assert!(forward(&in_vain("mirrorPercentage: {value: 25}", "mirrorPercentage")).mirrors.is_empty());
    // The deprecated field is a warning.
    let rules = |words| format!("hosts: [it.test]\nhttp: [{{{words}, route: [{{destination: {{host: a.test}}}}]}}]");
    for (words, expected) in [
        ("mirror: {host: b.test}, mirrorPercent: 25", vec![quarter]),
        ("mirror: {host: b.test}, mirrorPercent: 0", vec![]),
        ("mirror: {host: b.test}, mirrorPercent: 50, mirrorPercentage: {value: 25}", vec![quarter]),
    ] {
        let (snapshot, report) = published(&virtual_service("it", &rules(words)), MeshOptions::default());
        let route = route(&snapshot, "http://it.test/").unwrap();
        let mirrors: Vec<_> = forward(&route).mirrors.iter().map(|mirror| mirror.percent).collect();
        assert_eq!(mirrors, expected, "{words}");
        assert!(!report.fails_check(), "{report}");
    }
}

#[test]
fn mi8_a_mirror_that_leads_nowhere_is_named_by_check() {
    let rules = "hosts: [it.test]\nhttp: [{mirror: {host: none.test}, route: [{destination: {host: a.test}}]}]";
    let (_, report) = published(&virtual_service("it", rules), MeshOptions::default());
    assert_eq!(report.problems()[0].path, "spec.http[0].mirror.host");
    assert!(report.fails_check(), "{report}");
}

#[test]
fn c2_words_of_cors_are_understood() {
    let judged = |words: &str, method: &Method, origin: &str| {
        let cors = with(&format!("corsPolicy: {{{words}}}")).cors.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("origin", origin.parse().unwrap());
        headers.insert("access-control-request-method", "GET".parse().unwrap());
        cors.judge(method, &headers)
    };
    let told = |words: &str, origin: &str| match judged(words, &Method::OPTIONS, origin) {
        CorsVerdict::Preflight(answer) => {
            let lines = answer.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
            lines.map(|line| line.replace("access-control-", "")).collect::<Vec<_>>().join(" ")
        }
        _ => "goes on".to_owned(),
    };
    let all = "allowOrigins: [{exact: 'https://a'}], allowMethods: [GET, POST], allowHeaders: [x-y], \
               exposeHeaders: [x-e], maxAge: 1m, allowCredentials: true";
    let answer = "allow-origin=https://a allow-credentials=true allow-methods=GET,POST allow-headers=x-y expose-headers=x-e max-age=60";
    assert_eq!(told(all, "https://a"), answer);
    assert_eq!(told(all, "https://b"), "goes on");
    assert_eq!(told("allowOrigin: ['https://a']", "https://a"), "allow-origin=https://a");
    assert_eq!(told("allowOrigins: [{regex: '.*'}]", "https://b"), "allow-origin=https://b");
    assert_eq!(told("allowOrigins: [{prefix: 'https:'}], allowOrigin: ['*']", "http://b"), "goes on");
    let ignored = "allowOrigins: [{exact: 'https://a'}], allowMethods: [GET], unmatchedPreflights: IGNORE";
    assert_eq!(told(ignored, "https://b"), "allow-methods=GET");
    assert!(matches!(judged(all, &Method::GET, "https://a"), CorsVerdict::Actual(_)));
}

#[test]
fn what_a_balancer_has_no_use_for_is_named() {
    let named = |words: &str| {
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\n\
             spec: {{host: a.test, trafficPolicy: {{loadBalancer: {words}}}}}\n---\n"
        );
        let (_, report) = published(&rule, MeshOptions::default());
        let problem = |problem: &crate::error::Problem| problem.path.rsplit('.').next().map(str::to_owned);
        report.problems().iter().filter_map(problem).collect::<Vec<_>>()
    };
    for (words, expected) in [
        ("{warmup: {duration: 60s}}", &[][..]),
        ("{simple: ROUND_ROBIN, warmupDurationSecs: 60s}", &[]),
        ("{simple: RANDOM, warmup: {duration: 60s}}", &["warmup"]),
        ("{simple: RANDOM, warmupDurationSecs: 60s}", &["warmupDurationSecs"]),
        ("{consistentHash: {httpHeaderName: a}, warmup: {duration: 60s}}", &["warmup"]),
        ("{warmup: {duration: 60s}, warmupDurationSecs: 5s}", &["warmupDurationSecs"]),
        ("{consistentHash: {httpQueryParameterName: a}}", &[]),
        ("{consistentHash: {useSourceIp: true}}", &[]),
        ("{consistentHash: {}}", &["consistentHash"]),
        ("{consistentHash: {useSourceIp: false, ringHash: {}}}", &["consistentHash"]),
    ] {
        assert_eq!(named(words), expected, "{words}");
    }
}
