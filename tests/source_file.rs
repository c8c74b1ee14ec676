//! Files that are read, watched, broken and repaired, in real folders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use mesh_router::options::Workload;
use mesh_router::service::MeshRouter;
use mesh_router::source::FileSource;
use mesh_router::{Error, Mesh};
use tokio::time::timeout;
use tracing_subscriber::util::SubscriberInitExt;

/// A folder of its own, gone at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("mesh-router-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Written elsewhere and renamed into place, as careful programs do.
    fn replace(&self, name: &str, text: &str) {
        let next = self.path(&format!(".{name}.next"));
        fs::write(&next, text).unwrap();
        fs::rename(next, self.path(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A Gateway with one listener on `port`.
fn gateway(port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: gw{port}}}\nspec:\n  servers:\n  \
         - port: {{number: {port}, name: http, protocol: HTTP}}\n    hosts: ['*']\n"
    )
}

fn ports(mesh: &Mesh) -> Vec<u16> {
    let mut ports: Vec<_> = mesh.snapshot().listeners().iter().map(|listener| listener.port).collect();
    ports.sort_unstable();
    ports
}

/// Waits until the listeners of the mesh have these ports.
async fn until(mesh: &Mesh, expected: &[u16]) {
    let mut versions = mesh.subscribe();
    let reached = async {
        while ports(mesh) != expected {
            versions.changed().await.unwrap();
        }
    };
    if timeout(Duration::from_secs(10), reached).await.is_err() {
        panic!("the ports are {:?} and not {expected:?}", ports(mesh));
    }
}

/// Waits until a change of the files is refused for this reason.
async fn until_refused(mesh: &Mesh, reason: fn(&Error) -> bool) {
    let refused = async {
        while !mesh.report().refused().is_some_and(reason) {
            tokio::task::yield_now().await; // The report wakes nobody.
        }
    };
    if timeout(Duration::from_secs(10), refused).await.is_err() {
        panic!("{:?} is refused, and the ports are {:?}", mesh.report().refused(), ports(mesh));
    }
}

#[tokio::test]
async fn whoever_asks_is_told_when_files_are_followed_no_more() {
    let (folder, mesh) = (Folder::new(), Mesh::new());
    folder.write("gateway.yaml", &gateway(8080));
    let mut watch = FileSource::new(&folder.0).open(&mesh).await.unwrap();
    // Where the task is, whoever hears of the change breaks down.
    let hears = tracing_subscriber::fmt().with_writer(|| -> std::io::Sink { panic!("heard of it") }).set_default();
    folder.replace("gateway.yaml", "kind: {{{");
    let ended = timeout(Duration::from_secs(10), watch.ended()).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains("panicked"));
    drop(hears);
    folder.replace("gateway.yaml", &gateway(8080));
    let mut watch = FileSource::new(&folder.0).open(&mesh).await.unwrap();
    drop(mesh);
    timeout(Duration::from_secs(10), watch.ended()).await.unwrap().unwrap();
}

#[tokio::test]
async fn rules_of_the_gateway_that_an_application_stands_for_are_read_in_silence() {
    let folder = Folder::new();
    folder.write(
        "front.yaml",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: front}\nspec: {hosts: ['*'], \
         gateways: [front], http: [{route: [{destination: {host: app}}]}]}\n",
    );
    let heard = tracing_subscriber::fmt().with_writer(|| -> std::io::Sink { panic!("something was said") });
    let _heard = heard.with_max_level(tracing::Level::WARN).set_default();
    let mesh = Mesh::new();
    let _front = MeshRouter::inbound(&mesh, "default/front");
    mesh.follow(&folder.0).await.unwrap();
    assert_eq!((mesh.report().problems(), mesh.report().version()), (&[][..], 2));
}

