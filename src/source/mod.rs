//! Where words come from: a folder of YAML, watched (`FileSource`), and where addresses come from: names that are
//! looked up ([`DnsSource`]).
//!
#![cfg_attr(feature = "file", doc = "```")]
#![cfg_attr(not(feature = "file"), doc = "```ignore")]
//! use mesh_router::Mesh;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), mesh_router::Error> {
//! # let folder = std::env::temp_dir().join(format!("mesh-router-source-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! let mesh = Mesh::open(&folder).await?; // followed until the last clone of the mesh is dropped
//! assert_eq!(mesh.snapshot().version(), 1);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok(())
//! # }
//! ```

mod dns;
#[cfg(feature = "file")]
mod file;

#[cfg(feature = "dns")]
pub use dns::TtlResolver;
pub use dns::{Answer, DnsSource, Resolve, Resolving, SystemResolver};
#[cfg(feature = "file")]
pub use file::{FileSource, Watch};
