//! `gateway --demo`: bookinfo in one process, with traffic.

mod services;
mod traffic;

use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use mesh_router::BoxError;
use mesh_router::source::FileSource;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::args::Serve;
use crate::serve;
use services::Service;
use traffic::{Browser, HEAD, Row};

const RULES: &str = include_str!("demo/bookinfo.yaml");
/// How long to wait between two visits.
const PACE: Duration = Duration::from_millis(10);
/// How long to wait between two tables.
const REFRESH: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: Serve) -> Result<ExitCode, BoxError> {
    let mut ended = pin!(serve::ended());
    let render = args.admin.and_then(|_| serve::recorder());
    let mesh = args.mesh()?.build();
    let mut rules = RULES.to_owned();
    for service in Service::ALL {
        let address = service.start(&mesh).await?;
        rules = rules.replace(&format!("${{{}}}", service.name()), &address.port().to_string());
    }
    let gateway = free_address()?;
    rules = rules.replace("${gateway}", &gateway.port().to_string());
    let file = RulesFile::write(&rules)?;
    let _watch = FileSource::new(&file.path).strict().open(&mesh).await?;
    let server = serve::server(&args, &mesh, render).start().await?;
    introduce(gateway, &file.path);
    let until = args.demo_seconds.map(|seconds| Instant::now() + seconds);
    tokio::select! {
        () = visit(gateway) => {}
        () = ended.as_mut() => {}
        () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
    }
    server.drain(args.drain).await;
    let _ = writeln!(stdout());
    Ok(ExitCode::SUCCESS)
}

/// A port that was free a moment ago: the rules have to name it before anything listens.
fn free_address() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// The rules as a file that can be changed, gone with the demo.
struct RulesFile {
    folder: PathBuf,
    path: PathBuf,
}

impl RulesFile {
    fn write(rules: &str) -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("mesh-router-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("bookinfo.yaml");
        std::fs::write(&path, rules)?;
        Ok(Self { folder, path })
    }
}

impl Drop for RulesFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn introduce(gateway: SocketAddr, rules: &Path) {
    let text = format!(
        "bookinfo runs in this process, behind the gateway http://{gateway}

  curl http://{gateway}/productpage
  curl -H 'end-user: jason' http://{gateway}/productpage
  sed -i 's/weight: 50/weight: 5000/' {}
",
        rules.display()
    );
    let _ = writeln!(stdout(), "{text}");
}

/// Visits the page for ever, one visit in five as Jason, and shows who answered.
async fn visit(gateway: SocketAddr) {
    let terminal = stdout().is_terminal();
    let mut rows = [Row::new(None), Row::new(Some("jason"))];
    let mut browser = Browser::new(gateway);
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = Instant::now();
    let mut first = true;
    loop {
        pace.tick().await;
        let jason = (rows[0].requests() + rows[1].requests()) % 5 == 4;
        browser.visit(&mut rows[usize::from(jason)]).await;
        if shown.elapsed() >= REFRESH {
            shown = Instant::now();
            show(&rows, terminal && !first);
            first = false;
        }
    }
}

/// Prints the table, over the last one if asked to.
fn show(rows: &[Row], over: bool) {
    let mut out = stdout().lock();
    let up = if over { format!("\x1b[{}A", rows.len() + 1) } else { String::new() };
    let _ = writeln!(out, "{up}{HEAD}");
    for row in rows {
        let _ = writeln!(out, "{row}");
    }
    let _ = out.flush();
}