#[tokio::test]
async fn a_folder_is_its_yaml_files_in_the_order_of_their_names() {
    let folder = Folder::new();
    folder.write("b.yaml", &gateway(2));
    folder.write("a.yml", &gateway(1));
    folder.write(".hidden.yaml", &gateway(9));
    folder.write("notes.txt", "not yaml: [");
    fs::create_dir(folder.path("sub.yaml")).unwrap();
    fs::write(folder.path("sub.yaml/c.yaml"), gateway(9)).unwrap();
    let other = Folder::new();
    other.write("linked", &gateway(3));
    std::os::unix::fs::symlink(other.path("linked"), folder.path("c.yaml")).unwrap();
    let config = FileSource::new(&folder.0).config().unwrap();
    let names: Vec<_> = config.gateways.iter().map(|gateway| gateway.meta.name.clone()).collect();
    assert_eq!(names, ["gw1", "gw2", "gw3"]);
}

#[tokio::test]
async fn several_paths_are_one_configuration_and_each_file_is_read_once() {
    let folder = Folder::new();
    folder.write("a.yaml", &gateway(1));
    let other = Folder::new();
    other.write("single.txt", &gateway(2));
    let source = FileSource::new(&folder.0).with_path(other.path("single.txt")).with_path(folder.path("a.yaml"));
    let config = source.config().unwrap();
    assert_eq!(config.gateways.len(), 2);
    assert_eq!(config.problems, []);
}

#[tokio::test]
async fn all_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("nowhere", folder.path("dangling.yaml")).unwrap();
    let error = FileSource::new(&folder.0).with_path(folder.path("missing.yaml")).config().unwrap_err();
    assert!(error.is_io());
    let text = error.to_string();
    assert!(text.contains("dangling.yaml") && text.contains("missing.yaml"), "{text}");
    assert!(text.starts_with(&format!("{}", folder.path("dangling.yaml").display())), "{text}");
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
    folder.write("dangling.yaml", "");
    assert!(Mesh::open(folder.path("missing.yaml")).await.is_err());
}

#[tokio::test]
async fn what_is_no_text_is_named_with_its_place() {
    let folder = Folder::new();
    for (bytes, place) in
        [(&b"kind: Service\n# \xc3\xa4: \xff\n"[..], "2:6"), (b"\xff\xfea\0", "1:1"), (b"a\n\xe2\x82", "2:1")]
    {
        fs::write(folder.path("a.yaml"), bytes).unwrap();
        let error = FileSource::new(&folder.0).config().unwrap_err().to_string();
        assert!(error.contains(&format!("a.yaml:{place}: error: this is no UTF-8")), "{error}");
    }
}

#[tokio::test]
async fn changes_of_a_folder_are_applied() {
    let folder = Folder::new();
    folder.write("a.yaml", &gateway(1));
    let workload = Workload { namespace: "elsewhere".into(), ..Workload::default() };
    let mesh = Mesh::builder().workload(workload).open(&folder.0).await.unwrap();
    assert_eq!((ports(&mesh), &*mesh.workload().namespace), (vec![1], "elsewhere"));
    assert!(mesh.report().problems().is_empty());
    folder.replace("b.yaml", &gateway(2));
    until(&mesh, &[1, 2]).await;
    folder.write("a.yaml", &gateway(3));
    until(&mesh, &[2, 3]).await;
    fs::remove_file(folder.path("b.yaml")).unwrap();
    until(&mesh, &[3]).await;
    fs::rename(folder.path("a.yaml"), folder.path("a.off")).unwrap();
    until(&mesh, &[]).await;
}

#[tokio::test]
async fn what_is_no_yaml_keeps_what_was_applied_until_it_is_repaired() {
    let folder = Folder::new();
    folder.write("a.yaml", &gateway(1));
    let mesh = Mesh::open(&folder.0).await.unwrap();
    folder.replace("a.yaml", "kind: {{{");
    until_refused(&mesh, Error::is_syntax).await;
    folder.replace("b.yaml", &gateway(2));
    assert_eq!(ports(&mesh), [1]);
    folder.replace("a.yaml", &gateway(3));
    until(&mesh, &[2, 3]).await;
    assert_eq!(mesh.snapshot().version(), 2, "the broken files were not applied");
}

