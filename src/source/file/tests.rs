//! Names that come with a change of files, under paused time, with a resolver that takes its time.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use notify::EventKind;
use notify::event::{ModifyKind, RenameMode};
use tokio::time::{Instant, sleep, timeout};

use super::follow::Follower;
use super::notice::{Change, Progress, Scope};
use crate::config::Config;
use crate::error::Error;
use crate::mesh::Mesh;
use crate::source::{Answer, DnsSource, FileSource, Resolving};

/// A file of its own, gone at the end of the test.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // By its real name, as the system tells of it.
        let folder = std::env::temp_dir().canonicalize().unwrap();
        Self(folder.join(format!("mesh-router-names-{}-{number}.yaml", std::process::id())))
    }

    /// A service for each host, which is a name.
    fn write(&self, hosts: &[&str]) {
        let entry = |host: &&str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {host}}}\nspec: {{hosts: \
                 [{host}], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n---\n"
            )
        };
        fs::write(&self.0, hosts.iter().map(entry).collect::<String>()).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Looks names up with a patience of 3 s: `late.test` takes 2 s, `never.test` for ever, `failing.test` fails after 1 s.
async fn resolving(mesh: &Mesh) -> Resolving {
    let resolver = async |name: Arc<str>| match &*name {
        "late.test" => {
            sleep(Duration::from_secs(2)).await;
            Ok(Answer::new([IpAddr::from([10, 0, 0, 2])]))
        }
        "failing.test" => {
            sleep(Duration::from_secs(1)).await;
            Err(io::ErrorKind::NotFound.into())
        }
        "never.test" => std::future::pending().await,
        _ => Ok(Answer::new([IpAddr::from([10, 0, 0, 1])])),
    };
    let resolver = move |name| Box::pin(resolver(name)) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>;
    DnsSource::new().resolver(resolver).patience(Duration::from_secs(3)).open(mesh).await
}

/// A follower of `file` whose first content is applied.
async fn following(file: &File, mesh: &Mesh) -> Follower {
    // It is told to read by the tests alone.
    let mut follower = Follower::new(vec![file.0.clone()], Some(Duration::from_secs(3600)), mesh);
    follower.reload(true).await.unwrap();
    follower
}

fn endpoints(mesh: &Mesh, host: &str) -> Option<usize> {
    let snapshot = mesh.snapshot();
    snapshot.clusters().find(|cluster| &*cluster.key.host == host).map(|cluster| cluster.view().len())
}

