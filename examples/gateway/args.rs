//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use mesh_router::mesh::{MeshBuilder, Report};
use mesh_router::options::Workload;
use mesh_router::source::FileSource;
use mesh_router::{BoxError, Mesh};

use crate::mesh_config;

/// A gateway that lives by Istio's traffic rules.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Names everything that is wrong with a configuration, and opens nothing.
    Check(Check),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) identity: Identity,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Files {
    /// A YAML file, or a folder of *.yaml and *.yml files. All of them are one configuration.
    #[arg(long = "config", value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    /// A YAML file, or a folder of *.yaml and *.yml files, watched. All of them are one configuration.
    #[arg(long = "config", value_name = "PATH", required_unless_present = "demo")]
    pub(crate) paths: Vec<PathBuf>,
    /// Answers GET /ready and GET /stats/prometheus here. Without it no admin port is opened.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,
    /// How many threads serve connections. Each has upstream connections of its own, so one is the default.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) workers: NonZeroUsize,
    /// Starts with what is good, and says what is not.
    #[arg(long)]
    pub(crate) quarantine: bool,
    /// Listens on TO where a Gateway says FROM.
    #[arg(long = "map-port", value_name = "FROM=TO", value_parser = ports)]
    pub(crate) ports: Vec<(u16, u16)>,
    /// A folder with the certificates of this gateway in the mesh, for ISTIO_MUTUAL: cert-chain.pem, key.pem and
    /// root-cert.pem.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) mesh_certificates: Option<PathBuf>,
    /// How many seconds requests in flight get to finish after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) drain: Duration,
    /// Runs bookinfo in this process, with traffic through the gateway.
    #[arg(long)]
    pub(crate) demo: bool,
    /// Ends the demo by itself.
    #[arg(long, value_name = "N", requires = "demo", value_parser = seconds)]
    pub(crate) demo_seconds: Option<Duration>,
    #[command(flatten)]
    pub(crate) identity: Identity,
}

/// What is true of the mesh, and who this process is.
#[derive(Debug, ClapArgs)]
pub(crate) struct Identity {
    /// A YAML file with fields of Istio's MeshConfig.
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_config: Option<PathBuf>,
    /// The namespace of this process.
    #[arg(long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    /// A label of this process, for selectors, `sourceLabels` and `failoverPriority`. Without any, every selector of a
    /// Gateway matches.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Where this process runs. Without it a label or its node says so.
    #[arg(long, value_name = "REGION/ZONE/SUBZONE", default_value = "")]
    pub(crate) locality: String,
    /// The Kubernetes node this process runs on, for its locality and for Services with `internalTrafficPolicy: Local`.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) node: String,
}

impl Serve {
    /// The mesh to start with: what its config says amiss refuses that, as it does in rules.
    pub(crate) fn mesh(&self) -> Result<MeshBuilder, BoxError> {
        let (builder, report) = self.identity.mesh()?;
        if report.refuses_start() && !self.quarantine {
            return Err(report.to_string().trim_end().into());
        }
        for problem in report.problems() {
            tracing::warn!("{problem}");
        }
        Ok(builder)
    }
}

impl Identity {
    /// The mesh, and what there is to say of its config.
    pub(crate) fn mesh(&self) -> Result<(MeshBuilder, Report), BoxError> {
        let workload = Workload {
            namespace: self.namespace.clone(),
            labels: self.labels.iter().cloned().collect(),
            locality: self.locality.clone(),
            node: self.node.clone(),
        };
        let builder = Mesh::builder().workload(workload);
        Ok(match &self.mesh_config {
            Some(path) => {
                let (options, report) = mesh_config::read(path)?;
                (builder.options(options), report)
            }
            None => (builder, Report::default()),
        })
    }
}

/// All paths as one source.
pub(crate) fn source(paths: &[PathBuf]) -> Result<FileSource, BoxError> {
    let (first, others) = paths.split_first().ok_or("there is no configuration")?;
    // Nothing is served before the rules are there.
    Ok(others.iter().fold(FileSource::new(first).in_place(), FileSource::with_path))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "no such host".to_owned())
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=').ok_or_else(|| "there is no `=`".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    pair(text).map(|(key, value)| (key.to_owned(), value.to_owned()))
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no port"));
    let (from, to) = pair(text)?;
    Ok((number(from)?, number(to)?))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