#[tokio::test]
async fn a_single_file_may_be_replaced_and_vanish_for_a_moment() {
    let folder = Folder::new();
    folder.write("only.yaml", &gateway(1));
    let mesh = Mesh::open(folder.path("only.yaml")).await.unwrap();
    folder.write("other.yaml", &gateway(9));
    folder.replace("only.yaml", &gateway(2));
    until(&mesh, &[2]).await;
    fs::remove_file(folder.path("only.yaml")).unwrap();
    until_refused(&mesh, Error::is_io).await;
    assert_eq!(ports(&mesh), [2]);
    folder.write("only.yaml", &gateway(3));
    until(&mesh, &[3]).await;
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_as_a_whole() {
    let folder = Folder::new();
    let release = |name: &str, first: u16| {
        fs::create_dir(folder.path(name)).unwrap();
        folder.write(&format!("{name}/a.yaml"), &gateway(first));
        folder.write(&format!("{name}/b.yaml"), &gateway(first + 1));
        std::os::unix::fs::symlink(name, folder.path("..data.next")).unwrap();
        fs::rename(folder.path("..data.next"), folder.path("..data")).unwrap();
    };
    release("..2024", 1);
    for name in ["a.yaml", "b.yaml"] {
        std::os::unix::fs::symlink(Path::new("..data").join(name), folder.path(name)).unwrap();
    }
    let whole = Mesh::open(&folder.0).await.unwrap();
    let single = Mesh::open(folder.path("a.yaml")).await.unwrap();
    for (name, first) in [("..2025", 11), ("..2026", 21)] {
        release(name, first);
        until(&whole, &[first, first + 1]).await;
        until(&single, &[first]).await;
    }
    assert_eq!(whole.snapshot().version(), 3, "one swap each");
}

#[test]
fn what_is_swapped_between_two_files_is_read_as_a_whole() {
    let folder = Folder::new();
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, folder.path("..data.next")).unwrap();
        fs::rename(folder.path("..data.next"), folder.path("..data")).unwrap();
    };
    fs::create_dir(folder.path("..2024")).unwrap();
    fs::create_dir(folder.path("..2025")).unwrap();
    // A pipe is read when somebody writes, so what happens between two files can be told.
    assert!(Command::new("mkfifo").arg(folder.path("..2024/a.yaml")).status().unwrap().success());
    folder.write("..2024/b.yaml", &gateway(2));
    folder.write("..2025/a.yaml", &gateway(11));
    folder.write("..2025/b.yaml", &gateway(12));
    link("..2024");
    for name in ["a.yaml", "b.yaml"] {
        std::os::unix::fs::symlink(Path::new("..data").join(name), folder.path(name)).unwrap();
    }
    let source = FileSource::new(folder.path("a.yaml")).with_path(folder.path("b.yaml"));
    let reading = thread::spawn(move || source.config().unwrap());
    // It is opened once it is read.
    let mut pipe = fs::File::options().write(true).open(folder.path("..2024/a.yaml")).unwrap();
    link("..2025");
    pipe.write_all(gateway(1).as_bytes()).unwrap();
    drop(pipe);
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(reading.join().unwrap()).unwrap().errors().next(), None);
    assert_eq!(ports(&mesh), [11, 12]);
}