#[tokio::test(start_paused = true)]
async fn a_new_name_is_looked_up_while_what_was_applied_last_serves() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&["early.test"]);
    let mut follower = following(&file, &mesh).await;
    let _resolving = resolving(&mesh).await;
    assert_eq!(endpoints(&mesh, "early.test"), Some(1));
    file.write(&["early.test", "late.test"]);
    let (started, mut versions) = (Instant::now(), mesh.subscribe());
    versions.mark_unchanged();
    let watched = async {
        sleep(Duration::from_millis(1900)).await;
        assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "late.test")), (1, None));
        versions.changed().await.unwrap();
        assert_eq!(endpoints(&mesh, "late.test"), Some(1), "there was no moment without");
    };
    let (reloaded, ()) = tokio::join!(follower.reload(true), watched);
    reloaded.unwrap();
    assert_eq!(started.elapsed().as_secs(), 2);
    assert_eq!(endpoints(&mesh, "early.test"), Some(1));
    // It is looked up again when that is due, as any other.
    sleep(Duration::from_secs(8)).await;
    assert_eq!(endpoints(&mesh, "late.test"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_not_lost_while_one_that_leads_elsewhere_is_applied() {
    let (link, first, second, mesh) = (File::new(), File::new(), File::new(), Mesh::new());
    let _resolving = resolving(&mesh).await;
    first.write(&["early.test"]);
    std::os::unix::fs::symlink(&first.0, &link.0).unwrap();
    let mut follower = following(&link, &mesh).await;
    second.write(&["late.test"]);
    fs::remove_file(&link.0).unwrap();
    std::os::unix::fs::symlink(&second.0, &link.0).unwrap();
    let change = async {
        // It has been read, and its name is being looked up.
        sleep(Duration::from_secs(1)).await;
        second.write(&["late.test", "other.test"]);
    };
    tokio::join!(follower.reload(true), change).0.unwrap();
    assert_eq!(endpoints(&mesh, "other.test"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_link_leads_to_is_watched_also_while_it_is_no_yaml() {
    let (folder, first, second, mesh) = (File::new().0.with_extension("links"), File::new(), File::new(), Mesh::new());
    fs::create_dir(&folder).unwrap();
    let link = File(folder.join("a.yaml"));
    first.write(&["early.test"]);
    std::os::unix::fs::symlink(&first.0, &link.0).unwrap();
    let follower = following(&File(folder.clone()), &mesh).await;
    let changes = follower.notice.changes.clone();
    let tell = |file: &File| changes.send(Change { paths: vec![file.0.clone()], progress: Progress::Whole }).unwrap();
    let following = tokio::spawn(follower.run());
    fs::write(&second.0, "kind: {{{").unwrap();
    fs::remove_file(&link.0).unwrap();
    std::os::unix::fs::symlink(&second.0, &link.0).unwrap();
    tell(&link);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(mesh.snapshot().version(), 1);
    second.write(&["other.test"]);
    tell(&second);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "other.test")), (2, Some(0)));
    following.abort();
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(start_paused = true)]
async fn new_names_are_waited_for_as_long_as_the_patience_lasts() {
    for (hosts, seconds) in [
        (&["never.test", "late.test"][..], 3),
        // One that cannot be looked up was looked up.
        (&["failing.test"], 1),
        (&["failing.test", "late.test"], 2),
        (&["other.test"], 0),
        (&["early.test"], 0),
        (&[], 0),
    ] {
        let (file, mesh) = (File::new(), Mesh::new());
        file.write(&["early.test"]);
        let mut follower = following(&file, &mesh).await;
        let _resolving = resolving(&mesh).await;
        file.write(hosts);
        let started = Instant::now();
        follower.reload(true).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), seconds, "{hosts:?}");
        for host in hosts {
            let expected = usize::from(!["never.test", "failing.test"].contains(host));
            assert_eq!(endpoints(&mesh, host), Some(expected), "{host}");
        }
        let expected = if hosts.contains(&"early.test") { Some(1) } else { None };
        assert_eq!(endpoints(&mesh, "early.test"), expected, "{hosts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_not_waited_for_where_nobody_looks_them_up() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&["late.test"]);
    let started = Instant::now();
    let mut follower = following(&file, &mesh).await;
    drop(resolving(&mesh).await);
    tokio::task::yield_now().await;
    file.write(&["late.test", "never.test"]);
    follower.reload(true).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 2, "the first look-up, which was asked for");
    assert_eq!(endpoints(&mesh, "never.test"), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_is_gone_is_not_waited_for() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&[]);
    let mut follower = following(&file, &mesh).await;
    let _resolving = resolving(&mesh).await;
    file.write(&["never.test"]);
    let started = Instant::now();
    let dropped = async {
        sleep(Duration::from_secs(1)).await;
        drop(mesh);
    };
    let (reloaded, ()) = tokio::join!(follower.reload(true), dropped);
    assert_eq!(reloaded, None);
    assert_eq!(started.elapsed().as_secs(), 1);
}

#[test]
fn a_folder_is_watched_by_its_real_name_whatever_it_was_given() {
    let folder = File::new().0.with_extension("folder");
    fs::create_dir_all(folder.join("mesh")).unwrap();
    fs::create_dir(folder.join("gateway")).unwrap();
    let folder = folder.canonicalize().unwrap();
    std::os::unix::fs::symlink("mesh", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("link", folder.join("links")).unwrap();
    for named in ["mesh", "link", "links", "gateway/../mesh", "gateway/../links"] {
        let scope = Scope::new(&[folder.join(named)], BTreeSet::new());
        assert_eq!(*scope.folders(), BTreeSet::from([folder.clone(), folder.join("mesh")]), "{named}");
        let concerns =
            |path: &str| scope.concerns(&Change { paths: vec![folder.join(path)], progress: Progress::Other });
        assert!(concerns("mesh/new.yaml") && concerns("mesh/..data") && concerns("mesh"), "{named}");
        assert!(!concerns("new.yaml") && !concerns("mesh/notes.txt") && !concerns("gateway"), "{named}");
        assert_eq!((concerns("link"), concerns("links")), (named.contains("link"), named.contains("links")), "{named}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_looked_for_until_it_is_there() {
    let (link, target, mesh) = (File::new(), File::new(), Mesh::new());
    target.write(&["early.test"]);
    std::os::unix::fs::symlink(&target.0, &link.0).unwrap();
    // Nobody tells it of anything.
    let following = tokio::spawn(following(&link, &mesh).await.run());
    fs::remove_file(&target.0).unwrap();
    // It reads when it begins, and fails.
    sleep(Duration::from_millis(4500)).await;
    assert_eq!(endpoints(&mesh, "early.test"), Some(0), "what was applied last serves");
    target.write(&["other.test"]);
    sleep(Duration::from_millis(600)).await;
    assert_eq!(endpoints(&mesh, "other.test"), Some(0));
    assert_eq!(mesh.snapshot().version(), 2);
    fs::remove_file(&target.0).unwrap();
    // What could be read is not looked for, so this goes without being noticed.
    sleep(Duration::from_secs(60)).await;
    target.write(&["late.test"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(mesh.snapshot().version(), 2);
    drop(mesh);
    timeout(Duration::from_secs(1), following).await.expect("it ends with the mesh").unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_looked_for_without_the_mesh() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&["early.test"]);
    let following = tokio::spawn(following(&file, &mesh).await.run());
    fs::remove_file(&file.0).unwrap();
    sleep(Duration::from_millis(4500)).await;
    drop(mesh);
    timeout(Duration::from_secs(2), following).await.expect("it ends with the mesh").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_read_once_it_is_closed_or_took_too_long() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&["early.test"]);
    let follower = following(&file, &mesh).await;
    let changes = follower.notice.changes.clone();
    let tell = |progress| changes.send(Change { paths: vec![file.0.clone()], progress }).unwrap();
    let following = tokio::spawn(follower.run());
    sleep(Duration::from_millis(1)).await;
    // Cut off, and written by somebody who takes a while.
    file.write(&[]);
    tell(Progress::Writing);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(mesh.snapshot().version(), 1, "an empty configuration was not meant");
    file.write(&["other.test"]);
    tell(Progress::Writing);
    tell(Progress::Whole);
    sleep(Duration::from_millis(30)).await;
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "other.test")), (2, Some(0)));
    // Whoever never closes it has a second.
    file.write(&[]);
    tell(Progress::Writing);
    sleep(Duration::from_millis(990)).await;
    assert_eq!(mesh.snapshot().version(), 2);
    sleep(Duration::from_millis(20)).await;
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "other.test")), (3, None));
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_moved_aside_is_not_missed_before_it_is_written_anew() {
    let (folder, mesh) = (File::new().0.with_extension("vim"), Mesh::new());
    fs::create_dir(&folder).unwrap();
    let file = File(folder.join("a.yaml"));
    file.write(&["early.test"]);
    let follower = following(&File(folder.clone()), &mesh).await;
    let changes = follower.notice.changes.clone();
    let tell = |kind| {
        let progress = Progress::of(EventKind::Modify(ModifyKind::Name(kind)));
        changes.send(Change { paths: vec![file.0.clone()], progress }).unwrap();
    };
    let following = tokio::spawn(follower.run());
    sleep(Duration::from_millis(1)).await;
    fs::rename(&file.0, folder.join("a.yaml~")).unwrap();
    tell(RenameMode::From);
    sleep(Duration::from_millis(15)).await;
    assert_eq!(mesh.snapshot().version(), 1);
    file.write(&["other.test"]);
    tell(RenameMode::To);
    sleep(Duration::from_millis(25)).await;
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "other.test")), (2, Some(0)));
    following.abort();
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(start_paused = true)]
async fn files_are_polled_for_what_they_say_whatever_their_dates() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&["early.test"]);
    let watch = FileSource::new(&file.0).polling(Duration::from_secs(5)).open(&mesh).await.unwrap();
    let dated = |date| fs::File::options().append(true).open(&file.0).unwrap().set_modified(date).unwrap();
    let now = fs::metadata(&file.0).unwrap().modified().unwrap();
    for (host, date, version) in [("other.test", now, 2), ("late.test", now - Duration::from_secs(3600), 3)] {
        file.write(&[host]);
        dated(date);
        sleep(Duration::from_secs(6)).await;
        assert_eq!((mesh.snapshot().version(), endpoints(&mesh, host)), (version, Some(0)));
    }
    // The same with another date is no change, and neither is what is no YAML, nor what is not there.
    dated(now + Duration::from_secs(3600));
    sleep(Duration::from_secs(20)).await;
    let refused = |why: fn(&Error) -> bool| mesh.report().refused().map(why);
    fs::write(&file.0, "kind: {{{").unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(refused(Error::is_syntax), Some(true));
    mesh.set_endpoints("late.test", 80, Vec::new());
    fs::remove_file(&file.0).unwrap();
    assert_eq!(refused(Error::is_syntax), Some(true), "whatever else is published");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(refused(Error::is_io), Some(true));
    file.write(&["late.test"]);
    sleep(Duration::from_secs(6)).await;
    assert_eq!((mesh.snapshot().version(), refused(Error::is_io)), (4, None), "it is what is applied");
    fs::remove_file(&file.0).unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!((mesh.snapshot().version(), refused(Error::is_io)), (4, Some(true)));
    file.write(&["other.test"]);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(refused(Error::is_io), None);
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "other.test")), (5, Some(0)));
    fs::remove_file(&file.0).unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(refused(Error::is_io), Some(true));
    drop(watch);
    tokio::task::yield_now().await;
    assert_eq!(refused(Error::is_io), None, "nobody follows them any more");
}

