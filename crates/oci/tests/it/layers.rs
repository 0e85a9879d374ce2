//! Unpacking, mounting and copying.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci::{Access, Limits, MountOptions, RootFs, Snapshotter};

use crate::support::{Fixture, Item, Mounted, Parts, gzip, tar_of, zstd};

/// Unpacks the layers and shows what a container would see, by the kernel's overlay or by copying.
fn seen(fixture: &Fixture, layers: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>) -> (PathBuf, Option<Mounted>) {
    let image = Parts::new(layers, pack).store(&fixture.store, "test").unwrap();
    let root = fixture.store.hold("container-1", &image, Access::Writable).unwrap();
    match &root {
        RootFs::Directory(path) => (path.clone(), None),
        RootFs::Overlay(_) => {
            let target = fixture.dir.path().join("mnt");
            fs::create_dir(&target).unwrap();
            root.mount(&target, MountOptions::default()).unwrap();
            (target.clone(), Some(Mounted(target)))
        }
    }
}

fn both(check: impl Fn(&Fixture)) {
    for snapshotter in [Snapshotter::Overlay, Snapshotter::Copy] {
        check(&Fixture::with(snapshotter, Limits::default()));
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn attributes_survive() {
    both(|fixture| {
        let layer = tar_of(&[
            Item::Dir("bin/", 0o755),
            Item::Mode("bin/su", 0o4755, (0, 42), b"x"),
            Item::Mode("home", 0o600, (70_000, 1_000_000), b"y"),
            Item::Dir("tmp/", 0o1777),
            Item::Xattr("capable", "user.note", "kept"),
            Item::Symlink("bin/sh", "/nowhere/to/be/found"),
            Item::Hard("bin/also", "bin/su"),
            Item::Node("dev-null", 'c', (1, 3)),
            Item::Node("pipe", 'p', (0, 0)),
        ]);
        let (root, _mounted) = seen(fixture, &[layer], gzip);
        let of = |path: &str| fs::symlink_metadata(root.join(path)).unwrap();
        assert_eq!((of("bin/su").mode() & 0o7777, of("bin/su").gid()), (0o4755, 42));
        assert_eq!((of("home").uid(), of("home").gid()), (70_000, 1_000_000));
        assert_eq!(of("tmp").mode() & 0o7777, 0o1777);
        assert_eq!(of("bin/su").mtime(), 1_600_000_000);
        assert_eq!(of("bin").mtime(), 1_600_000_000);
        assert_eq!(of("bin/su").ino(), of("bin/also").ino());
        assert_eq!(fs::read_link(root.join("bin/sh")).unwrap(), Path::new("/nowhere/to/be/found"));
        assert!(of("dev-null").file_type().is_char_device() && of("pipe").file_type().is_fifo());
        let mut value = [0; 8];
        let n = rustix::fs::getxattr(root.join("capable"), "user.note", &mut value).unwrap();
        assert_eq!(&value[..n], b"kept");
    });
}

#[test]
fn upper_layers_delete_and_replace() {
    both(|fixture| {
        let lower = tar_of(&[
            Item::Dir("opt/", 0o711),
            Item::File("opt/a", b"a"),
            Item::File("opt/b", b"b"),
            Item::Dir("cache/", 0o755),
            Item::File("cache/old", b"old"),
            Item::Dir("data/", 0o755),
            Item::File("data/x", b"x"),
            Item::File("file", b"was a file"),
            Item::Dir("dir/", 0o755),
            Item::File("dir/inner", b"i"),
        ]);
        let upper = tar_of(&[
            // The directory is implied, so it keeps the mode that it has below.
            Item::File("opt/.wh.a", b""),
            Item::File("opt/c", b"c"),
            Item::Dir("cache/", 0o755),
            Item::File("cache/.wh..wh..opq", b""),
            Item::File("cache/new", b"new"),
            // Deleted and made anew in one layer, in both orders.
            Item::File(".wh.data", b""),
            Item::Dir("data/", 0o755),
            Item::File("data/y", b"y"),
            Item::Dir("file/", 0o755),
            Item::File("file/inner", b"now a directory"),
            Item::File("dir", b"now a file"),
        ]);
        let (root, _mounted) = seen(fixture, &[lower, upper], gzip);
        assert_eq!(names(&root.join("opt")), ["b", "c"]);
        assert_eq!(fs::metadata(root.join("opt")).unwrap().mode() & 0o7777, 0o711);
        assert_eq!(names(&root.join("cache")), ["new"]);
        assert_eq!(names(&root.join("data")), ["y"]);
        assert_eq!(names(&root.join("file")), ["inner"]);
        assert_eq!(fs::read(root.join("dir")).unwrap(), b"now a file");
        assert_eq!(names(&root), ["cache", "data", "dir", "file", "opt"]);
    });
}

#[test]
fn a_whiteout_after_the_new_directory_hides_only_the_old_one() {
    both(|fixture| {
        let lower = tar_of(&[Item::Dir("d/", 0o755), Item::File("d/old", b"")]);
        let upper = tar_of(&[Item::Dir("d/", 0o755), Item::File("d/new", b""), Item::File(".wh.d", b"")]);
        let (root, _mounted) = seen(fixture, &[lower, upper], zstd);
        assert_eq!(names(&root.join("d")), ["new"]);
    });
}

#[test]
fn hard_links_reach_files_of_lower_layers() {
    both(|fixture| {
        let lower = tar_of(&[Item::Dir("a/", 0o750), Item::Mode("a/file", 0o640, (7, 8), b"shared")]);
        let upper = tar_of(&[Item::Hard("link", "a/file")]);
        let (root, _mounted) = seen(fixture, &[lower, upper], gzip);
        let (file, link) =
            (fs::metadata(root.join("a/file")).unwrap(), fs::metadata(root.join("link")).unwrap());
        assert_eq!(file.ino(), link.ino());
        assert_eq!((link.uid(), link.gid(), link.mode() & 0o7777), (7, 8, 0o640));
        assert_eq!(fs::metadata(root.join("a")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(fs::read(root.join("link")).unwrap(), b"shared");
    });
}

#[test]
fn links_within_the_image_are_followed_for_parents() {
    both(|fixture| {
        let layer = tar_of(&[
            Item::Dir("usr/", 0o755),
            Item::Dir("usr/lib/", 0o755),
            Item::Symlink("lib", "usr/lib"),
            Item::Symlink("abs", "/usr/lib"),
            Item::Symlink("up", "../../../usr"),
            Item::File("lib/one", b"1"),
            Item::File("abs/two", b"2"),
            Item::File("up/three", b"3"),
        ]);
        let (root, _mounted) = seen(fixture, &[layer], |plain| plain.to_vec());
        assert_eq!(names(&root.join("usr/lib")), ["one", "two"]);
        assert_eq!(names(&root.join("usr")), ["lib", "three"]);
    });
}

#[test]
fn many_layers_fit_into_a_mount() {
    let fixture = Fixture::new();
    let layers: Vec<_> = (0..120).map(|n| tar_of(&[Item::File(&format!("f{n}"), b"x")])).collect();
    let (root, _mounted) = seen(&fixture, &layers, gzip);
    assert_eq!(names(&root).len(), 120);
    fs::write(root.join("new"), b"writable").unwrap();
    assert_eq!(fixture.store.written_by("container-1").unwrap().inodes, 2);
}

/// Paths too long for the kernel's parameters, and then too many for its page of options.
#[test]
fn long_paths_fit_into_a_mount() {
    let outer = Fixture::new();
    let root = outer.dir.path().join("deep,:\\".repeat(20)).join("d".repeat(200));
    let store = oci::Store::open(&root, outer.store.options().clone()).unwrap();
    for (name, count) in [("few", 3), ("many", 60)] {
        let layers: Vec<_> = (0..count).map(|n| tar_of(&[Item::File(&format!("{name}{n}"), b"x")])).collect();
        let image = Parts::new(&layers, gzip).store(&store, name).unwrap();
        let target = outer.dir.path().join(name);
        fs::create_dir(&target).unwrap();
        let options = MountOptions { no_dev: true, ..MountOptions::default() };
        store.hold(name, &image, Access::Writable).unwrap().mount(&target, options).unwrap();
        let _mounted = Mounted(target.clone());
        assert_eq!(names(&target).len(), count);
        fs::write(target.join("new"), b"writable").unwrap();
    }
}

#[test]
fn image_volumes_are_read_only() {
    let fixture = Fixture::new();
    for (owner, layers) in [("one", 1), ("two", 2), ("none", 0)] {
        let layers: Vec<_> = (0..layers).map(|n| tar_of(&[Item::File(&format!("f{n}"), b"x")])).collect();
        let image = Parts::new(&layers, gzip).store(&fixture.store, owner).unwrap();
        let root = fixture.store.hold(owner, &image, Access::ReadOnly).unwrap();
        let target = fixture.dir.path().join(owner);
        fs::create_dir(&target).unwrap();
        root.mount(&target, MountOptions { read_only: true, no_exec: true, ..MountOptions::default() })
            .unwrap();
        let mounted = Mounted(target.clone());
        assert_eq!(names(&target).len(), layers.len());
        let error = fs::write(target.join("new"), b"").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        drop(mounted);
        fixture.store.release(owner).unwrap();
        fixture.store.release(owner).unwrap();
    }
    assert!(fixture.store.holders().unwrap().is_empty());
}

#[test]
fn holding_is_idempotent_and_exclusive_to_one_image() {
    let fixture = Fixture::new();
    let image = |name: &str| {
        let layer = tar_of(&[Item::File(name, b"x")]);
        Parts::new(&[layer], gzip).store(&fixture.store, name).unwrap()
    };
    let (a, b) = (image("a"), image("b"));
    let first = fixture.store.hold("c", &a, Access::Writable).unwrap();
    let RootFs::Overlay(oci::Overlay { upper: Some((upper, _)), .. }) = &first else {
        panic!("an overlay was asked for")
    };
    fs::write(upper.join("written"), b"by the container").unwrap();
    assert_eq!(fixture.store.hold("c", &a, Access::Writable).unwrap(), first);
    assert!(upper.join("written").exists());
    // A crash may come between the record and the directories.
    fs::remove_dir_all(upper).unwrap();
    fixture.reopen().hold("c", &a, Access::Writable).unwrap();
    assert!(upper.exists());
    assert_eq!(fixture.reopen().held("c").unwrap(), Some(first));
    assert_eq!(fixture.store.hold("c", &b, Access::Writable).unwrap_err().kind(), oci::Kind::Conflict);
    assert!(fixture.store.hold("../c", &b, Access::Writable).is_err());
}

/// GNU tar writes the archives: long names, sparse files in every format, and extended attributes.
#[test]
fn archives_by_gnu_tar_are_read() {
    let fixture = Fixture::new();
    let source = fixture.dir.path().join("source");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    fs::create_dir_all(source.join("d".repeat(120))).unwrap();
    fs::write(source.join(&long), b"long").unwrap();
    std::os::unix::fs::symlink("t".repeat(180), source.join("link")).unwrap();
    let holey = fs::File::create(source.join("holey")).unwrap();
    use std::os::unix::fs::FileExt;
    for at in 0..12u64 {
        holey.write_all_at(format!("piece {at}").as_bytes(), at * (1 << 20)).unwrap();
    }
    holey.set_len(64 << 20).unwrap();
    fs::set_permissions(source.join("holey"), fs::Permissions::from_mode(0o640)).unwrap();
    for (n, arguments) in [
        vec!["--format=gnu", "--sparse"],
        vec!["--format=pax", "--sparse", "--sparse-version=0.0"],
        vec!["--format=pax", "--sparse", "--sparse-version=0.1"],
        vec!["--format=pax", "--sparse", "--sparse-version=1.0"],
        vec!["--format=posix", "--xattrs"],
    ]
    .into_iter()
    .enumerate()
    {
        let made = std::process::Command::new("tar")
            .args(&arguments)
            .args(["-C"])
            .arg(&source)
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        assert!(made.status.success(), "{arguments:?}");
        let image = Parts::new(&[made.stdout], gzip).store(&fixture.store, &format!("t{n}")).unwrap();
        let RootFs::Overlay(root) = fixture.store.hold(&format!("c{n}"), &image, Access::Writable).unwrap()
        else {
            panic!("an overlay was asked for");
        };
        let tree = &root.lower[0];
        assert_eq!(fs::read(tree.join(&long)).unwrap(), b"long", "{arguments:?}");
        assert_eq!(
            fs::read(tree.join("holey")).unwrap(),
            fs::read(source.join("holey")).unwrap(),
            "{arguments:?}"
        );
        let of = fs::metadata(tree.join("holey")).unwrap();
        assert_eq!(of.mode() & 0o7777, 0o640);
        assert!(of.blocks() * 512 < 4 << 20, "{arguments:?}: holes stay holes");
        assert_eq!(fs::read_link(tree.join("link")).unwrap().as_os_str().len(), 180);
    }
}
