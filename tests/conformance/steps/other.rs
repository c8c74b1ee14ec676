//! Websockets, streams in lock step, plain TCP and raw bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::case::World;
use crate::client::raw::{STILL_OPEN, unescape};
use crate::client::{Answer, raw as raw_client, stream as stream_client, tcp as tcp_client, websocket as ws_client};
use crate::expect::{Failures, Mark, brief, judge_answers, judge_upstreams, pattern as search};
use crate::http1::{bytes, pattern, text};
use crate::schema::{Expect, Frame, RawWords, Request, Step, TcpWords};
use crate::upstream::seconds;

fn target_of(world: &World, request: &Request) -> Result<crate::client::Target, String> {
    world.target(request.listen.as_deref(), request.tls.as_ref(), request.source.as_ref())
}

fn judge_single(world: &World, answer: &Answer, expect: &Expect, failures: &mut Failures) {
    judge_answers(std::slice::from_ref(answer), expect, &mut world.saved.lock().unwrap(), failures);
}

pub(super) async fn websocket(world: &Arc<World>, step: &Step, request: &Request) -> Result<(), String> {
    let expect = &step.expect;
    let mark = Mark::of(&world.upstreams);
    let target = target_of(world, request)?;
    let limit = seconds(request.timeout.unwrap_or(15.0));
    let (answer, echoes) = timeout(limit, ws_client::exchange(&target, request))
        .await
        .map_err(|_| format!("the exchange does not end in {limit:?}"))?;
    let mut failures = Failures::default();
    judge_single(world, &answer, expect, &mut failures);
    if let Some(frames) = &expect.echo {
        let name = expect.single_upstream().map_or_else(String::new, |name| format!("{name}:"));
        let wanted: Vec<String> = frames
            .iter()
            .map(|frame| match frame {
                Frame::Text(text) => format!("{name}{text}"),
                Frame::Pattern(size) => format!("{name}{}", text(&pattern(*size))),
                Frame::Sleep(_) => name.clone(),
            })
            .collect();
        let short = |echoes: &[String]| echoes.iter().map(|echo| brief(echo, 60)).collect::<Vec<_>>();
        failures.require(echoes == wanted, || {
            format!("echoes {:?}, want {:?} ({:?})", short(&echoes), short(&wanted), answer.error)
        });
    }
    let answers = [answer];
    judge_upstreams(&world.upstreams, &answers, expect, &mark, &mut failures).await;
    failures.into_result(|| format!(" [{}]", answers[0]))
}

pub(super) async fn stream(world: &Arc<World>, step: &Step, request: &Request) -> Result<(), String> {
    let mark = Mark::of(&world.upstreams);
    let target = target_of(world, request)?;
    let limit = seconds(request.timeout.unwrap_or(8.0));
    let answer = timeout(limit, stream_client::exchange(&target, request))
        .await
        .map_err(|_| "the stream stalls: a body is held back somewhere".to_owned())?;
    let mut failures = Failures::default();
    judge_single(world, &answer, &step.expect, &mut failures);
    let upload = stream_client::upload_of(request);
    failures.require(answer.body == upload, || {
        format!("{} of {} bytes came back ({:?})", answer.body.len(), upload.len(), answer.error)
    });
    judge_upstreams(&world.upstreams, &[answer], &step.expect, &mark, &mut failures).await;
    failures.into_result(String::new)
}

pub(super) async fn tcp(world: &Arc<World>, step: &Step, words: &TcpWords) -> Result<(), String> {
    let expect = &step.expect;
    let mark = Mark::of(&world.upstreams);
    let target = world.target(words.listen.as_deref(), words.tls.as_ref(), words.source.as_ref())?;
    let data = match (words.send_size, &words.send) {
        (Some(size), _) => pattern(size),
        (None, Some(word)) => word.as_str().as_bytes().to_vec(),
        (None, None) => b"hello".to_vec(),
    };
    let limit = seconds(words.timeout.unwrap_or(5.0));
    // A connection without service breaks: one wish in two words.
    let expect = &Expect { error: Some(expect.closed || expect.error == Some(true)), ..expect.clone() };
    let mut failures = Failures::default();
    let mut answers = Vec::new();
    for _ in 0..words.count.unwrap_or(1) {
        let answer = tcp_client::exchange(&target, &data, limit).await.unwrap_or_else(Answer::failed);
        let broken = answer.error.is_some();
        failures.require(broken || answer.body == data, || "the echo differs from what was sent".to_owned());
        answers.push(answer);
        if broken && expect.error == Some(false) {
            break;
        }
    }
    judge_answers(&answers, expect, &mut world.saved.lock().unwrap(), &mut failures);
    if let Some(sni) = &expect.sni {
        let last = expect.single_upstream().and_then(|name| world.upstreams.get(name)?.ledger.last_sni());
        failures.require(last.as_ref() == Some(sni), || format!("SNI {last:?}, want {sni}"));
    }
    judge_upstreams(&world.upstreams, &answers, expect, &mark, &mut failures).await;
    failures.into_result(String::new)
}

pub(super) async fn raw(world: &Arc<World>, step: &Step, words: &RawWords) -> Result<(), String> {
    let expect = &step.expect;
    let mark = Mark::of(&world.upstreams);
    let target = world.target(words.listen.as_deref(), words.tls.as_ref(), words.source.as_ref())?;
    let data = if words.escapes.unwrap_or(true) { unescape(&words.send)? } else { words.send.as_bytes().to_vec() };
    let data = bytes(&text(&data).replace("@PAD@", &"a".repeat(words.pad.unwrap_or(0))));
    let answer = raw_client::exchange(&target, &data, seconds(words.read_for.unwrap_or(3.0)).max(MOMENT)).await;
    let came = text(&answer.body);
    let open = answer.error.as_deref() == Some(STILL_OPEN);
    let mut failures = Failures::default();
    if let Some(wanted) = &expect.status {
        let holds = wanted.0.iter().any(|word| match word.as_str() {
            "closed" => answer.status.is_none() && !open,
            status => answer.status.is_some_and(|got| got.to_string() == status),
        });
        failures.require(holds, || format!("{:?} ({:?}), want status {:?}", brief(&came, 120), answer.error, wanted.0));
    }
    failures.require(!(expect.closed && open), || "the connection is still open".to_owned());
    if let Some(regex) = &expect.body_regex {
        let found = search(&format!("(?s){regex}"))?.is_match(&came);
        failures.require(found, || format!("{:?} does not match /{regex}/", brief(&came, 300)));
    }
    judge_upstreams(&world.upstreams, &[answer], expect, &mark, &mut failures).await;
    failures.into_result(String::new)
}

/// The least time for an answer to raw bytes.
const MOMENT: Duration = Duration::from_millis(50);
