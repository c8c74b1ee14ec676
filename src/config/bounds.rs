//! How much text is read at most.

/// How much is read at most: what is over a bound is refused before it is parsed.
///
/// ```
/// use mesh_router::config::{Bounds, Config};
///
/// let bounds = Bounds { file_bytes: 10, ..Bounds::default() };
/// let error = Config::from_files_bounded([("mesh.yaml", "kind: VirtualService")], &bounds).unwrap_err();
/// assert!(error.is_syntax());
/// assert!(error.to_string().contains("10 bytes"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of one file: 16 MiB.
    pub file_bytes: usize,
    /// The most bytes of all files together: 64 MiB.
    pub total_bytes: usize,
    /// The most mappings and lists within each other, aliases included: 64.
    pub depth: usize,
    /// The most keys, values, lists and mappings of one file, as written: 2,000,000.
    pub nodes: usize,
    /// The most of them once every alias of a file is replaced by what it stands for: 4,000,000.
    pub expanded_nodes: usize,
}

impl Bounds {
    /// How long one more file may be after `total` bytes of others.
    pub(crate) fn left(&self, total: usize) -> usize {
        self.file_bytes.min(self.total_bytes.saturating_sub(total))
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self { file_bytes: 16 << 20, total_bytes: 64 << 20, depth: 64, nodes: 2_000_000, expanded_nodes: 4_000_000 }
    }
}
