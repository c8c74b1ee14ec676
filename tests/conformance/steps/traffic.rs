//! Requests, alone or many at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_yaml::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::case::World;
use crate::client::http1::Client;
use crate::client::{Answer, Target, http2};
use crate::expect::{Failures, Mark, judge_answers, judge_upstreams, pattern};
use crate::http1::values;
use crate::schema::{Capture, Proto, Request, Step};
use crate::upstream::seconds;

/// Time limit of a request that names none.
const LIMIT: Duration = Duration::from_secs(15);

/// Runs the requests of a step and judges them; `words` are filled in once more for each `${i}`.
pub(super) async fn run(
    world: &Arc<World>,
    step: &Step,
    words: &Value,
    request: &Request,
    grpc: bool,
) -> Result<(), String> {
    let mark = Mark::of(&world.upstreams);
    for upstream in world.upstreams.values() {
        upstream.ledger.forget_most_in_flight();
    }
    let answers = send_all(world, words, request, grpc).await?;
    let mut failures = Failures::default();
    judge_answers(&answers, &step.expect, &mut world.saved.lock().unwrap(), &mut failures);
    judge_upstreams(&world.upstreams, &answers, &step.expect, &mark, &mut failures).await;
    failures.into_result(|| match answers.as_slice() {
        [answer] => format!(" [{answer}]"),
        _ => String::new(),
    })?;
    answers.last().map_or(Ok(()), |answer| capture_all(world, step, answer))
}

type Jobs = Arc<Mutex<VecDeque<(usize, Arc<Request>)>>>;

async fn send_all(world: &World, words: &Value, request: &Request, grpc: bool) -> Result<Vec<Answer>, String> {
    let mut jobs = VecDeque::new();
    for key in 0..request.vary.max(1) {
        let request = Arc::new(Request::of(world.fill(words, Some(key))?, &["message"])?);
        jobs.extend((0..request.count).map(|_| (key, request.clone())));
    }
    let keeps = request.reuse.unwrap_or(jobs.len() > 1) && request.proto == Proto::H1 && !grpc;
    let keeps = keeps && request.source.is_none();
    let jobs: Jobs = Arc::new(Mutex::new(jobs));
    let mut workers = JoinSet::new();
    for _ in 0..request.concurrency.max(1) {
        let target = world.target(request.listen.as_deref(), request.tls.as_ref(), None)?;
        let worker = Worker { jobs: jobs.clone(), target, keeps, grpc };
        workers.spawn(worker.run());
    }
    let mut answers = Vec::new();
    while let Some(served) = workers.join_next().await {
        answers.extend(served.map_err(|error| error.to_string())??);
    }
    Ok(answers)
}

/// Takes one request after the other.
struct Worker {
    jobs: Jobs,
    target: Target,
    keeps: bool,
    grpc: bool,
}

impl Worker {
    async fn run(self) -> Result<Vec<Answer>, String> {
        let mut answers = Vec::new();
        let mut client = Client::new(self.target.clone());
        loop {
            let Some((key, request)) = self.jobs.lock().unwrap().pop_front() else { return Ok(answers) };
            let source = request.source.as_ref().map(|source| source.address()).transpose()?;
            let target = Target { source, ..self.target.clone() };
            let mut answer = if request.proto == Proto::H2 || self.grpc {
                bounded(&request, http2::request(&target, &request, self.grpc)).await
            } else {
                if !self.keeps {
                    client = Client::new(target);
                }
                bounded(&request, client.request(&request)).await
            };
            answer.key = key;
            answers.push(answer);
            if !self.keeps {
                client.close();
            }
            sleep(seconds(request.pause.unwrap_or(0.0))).await;
        }
    }
}

/// A request within its time limit.
pub(super) async fn bounded(request: &Request, exchange: impl Future<Output = Answer>) -> Answer {
    let limit = request.timeout.map_or(LIMIT, seconds);
    timeout(limit, exchange).await.unwrap_or_else(|_| Answer::failed(format!("no answer in {limit:?}")))
}

fn capture_all(world: &World, step: &Step, answer: &Answer) -> Result<(), String> {
    for (variable, capture) in &step.capture {
        let value = match capture {
            Capture::Upstream => answer.upstream().unwrap_or("").to_owned(),
            Capture::Header { name, regex } => {
                let value = values(&answer.headers, name).join(", ");
                let regex = pattern(regex.as_deref().unwrap_or("(.*)"))?;
                let found =
                    regex.captures(&value).and_then(|found| found.get(1).map(|group| group.as_str().to_owned()));
                found.ok_or_else(|| format!("capture {variable}: header {name} is {value:?}"))?
            }
        };
        world.variables.lock().unwrap().insert(variable.clone(), value);
    }
    Ok(())
}
