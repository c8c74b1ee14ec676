//! A client with the rules in its own process, for the comparison with one that goes through a sidecar.
//!
//! ```text
//! in_process_client CONC SECS RATE PORT[,PORT..] CONFIG.yaml
//! ```
//!
//! It takes the arguments that a client of a sidecar takes and prints a line of JSON; the ports are not used, because
//! the endpoints stand in CONFIG.yaml. Four services are asked in turn, every fourth time for a user who has a rule of
//! his own. RATE 0 is a closed loop with CONC requests in flight; otherwise CONC tasks send that many requests per
//! second together, as exactly as a timer of milliseconds can. The first 0.7 s are not counted, except in `all` and
//! `bad`. Without arguments, as `cargo bench` has it, it only says how it is used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench that cannot run must stop")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty};
use mesh_router::config::Config;
use mesh_router::service::MeshService;
use mesh_router::{BoxError, Mesh, MeshRouter, Transport};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt};

const WARM_UP: Duration = Duration::from_millis(700);
const SERVICES: [&str; 4] = ["productpage", "reviews", "ratings", "details"];

/// What is asked for on the command line.
#[derive(Clone, Copy)]
struct Load {
    tasks: usize,
    time: Duration,
    /// Requests per second of all tasks; 0 is as many as are answered.
    rate: f64,
}

/// What is counted.
#[derive(Default)]
struct Seen {
    micros: RefCell<Vec<u32>>,
    all: Cell<u64>,
    bad: Cell<u64>,
}

impl Seen {
    fn add_bad(&self) {
        self.bad.set(self.bad.get() + 1);
    }

    fn line(mut self, cpu: u64, seconds: f64) -> String {
        let micros = self.micros.get_mut();
        micros.sort_unstable();
        let at = |share: f64| micros.get((micros.len().saturating_sub(1) as f64 * share) as usize).unwrap_or(&0);
        let (done, all, bad) = (micros.len(), self.all.get(), self.bad.get());
        let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), at(1.0));
        format!(
            r#"{{"done":{done},"all":{all},"rps":{:.1},"bad":{bad},"p50_us":{p50},"p90_us":{p90},"p99_us":{p99},"max_us":{max},"cpu_us":{cpu},"secs":{seconds:.3}}}"#,
            done as f64 / seconds
        )
    }
}

/// One after the other, requests.
struct Task {
    number: usize,
    load: Load,
    start: Instant,
    service: MeshService<Transport>,
    uris: Rc<[Uri]>,
    seen: Rc<Seen>,
}

impl Task {
    async fn run(self) {
        let end = WARM_UP + self.load.time;
        for turn in 0.. {
            if self.load.rate > 0.0 {
                let before = self.number + turn * self.load.tasks;
                sleep_until(self.start + Duration::from_secs_f64(before as f64 / self.load.rate)).await;
            }
            let sent = self.start.elapsed();
            if sent >= end {
                break;
            }
            self.seen.all.set(self.seen.all.get() + 1);
            match self.ask(self.number + turn).await {
                Ok(good) => {
                    if !good {
                        self.seen.add_bad();
                    }
                    if sent >= WARM_UP {
                        self.seen.micros.borrow_mut().push((self.start.elapsed() - sent).as_micros() as u32);
                    }
                }
                Err(_) => self.seen.add_bad(),
            }
        }
    }

    /// Whether the answer is a good one and whole.
    async fn ask(&self, number: usize) -> Result<bool, BoxError> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = self.uris[number % self.uris.len()].clone();
        if (number / self.uris.len()).is_multiple_of(4) {
            request.headers_mut().insert("end-user", HeaderValue::from_static("jason"));
        }
        let mut response = self.service.clone().oneshot(request).await?;
        let mut good = response.status() == 200;
        while let Some(frame) = response.body_mut().frame().await {
            if frame.is_err() {
                good = false;
                break;
            }
        }
        Ok(good)
    }
}

async fn measure(load: Load, mesh: &Mesh) -> String {
    let uri = |service| format!("http://{service}.bench.test/api/v1/products/0").parse().unwrap();
    let uris: Rc<[Uri]> = SERVICES.map(uri).into();
    let (seen, start) = (Rc::new(Seen::default()), Instant::now());
    seen.micros.borrow_mut().reserve(4 << 20);
    let service = MeshRouter::new(mesh).layer(Transport::new());
    let task = |number| Task { number, load, start, service: service.clone(), uris: uris.clone(), seen: seen.clone() };
    let tasks: Vec<_> = (0..load.tasks).map(|number| spawn_local(task(number).run())).collect();
    sleep(WARM_UP).await;
    let (busy, counted) = (busy(), Instant::now());
    for task in tasks {
        task.await.unwrap();
    }
    let (cpu, seconds) = (self::busy() - busy, counted.elapsed().as_secs_f64());
    Rc::into_inner(seen).unwrap().line(cpu, seconds)
}

/// The CPU of this process in microseconds, in steps of 10 ms: 100 ticks are a second on Linux.
fn busy() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the program, which may hold anything, is in parentheses; `utime` and `stime` are the 14th and 15th.
    let fields = text.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap() * 10_000).sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tasks, seconds, rate, _ports, file] = arguments.as_slice() else {
        println!("usage: in_process_client CONC SECS RATE PORT[,PORT..] CONFIG.yaml");
        return;
    };
    let time = Duration::from_secs_f64(seconds.parse().expect("SECS"));
    let load = Load { tasks: tasks.parse().expect("CONC"), time, rate: rate.parse().expect("RATE") };
    let (mesh, text) = (Mesh::new(), std::fs::read_to_string(file).expect("CONFIG.yaml"));
    let report = mesh.apply(Config::from_yaml(&text, file).unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{}", LocalSet::new().block_on(&runtime, measure(load, &mesh)));
}