#[tokio::test(start_paused = true)]
async fn files_may_be_looked_at_never_again() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&["early.test"]);
    let mut watch = FileSource::new(&file.0).polling(Duration::MAX).open(&mesh).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    file.write(&["late.test"]);
    assert!(timeout(Duration::from_secs(100_000), watch.ended()).await.is_err(), "it goes on");
    assert_eq!(mesh.snapshot().version(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_replaced_where_nobody_tells_is_noticed() {
    let (above, mesh) = (File::new().0.with_extension("above"), Mesh::new());
    let folder = above.join("mount/in/conf");
    let place = |host| {
        fs::create_dir_all(&folder).unwrap();
        let file = File(folder.join("a.yaml"));
        file.write(&[host]);
        file
    };
    let mut files = vec![place("early.test")];
    let _watch = FileSource::new(&folder).open(&mesh).await.unwrap();
    // As with a mount, nothing happens to the folder, nor to the one around it.
    for (number, host) in ["other.test", "late.test"].into_iter().enumerate() {
        fs::rename(above.join("mount"), above.join(number.to_string())).unwrap();
        files.push(place(host));
        sleep(Duration::from_secs(7)).await;
        assert_eq!((mesh.snapshot().version(), endpoints(&mesh, host)), (number as u64 + 2, Some(0)));
    }
    // As where nothing is mounted any more.
    fs::rename(above.join("mount"), above.join("last")).unwrap();
    fs::create_dir_all(&folder).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "late.test")), (3, Some(0)));
    files.push(place("early.test"));
    sleep(Duration::from_secs(7)).await;
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "early.test")), (4, Some(0)));
    fs::remove_dir_all(above).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_polled_is_not_read_half_written() {
    let (file, mesh) = (File::new(), Mesh::new());
    file.write(&["early.test"]);
    let _watch = FileSource::new(&file.0).polling(Duration::from_secs(5)).open(&mesh).await.unwrap();
    sleep(Duration::from_millis(4990)).await;
    // Cut off when it is looked at, and whole 10 ms after.
    file.write(&[]);
    sleep(Duration::from_millis(20)).await;
    file.write(&["other.test"]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "other.test")), (2, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn an_empty_folder_in_the_place_of_one_with_files_is_one_that_cannot_be_read() {
    let (above, beside, mesh) = (File::new().0.with_extension("places"), File::new(), Mesh::new());
    let folder = above.join("conf");
    let file = File(folder.join("a.yaml"));
    // What was there goes on somewhere else, so that no other folder is taken for it.
    let replace = |moved: &str| {
        fs::rename(&folder, above.join(moved)).unwrap();
        fs::create_dir(&folder).unwrap();
    };
    fs::create_dir_all(&folder).unwrap();
    file.write(&["early.test"]);
    beside.write(&["other.test"]);
    let mut follower = Follower::new(vec![folder.clone(), beside.0.clone()], Some(Duration::from_secs(3600)), &mesh);
    follower.reload(true).await.unwrap();
    // However often it is read, and whatever is told of it.
    for moved in ["first", "second"] {
        replace(moved);
        for _ in 0..2 {
            follower.reload(true).await.unwrap();
            assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "early.test")), (1, Some(0)), "{moved}");
        }
        fs::rename(&folder, above.join(format!("{moved} empty"))).unwrap();
        follower.reload(true).await.unwrap();
        fs::create_dir(&folder).unwrap();
    }
    // Nor is what changed beside it applied by itself.
    beside.write(&["never.test"]);
    follower.reload(true).await.unwrap();
    assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "never.test")), (1, None));
    file.write(&["late.test"]);
    follower.reload(true).await.unwrap();
    let all = |mesh: &Mesh| ["early.test", "late.test", "never.test"].map(|host| endpoints(mesh, host));
    assert_eq!((mesh.snapshot().version(), all(&mesh)), (2, [None, Some(0), Some(0)]));
    // Whoever takes the last file out of a folder means it, and may then have another one that is empty.
    fs::remove_file(&file.0).unwrap();
    follower.reload(true).await.unwrap();
    assert_eq!((mesh.snapshot().version(), all(&mesh)), (3, [None, None, Some(0)]));
    replace("third");
    beside.write(&["early.test"]);
    follower.reload(true).await.unwrap();
    assert_eq!((mesh.snapshot().version(), all(&mesh)), (4, [Some(0), None, None]));
    fs::remove_dir_all(above).unwrap();
}

#[test]
fn nothing_is_applied_after_the_watch_was_dropped() {
    // One thread reads and applies, so that it can be kept from it.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (file, mesh) = (File::new(), Mesh::new());
        let _resolving = resolving(&mesh).await;
        file.write(&["early.test"]);
        let watch = FileSource::new(&file.0).polling(Duration::from_secs(1)).open(&mesh).await.unwrap();
        file.write(&["late.test"]);
        while !mesh.needed_names().iter().any(|name| &**name.name() == "late.test") {
            sleep(Duration::from_millis(100)).await;
        }
        let (release, released) = std::sync::mpsc::channel::<()>();
        let kept = tokio::task::spawn_blocking(move || released.recv());
        // Its name is looked up, and it is about to be applied.
        tokio::time::advance(Duration::from_secs(3)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(watch);
        let _ = mesh.apply(Config::default()).unwrap();
        release.send(()).unwrap();
        kept.await.unwrap().unwrap();
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        assert_eq!((mesh.snapshot().version(), endpoints(&mesh, "late.test")), (2, None));
    });
}
