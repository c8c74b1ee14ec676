//! One case at work: its folder, certificates, upstreams and gateway.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_yaml::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::certs::Certs;
use crate::client::http1::Client;
use crate::client::{Answer, Target};
use crate::expect::{Mark, Saved};
use crate::placeholders::{Lookup, fill, fill_text};
use crate::ports;
use crate::process::Gateway;
use crate::schema::{self, Case, ClientTls, ConfigText, GatewayWord, IpAddrWord, Request, Step};
use crate::steps;
use crate::upstream::{Upstream, seconds};

/// Time limit of a case that names none, seconds.
const LIMIT: f64 = 45.0;
/// How long a gateway may take until it is ready.
const START: Duration = Duration::from_secs(15);

/// What a case needs from outside.
#[derive(Debug)]
pub(crate) struct Means {
    /// The gateway command.
    pub(crate) gateway: Vec<String>,
    pub(crate) verbose: bool,
}

/// A step in the background.
#[derive(Debug)]
pub(crate) enum Background {
    Step(JoinHandle<Result<(), String>>),
    Loop {
        task: JoinHandle<Result<Vec<Answer>, String>>,
        stop: Arc<tokio::sync::Notify>,
        expect: Box<schema::Expect>,
        mark: Mark,
    },
}

impl Drop for Background {
    fn drop(&mut self) {
        match self {
            Background::Step(task) => task.abort(),
            Background::Loop { task, .. } => task.abort(),
        }
    }
}

/// A case at work; shared with its steps in the background.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) case: Arc<Case>,
    pub(crate) means: Arc<Means>,
    folder: Folder,
    pub(crate) certs: Arc<Certs>,
    pub(crate) upstreams: BTreeMap<String, Arc<Upstream>>,
    upstream_ports: BTreeMap<String, u16>,
    listen: BTreeMap<String, u16>,
    pub(crate) admin: u16,
    pub(crate) variables: Mutex<BTreeMap<String, String>>,
    pub(crate) saved: Mutex<Saved>,
    pub(crate) background: Mutex<HashMap<String, Background>>,
    pub(crate) gateway: tokio::sync::Mutex<Option<Gateway>>,
}

/// Runs a case to its end and cleans up, whatever happens; tells why it failed.
pub(crate) async fn run(case: Arc<Case>, means: Arc<Means>) -> Result<(), String> {
    let limit = seconds(case.timeout.unwrap_or(LIMIT));
    let world = match timeout(limit, World::open(case, means)).await {
        Ok(opened) => Arc::new(opened?),
        Err(_) => return Err("the set-up does not end".to_owned()),
    };
    let mut task = tokio::spawn(steps::run_all(world.clone()));
    let mut outcome = match timeout(limit, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(format!("the harness failed: {panic}")),
        Err(_) => {
            task.abort();
            Err(format!("time limit of {}s", limit.as_secs_f64()))
        }
    };
    if let (Err(why), true) = (&mut outcome, world.means.verbose)
        && let Some(gateway) = &*world.gateway.lock().await
    {
        why.push_str("\n--- output of the gateway\n");
        why.push_str(&gateway.output_tail(4000));
    }
    world.close().await;
    outcome
}

impl World {
    async fn open(case: Arc<Case>, means: Arc<Means>) -> Result<World, String> {
        let folder = Folder::new(&case.name)?;
        std::fs::create_dir(folder.0.join("config")).map_err(|error| error.to_string())?;
        let certs = Arc::new(Certs::make(&folder.0.join("certs"), &case.certs)?);
        let upstream_ports = ports_for(case.upstreams.keys())?;
        let listen = ports_for(case.listen.iter())?;
        let mut world = World {
            case,
            means,
            folder,
            certs,
            upstreams: BTreeMap::new(),
            upstream_ports,
            listen,
            admin: ports::free()?,
            variables: Mutex::default(),
            saved: Mutex::default(),
            background: Mutex::default(),
            gateway: tokio::sync::Mutex::default(),
        };
        world.open_upstreams().await?;
        world.write_config(&world.case.config)?;
        Ok(world)
    }

    /// Opens the upstreams; a port that was taken meanwhile is replaced.
    async fn open_upstreams(&mut self) -> Result<(), String> {
        for name in self.case.upstreams.keys() {
            let mut attempts = 0;
            let upstream = loop {
                let words = match &self.case.upstreams[name] {
                    None => None,
                    Some(words) => Some(self.fill(words, None)?),
                };
                let words = schema::upstream_words(words)?;
                match Upstream::start(name, words, self.upstream_ports[name], &self.certs).await {
                    Ok(upstream) => break upstream,
                    Err(problem) if attempts == 3 => return Err(problem),
                    Err(_) => attempts += 1,
                }
                self.upstream_ports.insert(name.clone(), ports::free()?);
            };
            self.upstreams.insert(name.clone(), Arc::new(upstream));
        }
        Ok(())
    }

    async fn close(&self) {
        self.background.lock().unwrap().clear();
        if let Some(gateway) = self.gateway.lock().await.as_mut() {
            gateway.end().await;
        }
        for upstream in self.upstreams.values() {
            upstream.stop().await;
        }
        self.folder.remove();
    }

    /// Starts the gateway and waits until it says it is ready.
    pub(crate) async fn start_gateway(&self) -> Result<(), String> {
        if self.case.gateway == GatewayWord::None {
            return Ok(());
        }
        let mut command = self.command(&[]);
        command.extend(["--admin".to_owned(), format!("127.0.0.1:{}", self.admin)]);
        for word in &self.case.args {
            command.push(fill_text(word.as_str(), &Names { world: self, key: None })?);
        }
        let mut gateway = Gateway::start(&command, &self.folder.0.join("gateway.output"))?;
        let outcome = self.wait_ready(&mut gateway).await;
        *self.gateway.lock().await = Some(gateway);
        outcome
    }