#[test]
fn no_more_of_a_file_is_read_than_a_file_may_have() {
    let folder = Folder::new();
    for name in ["a.yaml", "b.yaml", "c.yaml", "d.yaml"] {
        fs::File::create(folder.path(name)).unwrap().set_len(17 << 20).unwrap();
    }
    folder.write("e.yaml", &gateway(1));
    let error = FileSource::new(&folder.0).config().unwrap_err();
    let told: Vec<_> = error.problems().iter().map(|problem| problem.to_string()).collect();
    let expected = |name| {
        let path = folder.path(name);
        format!("{}:1:1: error: the file has more than 16777216 bytes, which are not read", path.display())
    };
    assert_eq!(told, ["a.yaml", "b.yaml", "c.yaml", "d.yaml"].map(expected));
    assert!(error.is_syntax());
    // 64 MiB together: the fifth is the first that is too much.
    for name in ["a.yaml", "b.yaml", "c.yaml", "d.yaml"] {
        fs::write(folder.path(name), vec![b'#'; 16 << 20]).unwrap();
    }
    let error = FileSource::new(&folder.0).config().unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
    let told = error.to_string();
    let expected = "e.yaml:1:1: error: the files have more than 67108864 bytes together, which are not read";
    assert!(told.ends_with(expected), "{told}");
}

/// How much of a pipe without an end is read, up to what the system keeps of it, and what is said of it.
fn read_of_a_pipe(folder: &Folder, source: FileSource) -> (usize, Error) {
    let path = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let source = source.with_path(&path);
    let reading = thread::spawn(move || source.config().unwrap_err());
    let (mut pipe, mut taken) = (fs::File::options().write(true).open(&path).unwrap(), 0);
    let part = [b'#'; 1 << 16];
    while let Ok(written) = pipe.write(&part)
        && taken < 64 << 20
    {
        taken += written;
    }
    drop(pipe);
    (taken, reading.join().unwrap())
}

#[test]
fn the_rest_of_a_file_that_is_too_long_is_not_read() {
    let folder = Folder::new();
    let (taken, error) = read_of_a_pipe(&folder, FileSource::new(folder.path("pipe")));
    assert!(error.to_string().contains("the file has more than 16777216 bytes"), "{error}");
    assert!((16 << 20..20 << 20).contains(&taken), "{taken}");
    let full = Folder::new();
    for name in ["a.yaml", "b.yaml", "c.yaml", "d.yaml"] {
        fs::write(full.path(name), vec![b'#'; 16 << 20]).unwrap();
    }
    fs::remove_file(folder.path("pipe")).unwrap();
    let (taken, error) = read_of_a_pipe(&folder, FileSource::new(&full.0));
    assert!(error.to_string().contains("the files have more than 67108864 bytes together"), "{error}");
    assert!(taken < 4 << 20, "{taken}");
}

#[tokio::test]
async fn a_pipe_in_a_folder_holds_up_no_change() {
    let folder = Folder::new();
    folder.write("a.yaml", &gateway(1));
    let mesh = Mesh::open(&folder.0).await.unwrap();
    assert!(Command::new("mkfifo").arg(folder.path("b.yaml")).status().unwrap().success());
    folder.write("a.yaml", &gateway(2));
    let error = FileSource::new(&folder.0).config().unwrap_err().to_string();
    assert!(error.ends_with("b.yaml cannot be read: it is a pipe"), "{error}");
    fs::remove_file(folder.path("b.yaml")).unwrap();
    until(&mesh, &[2]).await;
}

#[tokio::test]
async fn the_target_of_a_link_and_the_folder_itself_may_change() {
    let (folder, other) = (Folder::new(), Folder::new());
    other.write("target", &gateway(1));
    fs::create_dir(folder.path("conf")).unwrap();
    std::os::unix::fs::symlink(other.path("target"), folder.path("conf/a.yaml")).unwrap();
    let mesh = Mesh::open(folder.path("conf")).await.unwrap();
    other.write("target", &gateway(2));
    until(&mesh, &[2]).await;
    fs::create_dir(folder.path("next")).unwrap();
    folder.write("next/a.yaml", &gateway(3));
    fs::rename(folder.path("conf"), folder.path("last")).unwrap();
    fs::rename(folder.path("next"), folder.path("conf")).unwrap();
    until(&mesh, &[3]).await;
    folder.write("conf/a.yaml", &gateway(4));
    until(&mesh, &[4]).await;
}

