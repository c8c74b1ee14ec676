//! The gateway as a process: signals, exit, open ports, admin address and metrics.

use std::net::Ipv4Addr;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::case::World;
use crate::expect::{Failures, pattern};
use crate::schema::{Admin, Connect, Exited, Metric};
use crate::upstream::seconds;

const NONE: &str = "the case has no gateway";

pub(super) async fn signal(world: &World, name: &str) -> Result<(), String> {
    world.gateway.lock().await.as_ref().ok_or(NONE)?.signal(name)
}

pub(super) async fn exited(world: &World, words: &Exited) -> Result<(), String> {
    let start = Instant::now();
    let limit = seconds(words.within.unwrap_or(10.0));
    let mut gateway = world.gateway.lock().await;
    let code = gateway.as_mut().ok_or(NONE)?.wait(limit).await;
    let code = code.ok_or_else(|| format!("the gateway still runs after {limit:?}"))?;
    let mut failures = Failures::default();
    if let Some(range) = &words.code {
        failures.require(range.holds(f64::from(code)), || format!("exit code {code}, want {range}"));
    }
    let least = seconds(words.min.unwrap_or(0.0));
    failures.require(start.elapsed() >= least, || format!("the gateway ended before {least:?}"));
    failures.into_result(String::new)
}

pub(super) async fn alive(world: &World) -> Result<(), String> {
    let mut gateway = world.gateway.lock().await;
    let gateway = gateway.as_mut().ok_or(NONE)?;
    match gateway.exit_code() {
        None => Ok(()),
        Some(code) => Err(format!("the gateway ended with {code}: {}", gateway.output_tail(600))),
    }
}

/// Whether a port is open at all.
pub(super) async fn connect(world: &World, words: &Connect) -> Result<(), String> {
    let port = world.listener(words.listen.as_deref())?;
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err();
    if refused == words.refused { Ok(()) } else { Err(format!("refused: {refused}, want {}", words.refused)) }
}

pub(super) async fn admin(world: &World, words: &Admin) -> Result<(), String> {
    let answer = world.ask_admin(&words.path).await;
    let mut failures = Failures::default();
    if let Some(status) = words.status {
        failures.require(answer.status == Some(status), || format!("{answer}, want status {status}"));
    }
    if let Some(part) = &words.body_contains {
        let body = String::from_utf8_lossy(&answer.body);
        failures.require(body.contains(part.as_str()), || format!("the body lacks {part:?}"));
    }
    failures.into_result(String::new)
}

/// Sample lines that match, and their sum.
pub(super) async fn metric(world: &World, words: &Metric) -> Result<(), String> {
    let answer = world.ask_admin("/stats/prometheus").await;
    let text = String::from_utf8_lossy(&answer.body);
    let regex = pattern(&words.regex)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && regex.is_match(line)).collect();
    let mut failures = Failures::default();
    failures.require(answer.status == Some(200), || format!("metrics: {answer}"));
    failures.require(!lines.is_empty(), || format!("none of {} lines matches /{}/", text.lines().count(), words.regex));
    if let Some(range) = &words.value {
        let number = |line: &&str| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok());
        let sum: Option<f64> = lines.iter().map(number).sum();
        failures.require(sum.is_some_and(|sum| range.holds(sum)), || format!("sum {sum:?} of {lines:?}, want {range}"));
    }
    let typed = text.lines().any(|line| line.starts_with("# TYPE "));
    failures.require(typed || !words.typed, || "no line tells a type".to_owned());
    failures.into_result(String::new)
}