    async fn wait_ready(&self, gateway: &mut Gateway) -> Result<(), String> {
        let end = Instant::now() + START;
        loop {
            if let Some(code) = gateway.exit_code() {
                return Err(format!("the gateway ended with {code} before it was ready: {}", gateway.output_tail(600)));
            }
            if self.ask_admin("/ready").await.status == Some(200) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(format!("the gateway is not ready after {START:?}: {}", gateway.output_tail(600)));
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// One request to the admin address.
    pub(crate) async fn ask_admin(&self, path: &str) -> Answer {
        let target = Target { port: self.admin, tls: None, source: None, certs: self.certs.clone() };
        let request =
            Request { path: Some(path.to_owned()), host: format!("127.0.0.1:{}", self.admin), ..Request::default() };
        let mut client = Client::new(target);
        let asked = timeout(Duration::from_secs(5), client.request(&request)).await;
        asked.unwrap_or_else(|_| Answer::failed("timeout"))
    }

    /// The gateway command with a subcommand and the paths of the configuration.
    pub(crate) fn command(&self, subcommand: &[&str]) -> Vec<String> {
        let config = self.config_folder();
        let paths: Vec<PathBuf> = match (&self.case.config, self.case.paths.as_slice()) {
            (ConfigText::File(_), []) => vec![config.join("main.yaml")],
            (ConfigText::Folder(_), []) => vec![config],
            (_, paths) => paths.iter().map(|path| config.join(path)).collect(),
        };
        let mut command = self.means.gateway.clone();
        command.extend(subcommand.iter().map(|&word| word.to_owned()));
        for path in paths {
            command.extend(["--config".to_owned(), path.display().to_string()]);
        }
        command
    }

    pub(crate) fn config_folder(&self) -> PathBuf {
        self.folder.0.join("config")
    }

    /// Writes a configuration, each file replaced as a whole.
    pub(crate) fn write_config(&self, config: &ConfigText) -> Result<(), String> {
        match config {
            ConfigText::File(text) => self.write_file("main.yaml", Some(text)),
            ConfigText::Folder(files) => {
                files.iter().try_for_each(|(name, text)| self.write_file(name, text.as_deref()))
            }
        }
    }

    /// Replaces a file by a rename from outside the folder, or removes it.
    pub(crate) fn write_file(&self, name: &str, text: Option<&str>) -> Result<(), String> {
        let at = |error: std::io::Error| format!("{name}: {error}");
        let path = self.config_folder().join(name);
        let Some(text) = text else {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(error)),
                _ => Ok(()),
            };
        };
        let new = self.folder.0.join("next-file");
        std::fs::write(&new, fill_text(text, &Names { world: self, key: None })?).map_err(at)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(at)?;
        }
        std::fs::rename(new, path).map_err(at)
    }

    /// Fills in the placeholders, `${i}` only where a key is given.
    pub(crate) fn fill(&self, words: &Value, key: Option<usize>) -> Result<Value, String> {
        fill(words, &Names { world: self, key })
    }

    /// A step with its placeholders filled in.
    pub(crate) fn step(&self, words: &Value) -> Result<Step, String> {
        Step::from_value(self.fill(words, None)?)
    }

    /// The port of a listener; the first one if none is named.
    pub(crate) fn listener(&self, name: Option<&str>) -> Result<u16, String> {
        let name = name.unwrap_or(&self.case.listen[0]);
        self.listen.get(name).copied().ok_or_else(|| format!("the case has no listener {name}"))
    }

    pub(crate) fn target(
        &self,
        listen: Option<&str>,
        tls: Option<&ClientTls>,
        source: Option<&IpAddrWord>,
    ) -> Result<Target, String> {
        Target::new(self.listener(listen)?, tls, source, &self.certs)
    }

    pub(crate) fn upstream(&self, name: &str) -> Result<&Arc<Upstream>, String> {
        self.upstreams.get(name).ok_or_else(|| format!("the case has no upstream {name}"))
    }
}

fn ports_for<'a>(names: impl Iterator<Item = &'a String>) -> Result<BTreeMap<String, u16>, String> {
    names.map(|name| Ok((name.clone(), ports::free()?))).collect()
}

/// What the placeholders of a case stand for.
struct Names<'a> {
    world: &'a World,
    key: Option<usize>,
}

impl Lookup for Names<'_> {
    fn look_up(&self, kind: &str, argument: Option<&str>) -> Result<Option<String>, String> {
        let world = self.world;
        let named = || argument.ok_or_else(|| format!("${{{kind}:...}} wants a name"));
        Ok(Some(match kind {
            "port" => {
                let name = named()?;
                let port = world.upstream_ports.get(name).ok_or_else(|| format!("the case has no upstream {name}"))?;
                port.to_string()
            }
            "listen" => world.listener(argument)?.to_string(),
            "admin" => world.admin.to_string(),
            "dir" => world.config_folder().display().to_string(),
            "var" => world.variables.lock().unwrap().get(named()?).cloned().unwrap_or_default(),
            "cert" | "key" | "ca" | "cert64" | "key64" | "ca64" => world.certs.placeholder(kind, named()?)?,
            "i" => match self.key {
                Some(key) => key.to_string(),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }
}

/// A temporary folder, removed when this is dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Folder, String> {
        let path = Path::new(&std::env::temp_dir()).join(format!("conformance-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Folder(path))
    }

    fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}
