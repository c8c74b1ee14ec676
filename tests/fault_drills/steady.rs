//! The long form: each fault under a steady load, and the share of requests that failed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use mesh_router::config::Config;
use mesh_router::{Mesh, MeshRouter, Transport};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tower::{Layer, ServiceExt};

use super::rules;
use super::upstream::{Fault, Upstream};

/// Requests per second, unless `DRILL_RATE` says otherwise.
const RATE: u32 = 1000;
/// How long a request may take before it counts as failed, whatever the rules say.
const PATIENCE: Duration = Duration::from_secs(5);

/// A gateway in front of the same rules, whose command line is that of the example `gateway`.
struct Front {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Front {
    async fn start(command: &str, rules: &str) -> Self {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let gateway = format!(
            "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['*']}}]
"
        );
        let folder = std::env::temp_dir().join(format!("mesh-router-drill-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("drill.yaml");
        std::fs::write(&file, format!("{rules}{gateway}")).unwrap();
        let mut words = command.split_whitespace();
        let mut process = Command::new(words.next().expect("a command"));
        process.args(words).arg("--config").arg(&file).stderr(Stdio::null()).stdout(Stdio::null());
        let mut process = process.kill_on_drop(true).spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(process.try_wait().unwrap().is_none(), "the gateway ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { process, folder, port }
    }

    async fn end(mut self) {
        // Gently, since it may have processes of its own.
        let id = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        self.process.wait().await.unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// What a request came to: `None` if it was answered as it should.
async fn failure(request: impl Future<Output = Result<(StatusCode, bool), String>>) -> Option<String> {
    match timeout(PATIENCE, request).await {
        Ok(Ok((StatusCode::OK, true))) => None,
        Ok(Ok((StatusCode::OK, false))) => Some("body broke off".to_owned()),
        Ok(Ok((status, _))) => Some(status.as_u16().to_string()),
        Ok(Err(error)) => Some(error),
        Err(_) => Some("no answer".to_owned()),
    }
}

async fn drill(fault: Fault, length: Duration, rate: u32, gateway: Option<&str>) -> String {
    let upstreams = [Upstream::start().await, Upstream::start().await, Upstream::start().await];
    let rules = rules(&upstreams.each_ref().map(|upstream| upstream.port), "LEAST_REQUEST", "1s");
    let mesh = Mesh::new();
    let mut front = None;
    let mut uri = "http://shop.test/".to_owned();
    match gateway {
        // Through a gateway this side has no rules.
        Some(command) => {
            let started = Front::start(command, &rules).await;
            uri = format!("http://127.0.0.1:{}/", started.port);
            front = Some(started);
        }
        None => drop(mesh.apply(Config::from_yaml(&rules, "drill.yaml").unwrap()).unwrap()),
    }
    let client = MeshRouter::new(&mesh).layer(Transport::new());
    let send = || {
        let request = Request::get(&uri).header("host", "shop.test").body(Empty::<Bytes>::new()).unwrap();
        let answer = client.clone().oneshot(request);
        failure(async {
            let answer = answer.await.map_err(|error| error.to_string())?;
            let status = answer.status();
            Ok((status, answer.into_body().collect().await.is_ok_and(|body| body.to_bytes() == "well\n")))
        })
    };
    // All are known and used before one falls ill.
    while upstreams.iter().any(|upstream| upstream.requests() < 10) {
        assert_eq!(send().await, None);
    }
    upstreams[1].fault.send_replace(fault);
    let (mut tasks, mut sent, mut failures) = (JoinSet::new(), 0_u32, BTreeMap::<String, u32>::new());
    let (begin, mut ticks) = (Instant::now(), interval(Duration::from_secs(1) / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while begin.elapsed() < length {
        ticks.tick().await;
        tasks.spawn(send());
        sent += 1;
        while let Some(done) = tasks.try_join_next() {
            done.unwrap().into_iter().for_each(|failure| *failures.entry(failure).or_default() += 1);
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().into_iter().for_each(|failure| *failures.entry(failure).or_default() += 1);
    }
    if let Some(front) = front {
        front.end().await;
    }
    let failed: u32 = failures.values().sum();
    let share = f64::from(failed) * 100.0 / f64::from(sent);
    format!("{:<8} {sent:>8} {failed:>8} {share:>8.3} %  {failures:?}", format!("{fault:?}"))
}

/// `DRILL_SECONDS` is the length of each drill. `DRILL_GATEWAY` is the command of a gateway to drill instead of the
/// layer in this process; it gets `--config FILE`. `DRILL_FAULT` is the only one that is drilled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a command of its own: .ci/drills"]
async fn steady_load() {
    let seconds = std::env::var("DRILL_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(10);
    let gateway = std::env::var("DRILL_GATEWAY").ok();
    let only = std::env::var("DRILL_FAULT").ok();
    let rate = std::env::var("DRILL_RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(RATE);
    println!("{rate} requests per second, through {}", gateway.as_deref().unwrap_or("the layer in this process"));
    println!("{:<8} {:>8} {:>8} {:>8}", "fault", "sent", "failed", "share");
    for fault in [Fault::None, Fault::Killed, Fault::Hung, Fault::Reset, Fault::Slow] {
        if only.as_ref().is_some_and(|only| *only != format!("{fault:?}")) {
            continue;
        }
        println!("{}", drill(fault, Duration::from_secs(seconds), rate, gateway.as_deref()).await);
    }
}
