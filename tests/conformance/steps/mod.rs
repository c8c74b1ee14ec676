//! The steps of a case, one after the other.

mod background;
mod control;
mod other;
mod traffic;
mod verdict;

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep};

use crate::case::World;
use crate::schema::{Kind, Step};
use crate::upstream::seconds;

/// Starts the gateway and runs every step; the first that does not hold ends the case.
pub(crate) async fn run_all(world: Arc<World>) -> Result<(), String> {
    world.start_gateway().await?;
    let case = world.case.clone();
    for (index, words) in case.steps.iter().enumerate() {
        let step = world.step(words)?;
        let name = step.kind.name();
        run(&world, &step).await.map_err(|why| format!("step {} ({name}): {why}", index + 1))?;
    }
    Ok(())
}

/// Runs a step once, or, with `within`, until it holds.
async fn run(world: &Arc<World>, step: &Step) -> Result<(), String> {
    let Some(limit) = step.patience() else { return attempt(world, step).await };
    let end = Instant::now() + limit;
    loop {
        let outcome = attempt(world, step).await;
        if outcome.is_ok() || Instant::now() >= end {
            return outcome;
        }
        sleep(seconds(step.every)).await;
    }
}

async fn attempt(world: &Arc<World>, step: &Step) -> Result<(), String> {
    match &step.kind {
        Kind::Request(words, request) => traffic::run(world, step, words, request, false).await,
        Kind::Grpc(words, request) => traffic::run(world, step, words, request, true).await,
        Kind::Websocket(request) => other::websocket(world, step, request).await,
        Kind::Stream(request) => other::stream(world, step, request).await,
        Kind::Tcp(words) => other::tcp(world, step, words).await,
        Kind::Raw(words) => other::raw(world, step, words).await,
        Kind::Behave(behaviors) => {
            for (name, behavior) in behaviors {
                world.upstream(name)?.behave(behavior.clone().unwrap_or_default()).await?;
            }
            Ok(())
        }
        Kind::Sleep(pause) => {
            sleep(seconds(*pause)).await;
            Ok(())
        }
        Kind::Config(config) => world.write_config(config),
        Kind::Files(files) => files.iter().try_for_each(|(name, text)| world.write_file(name, text.as_deref())),
        Kind::Start(start) => background::start(world, start),
        Kind::Join(name) => background::join(world, name, step.within).await,
        Kind::Signal(name) => control::signal(world, name).await,
        Kind::Exited(words) => control::exited(world, words).await,
        Kind::Alive => control::alive(world).await,
        Kind::Connect(words) => control::connect(world, words).await,
        Kind::Admin(words) => control::admin(world, words).await,
        Kind::Metric(words) => control::metric(world, words).await,
        Kind::Check(words) => verdict::check(world, words).await,
        Kind::StartFails(words) => verdict::start_fails(world, words).await,
    }
}

impl Step {
    /// How long the step is repeated. `join` takes its `within` as a time limit of its own.
    fn patience(&self) -> Option<Duration> {
        match self.kind {
            Kind::Join(_) => None,
            Kind::Metric(_) => Some(seconds(self.within.unwrap_or(3.0))),
            _ => self.within.map(seconds),
        }
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Request(..) => "request",
            Kind::Grpc(..) => "grpc",
            Kind::Websocket(_) => "websocket",
            Kind::Stream(_) => "stream",
            Kind::Tcp(_) => "tcp",
            Kind::Raw(_) => "raw",
            Kind::Behave(_) => "behave",
            Kind::Sleep(_) => "sleep",
            Kind::Config(_) => "config",
            Kind::Files(_) => "files",
            Kind::Start(_) => "start",
            Kind::Join(_) => "join",
            Kind::Signal(_) => "signal",
            Kind::Exited(_) => "exited",
            Kind::Alive => "alive",
            Kind::Connect(_) => "connect",
            Kind::Admin(_) => "admin",
            Kind::Metric(_) => "metric",
            Kind::Check(_) => "check",
            Kind::StartFails(_) => "start_fails",
        }
    }
}
