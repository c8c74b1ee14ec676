//! A process that stands alone: listeners in front of the mesh, as Istio's Gateway describes them.
//!
//! Each worker thread has a runtime, sockets and connections to endpoints of its own; only the mesh is shared. Heads
//! are treated as Envoy treats them at an Istio gateway, and the rules are those of every other
//! [`MeshRouter`](crate::service::MeshRouter). Listeners of HTTPS and TLS end TLS or pass it on by server name, those
//! of TCP pass bytes on, those of GRPC-WEB make gRPC of gRPC-Web.
//!
//! ```
//! use std::time::Duration;
//!
//! use mesh_router::Mesh;
//! use mesh_router::gateway::Server;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), mesh_router::Error> {
//! # let folder = std::env::temp_dir().join(format!("mesh-router-gateway-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! let mesh = Mesh::open(&folder).await?; // a folder with a Gateway, VirtualServices and where they lead
//! let server = Server::builder(&mesh).admin(([127, 0, 0, 1], 0).into()).start().await?;
//! assert!(server.is_ready());
//! // Until a signal says so.
//! server.drain(Duration::from_secs(10)).await;
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```

mod admin;
mod body;
mod certificate;
mod client_hello;
mod connection;
mod control;
mod door;
mod drain;
mod entrance;
mod exchange;
mod forwarded;
mod framing;
mod grpc_web;
mod head;
mod hello;
mod idle;
mod listener;
mod referer;
mod refused;
mod retold;
mod reworded;
mod secured;
mod serve;
mod session;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod tunnel;
mod wire;
mod worker;

pub use serve::{Server, ServerBuilder};
