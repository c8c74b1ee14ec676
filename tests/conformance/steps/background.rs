//! Steps that go on while others run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::traffic::bounded;
use crate::case::{Background, World};
use crate::client::http1::Client;
use crate::client::{Answer, Target, http2};
use crate::expect::{Failures, Mark, judge_answers, judge_upstreams};
use crate::schema::{Expect, Kind, Proto, Request, Start};
use crate::upstream::seconds;

/// Pause between the requests of a loop, seconds.
const PAUSE: f64 = 0.01;
/// Fewest requests of a loop that names no number.
const AT_LEAST: usize = 10;

/// Starts a step, or a loop of requests.
pub(super) fn start(world: &Arc<World>, start: &Start) -> Result<(), String> {
    let background = match (&start.step.kind, start.repeat) {
        (Kind::Request(_, request), true) => {
            let target = world.target(request.listen.as_deref(), request.tls.as_ref(), request.source.as_ref())?;
            let stop = Arc::new(Notify::new());
            let task = tokio::spawn(repeat(target, request.clone(), stop.clone()));
            let expect =
                Expect { at_least: start.step.expect.at_least.or(Some(AT_LEAST)), ..start.step.expect.clone() };
            Background::Loop { task, stop, expect: Box::new(expect), mark: Mark::of(&world.upstreams) }
        }
        _ => {
            let (world, step) = (world.clone(), start.step.clone());
            Background::Step(tokio::spawn(async move { Box::pin(super::run(&world, &step)).await }))
        }
    };
    world.background.lock().unwrap().insert(start.name.clone(), background);
    Ok(())
}

/// Requests by each worker until it is told to stop.
async fn repeat(target: Target, request: Box<Request>, stop: Arc<Notify>) -> Result<Vec<Answer>, String> {
    let request = Arc::new(*request);
    let (stopping, stopped) = tokio::sync::watch::channel(false);
    let mut workers = JoinSet::new();
    for _ in 0..request.concurrency.max(1) {
        workers.spawn(worker(target.clone(), request.clone(), stopped.clone()));
    }
    stop.notified().await;
    let _ = stopping.send(true);
    let mut answers = Vec::new();
    while let Some(served) = workers.join_next().await {
        answers.extend(served.map_err(|error| error.to_string())?);
    }
    Ok(answers)
}

async fn worker(target: Target, request: Arc<Request>, stopped: tokio::sync::watch::Receiver<bool>) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut client = Client::new(target.clone());
    while !*stopped.borrow() {
        let answer = match request.proto {
            Proto::H2 => bounded(&request, http2::request(&target, &request, false)).await,
            Proto::H1 => bounded(&request, client.request(&request)).await,
        };
        if request.new_conn {
            client.close();
        }
        answers.push(answer);
        sleep(seconds(request.pause.unwrap_or(PAUSE))).await;
    }
    answers
}

/// Waits for a step in the background, or ends a loop, and judges it.
pub(super) async fn join(world: &Arc<World>, name: &str, within: Option<f64>) -> Result<(), String> {
    let limit = within.map_or(Duration::from_secs(20), seconds);
    let late = |_| format!("{name} does not end in {limit:?}");
    let taken = world.background.lock().unwrap().remove(name);
    match &mut taken.ok_or_else(|| format!("nothing was started as {name}"))? {
        Background::Step(task) => timeout(limit, task).await.map_err(late)?.map_err(|error| error.to_string())?,
        Background::Loop { task, stop, expect, mark } => {
            stop.notify_one();
            let answers = timeout(limit, task).await.map_err(late)?.map_err(|error| error.to_string())??;
            judge_loop(world, &answers, expect, mark).await
        }
    }
}

async fn judge_loop(world: &World, answers: &[Answer], expect: &Expect, mark: &Mark) -> Result<(), String> {
    let mut failures = Failures::default();
    judge_answers(answers, expect, &mut world.saved.lock().unwrap(), &mut failures);
    judge_upstreams(&world.upstreams, answers, expect, mark, &mut failures).await;
    failures.into_result(String::new)
}
