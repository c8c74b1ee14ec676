//! A process that stands alone: listeners in front of the mesh, as Istio's Gateway describes them.
//!
//! Each worker thread has a runtime, sockets and connections to endpoints of its own; only the mesh is shared. Heads
//! are treated as Envoy treats them at an Istio gateway, and the rules are those of every other
//! [`MeshRouter`](crate::service::MeshRouter).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use mesh_router::Mesh;
//! use mesh_router::gateway::Server;
//!
//! # async fn example() -> Result<(), mesh_router::Error> {
//! let mesh = Mesh::open("mesh/").await?;
//! let server = Server::builder(&mesh).admin(([127, 0, 0, 1], 15021).into()).start().await?;
//! tokio::signal::ctrl_c().await.ok();
//! server.drain(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod body;
mod connection;
mod drain;
mod exchange;
mod framing;
mod head;
mod listener;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod tunnel;
mod wire;
mod worker;

pub use serve::{Server, ServerBuilder};
