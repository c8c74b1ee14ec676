//! Reading: which files there are, and what stands in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::string::FromUtf8Error;
use std::time::Duration;

use crate::config::Bounds;
use crate::error::{Error, ErrorKind, Place, Problem, Severity};

/// How many links there may be on the way to a file: as many as Linux follows.
const MOST_LINKS: usize = 40;
/// How many times files are read whose links lead elsewhere before all are read.
const MOST_READINGS: usize = 8;

/// Device and number of a folder, and when it was made, where the file system tells: a device that was mounted anew may
/// have the number of the last, and so may its folder.
pub(super) type Identity = (u64, u64, Option<Duration>);

#[cfg(unix)]
pub(super) fn identity(folder: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(folder).ok()?;
    let made = found.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    Some((found.dev(), found.ino(), made))
}

#[cfg(not(unix))]
pub(super) fn identity(_: &Path) -> Option<Identity> {
    None
}

/// Whether it would be waited for until somebody writes, which only one that was named itself is.
#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_pipe(_: &Path) -> bool {
    false
}

/// Whether a folder is the one that it was. When it was made tells one mount from another and nothing else: a folder of a
/// lower layer of an overlay is made anew, under its number, when something in it changes for the first time.
fn is_still(folder: &Path, then: &Identity) -> bool {
    identity(folder).is_some_and(|now| {
        let is_mount = || identity(&folder.join("..")).is_none_or(|around| around.0 != now.0);
        (now.0, now.1) == (then.0, then.1) && (now.2 == then.2 || !is_mount())
    })
}

/// Folders by the paths that name them.
pub(super) type Folders = BTreeMap<PathBuf, Identity>;

/// The files of a configuration as they were at one time.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The name of each, as it is reported, and its text, unless that is longer than [bounds leave](Bounds::left).
    pub(super) files: Vec<(String, Option<String>)>,
    /// How long these texts are together.
    bytes: usize,
    /// Where each really lies, links resolved.
    places: BTreeSet<PathBuf>,
    /// What they were found by.
    paths: Vec<PathBuf>,
    /// What leads to them, see [`way`].
    pub(super) ways: BTreeSet<PathBuf>,
    /// The folders that they were found in.
    pub(super) folders: Folders,
}

/// Reads all files of `paths` as they were at one time, or says of each that could not be read why.
///
/// Where there were files in one of `folders`, an empty folder in its place cannot be read: nothing is mounted there any
/// more, or what is moved there is yet to come.
pub(super) fn read(paths: &[PathBuf], folders: &Folders) -> Result<Files, Error> {
    for _ in 1..MOST_READINGS {
        let files = read_once(paths, folders)?;
        if files.are_of_one_time() {
            return Ok(files);
        }
    }
    read_once(paths, folders)
}

fn read_once(paths: &[PathBuf], folders: &Folders) -> Result<Files, Error> {
    let mut files = Files::default();
    let mut unread = Vec::new();
    for path in paths {
        let stands = identity(path);
        match list(path, folders.get(path)) {
            Ok(found) => {
                if !found.is_empty() {
                    files.folders.extend(stands.map(|stands| (path.clone(), stands)));
                }
                let mut read = |file: &PathBuf| match file != path && is_pipe(file) {
                    true => Err(Box::new(Unread::new(file, io::Error::other("it is a pipe")))),
                    false => files.read(file),
                };
                unread.extend(found.iter().filter_map(|file| read(file).err().map(|unread| *unread)));
            }
            Err(error) => unread.push(Unread::new(path, error)),
        }
    }
    let (problems, mut causes): (Vec<_>, Vec<_>) =
        unread.into_iter().map(|unread| (unread.problem, unread.cause)).unzip();
    match causes.is_empty() {
        true => Ok(files),
        false => Err(Error::new(ErrorKind::Io, problems).caused_by(causes.swap_remove(0))),
    }
}

/// A file that could not be read.
struct Unread {
    problem: Problem,
    cause: io::Error,
}

