//! Where words come from: a folder of YAML, watched ([`FileSource`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), mesh_router::Error> {
//! let mesh = mesh_router::Mesh::open("mesh/").await?;
//! # Ok(())
//! # }
//! ```

mod file;

pub use file::{FileSource, Watch};