#[tokio::test]
async fn new_files_are_noticed_by_whatever_name_the_folder_was_given() {
    for (link, named) in [(Some("conf"), "conf"), (Some("alias"), "alias"), (None, "gateway/../mesh")] {
        let folder = Folder::new();
        fs::create_dir(folder.path("mesh")).unwrap();
        fs::create_dir(folder.path("gateway")).unwrap();
        if let Some(link) = link {
            std::os::unix::fs::symlink("mesh", folder.path(link)).unwrap();
        }
        folder.write("mesh/a.yaml", &gateway(1));
        let mesh = Mesh::open(folder.path(named)).await.unwrap();
        folder.write("mesh/b.yaml", &gateway(2));
        until(&mesh, &[1, 2]).await;
        fs::remove_file(folder.path("mesh/a.yaml")).unwrap();
        until(&mesh, &[2]).await;
    }
}

#[tokio::test]
async fn any_link_on_the_way_may_be_swapped() {
    let folder = Folder::new();
    let swap = |name: &str, target: &str| {
        std::os::unix::fs::symlink(target, folder.path("next")).unwrap();
        fs::rename(folder.path("next"), folder.path(name)).unwrap();
    };
    for (release, port) in [("r1", 1), ("r2", 2)] {
        fs::create_dir_all(folder.path(release).join("mesh")).unwrap();
        folder.write(&format!("{release}/mesh/a.yaml"), &gateway(port));
    }
    fs::create_dir_all(folder.path("linking/conf")).unwrap();
    std::os::unix::fs::symlink("../../current/mesh/a.yaml", folder.path("linking/conf/b.yaml")).unwrap();
    swap("current", "r1");
    let above = Mesh::open(folder.path("current/mesh")).await.unwrap();
    let below = Mesh::open(folder.path("linking/conf")).await.unwrap();
    swap("current", "r2");
    for mesh in [&above, &below] {
        until(mesh, &[2]).await;
    }
    folder.write("r2/mesh/a.yaml", &gateway(3));
    for mesh in [&above, &below] {
        until(mesh, &[3]).await;
    }
}

#[tokio::test]
async fn folders_are_polled_where_that_is_asked_for() {
    let folder = Folder::new();
    folder.write("a.yaml", &gateway(1));
    let mesh = Mesh::new();
    let _watch = FileSource::new(&folder.0).polling(Duration::from_millis(10)).open(&mesh).await.unwrap();
    folder.replace("b.yaml", &gateway(2));
    until(&mesh, &[1, 2]).await;
}

#[tokio::test]
async fn a_strict_start_refuses_and_a_lenient_one_reports() {
    let folder = Folder::new();
    folder.write("a.yaml", &gateway(1).replace("hosts", "hostz"));
    let mesh = Mesh::new();
    let error = FileSource::new(&folder.0).strict().open(&mesh).await.unwrap_err();
    assert!(error.to_string().contains("a.yaml:7"), "{error}");
    assert_eq!(mesh.snapshot().version(), 0);
    let watch = FileSource::new(&folder.0).open(&mesh).await.unwrap();
    assert!(watch.report().problems().iter().any(|problem| problem.refuses_start()));
}

#[tokio::test]
async fn nothing_is_followed_after_the_watch_or_the_mesh() {
    let folder = Folder::new();
    folder.write("a.yaml", &gateway(1));
    let (held, dropped) = (Mesh::new(), Mesh::new());
    let watch = FileSource::new(&folder.0).open(&dropped).await.unwrap();
    let _watch = FileSource::new(&folder.0).open(&held).await.unwrap();
    drop(watch);
    folder.replace("a.yaml", &gateway(2));
    until(&held, &[2]).await;
    assert_eq!(ports(&dropped), [1]);

    let mesh = Mesh::open(&folder.0).await.unwrap();
    let mut versions = mesh.subscribe();
    drop(mesh);
    let gone = async { while versions.changed().await.is_ok() {} };
    timeout(Duration::from_secs(10), gone).await.expect("the task lets go of the mesh");
}