impl Unread {
    fn new(path: &Path, cause: io::Error) -> Self {
        let problem = Problem::new(Severity::Error, "", format!("{} cannot be read: {cause}", path.display()));
        Self { problem, cause }
    }
}

/// Says where a file is no text.
fn no_text(path: &Path, error: FromUtf8Error) -> Unread {
    let text = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
    let (line, column) = text.split('\n').fold((0, 0), |(lines, _), line| (lines + 1, line.chars().count() + 1));
    let place = Place::new(path.display().to_string(), line, u32::try_from(column).unwrap_or(u32::MAX));
    let problem = Problem::new(Severity::Error, "", "this is no UTF-8").with_help("save the file in UTF-8");
    Unread { problem: problem.with_place(Some(place)), cause: io::Error::new(io::ErrorKind::InvalidData, error) }
}

/// The file itself, or those of the folder, which is empty only if it is the `last`, if there is one.
fn list(path: &Path, last: Option<&Identity>) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A link that leads nowhere is a file that cannot be read, and said so later.
        let is_dir = fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir());
        if is_resource_file(&entry.file_name()) && !is_dir {
            found.push(entry.path());
        }
    }
    // Asked after it was listed: it may have been replaced before that.
    if found.is_empty() && last.is_some_and(|last| !is_still(path, last)) {
        return Err(io::Error::other("an empty folder is in its place"));
    }
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    Ok(found)
}

/// Whether a file of this name in a folder is read.
pub(super) fn is_resource_file(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    !bytes.starts_with(b".") && (bytes.ends_with(b".yaml") || bytes.ends_with(b".yml"))
}

/// Where `path` leads, links and `..` resolved; `None`: nowhere. What that depends on goes to `steps`: the links on the
/// way, and the last of it, or the first that is missing.
pub(super) fn way(path: &Path, steps: &mut BTreeSet<PathBuf>) -> Option<PathBuf> {
    let (mut real, mut links) = (PathBuf::new(), 0);
    let mut rest = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    loop {
        let mut parts = rest.components();
        let part = parts.next();
        let mut after = parts.as_path().to_owned();
        match part {
            None => return Some(real),
            Some(Component::CurDir) => {}
            Some(Component::ParentDir) => {
                real.pop();
            }
            Some(root @ (Component::Prefix(_) | Component::RootDir)) => real.push(root),
            Some(Component::Normal(name)) => {
                real.push(name);
                let link = fs::read_link(&real);
                let missing = link.is_err() && fs::symlink_metadata(&real).is_err();
                if link.is_ok() || missing || after.as_os_str().is_empty() {
                    steps.insert(real.clone());
                }
                links += usize::from(link.is_ok());
                if missing || links > MOST_LINKS {
                    return None;
                }
                if let Ok(target) = link {
                    real.pop();
                    after = target.join(after);
                }
            }
        }
        rest = after;
    }
}

impl Files {
    /// Whether links lead where they led when each file was read, and folders are those that were listed: a mounted
    /// ConfigMap may have been swapped between two.
    fn are_of_one_time(&self) -> bool {
        let mut ways = BTreeSet::new();
        for path in &self.paths {
            way(path, &mut ways);
        }
        ways == self.ways && self.folders.iter().all(|(path, stands)| identity(path) == Some(*stands))
    }

    fn read(&mut self, path: &Path) -> Result<(), Box<Unread>> {
        self.paths.push(path.to_owned());
        let unread = |error: io::Error| Box::new(Unread::new(path, error));
        let place = match way(path, &mut self.ways) {
            Some(place) => place,
            // It says why not.
            None => fs::canonicalize(path).map_err(unread)?,
        };
        if self.places.insert(place) {
            let left = Bounds::default().left(self.bytes);
            let mut bytes = Vec::new();
            let file = fs::File::open(path).map_err(unread)?;
            file.take(left as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
            let text = match bytes.len() <= left {
                true => Some(String::from_utf8(bytes).map_err(|error| Box::new(no_text(path, error)))?),
                false => None,
            };
            self.bytes += text.as_ref().map_or(0, String::len);
            self.files.push((path.display().to_string(), text));
        }
        Ok(())
    }
}
