//! The embedded runtime as the kubelet uses it.

use runtime::cri::*;

use crate::node::*;

world_test!(a_pod_runs_and_leaves_nothing, |world| async move {
    let node = Node::new(world).await;
    let pod = node.sandbox("web", same).await.unwrap();
    let script = "echo out; echo err >&2; cat /etc/motd; hostname; echo $FROM_IMAGE $HOME; exit 3";
    let (code, log) = node.script(&pod, "a", script, same).await;
    assert_eq!(code, 3);
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort();
    assert_eq!(lines, ["err", "out", "web", "welcome", "yes /root"]);
    let status = node.status(&node.create(&pod, "b", &["true"], same).await.unwrap()).await;
    assert_eq!((status.state(), status.image_ref.is_empty()), (ContainerState::Created, false));
    node.clear().await;
});

world_test!(ends_have_upstreams_reasons, |world| async move {
    let node = Node::new(world).await;
    let pod = node.sandbox("ends", same).await.unwrap();
    for (name, script, code, reason) in [
        ("zero", "exit 0", 0, "Completed"),
        ("one", "exit 42", 42, "Error"),
        ("signal", "kill -9 $$", 137, "Error"),
        ("missing", "no-such-program", 127, "Error"),
    ] {
        // In a pid namespace of its own a process is init, and init ignores its own signals.
        let id = node
            .run(&pod, name, &["sh", "-c", script], |config| {
                security(config).namespace_options.as_mut().unwrap().pid = NamespaceMode::Node.into();
            })
            .await
            .unwrap();
        let status = node.ended(&id).await;
        assert_eq!((status.exit_code, &*status.reason), (code, reason), "{name}");
        assert!(status.finished_at >= status.started_at && status.started_at > 0);
    }
    for (name, command, message) in [
        ("lost", "foo", "exec: \"foo\": executable file not found in $PATH"),
        ("absent", "/foo", "exec: \"/foo\": stat /foo: no such file or directory"),
        ("directory", "/etc", "exec: \"/etc\": is a directory"),
        ("plain", "/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let id = node.create(&pod, name, &[command], same).await.unwrap();
        let error = node.start(&id).await.unwrap_err();
        assert!(error.message.ends_with(message), "{error}");
        assert!(
            error.message.contains("unable to start container process: error during container init: exec")
        );
        let status = node.ended(&id).await;
        assert_eq!((status.exit_code, &*status.reason), (128, "StartError"));
    }
    node.clear().await;
});

world_test!(limits_bite, |world| async move {
    let node = Node::new(world).await;
    let pod = node.sandbox("limits", same).await.unwrap();
    let eat = "head -c 200000000 /dev/zero | tail";
    let (code, _) = node
        .script(&pod, "memory", &format!("{eat}; exit $?"), |config| {
            resources(config).memory_limit_in_bytes = 16 << 20;
        })
        .await;
    assert_ne!(code, 0);
    let list = node.engine.list_containers(ListContainersRequest::default()).await.unwrap();
    assert_eq!(node.status(&list.containers[0].id).await.reason, "OOMKilled");

    let id = node
        .run(&pod, "cpu", &["sleep", "1000"], |config| {
            let resources = resources(config);
            (resources.cpu_quota, resources.cpu_period, resources.cpu_shares) = (50_000, 100_000, 512);
        })
        .await
        .unwrap();
    let read = |file: &str| {
        let path = format!("/sys/fs/cgroup/cpu{}/{id}/{file}", node.world.cgroup("pods"));
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    assert_eq!((&*read("cpu.cfs_quota_us"), &*read("cpu.shares")), ("50000", "512"));
    let update = UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(LinuxContainerResources {
            cpu_quota: 20_000,
            memory_limit_in_bytes: 64 << 20,
            ..Default::default()
        }),
        ..Default::default()
    };
    node.engine.update_container_resources(update).await.unwrap();
    assert_eq!(read("cpu.cfs_quota_us"), "20000");
    let linux = node.status(&id).await.resources.unwrap().linux.unwrap();
    assert_eq!((linux.cpu_quota, linux.cpu_shares, linux.memory_limit_in_bytes), (20_000, 512, 64 << 20));
    let stats =
        node.engine.container_stats(ContainerStatsRequest { container_id: id.clone() }).await.unwrap();
    let memory = stats.stats.unwrap().memory.unwrap();
    assert!(memory.usage_bytes.unwrap().value > 0 && memory.available_bytes.unwrap().value < 64 << 20);
    node.clear().await;
});

world_test!(security_settings_hold, |world| async move {
    let node = Node::new(world).await;
    let pod = node.sandbox("security", same).await.unwrap();
    let as_web: Change<ContainerConfig> = |config| {
        security(config).run_as_username = "web".to_owned();
    };
    // A call that the default profile denies, without no_new_privs, as root and as somebody else.
    let deny = "unshare -m true || echo denied";
    for (name, change) in [("root", same as Change<ContainerConfig>), ("user", as_web)] {
        let (_, log) = node.script(&pod, name, deny, change).await;
        assert!(log.ends_with("denied"), "{log}");
    }
    let (_, log) = node
        .script(
            &pod,
            "id",
            "id; grep -E 'Seccomp:|NoNewPrivs|CapEff|CapBnd|CapPrm' /proc/self/status | tr '\\t' ' '",
            as_web,
        )
        .await;
    assert!(log.starts_with("uid=1000(web) gid=1000(web) groups=1000(web),2000(extra)\n"), "{log}");
    for line in [
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "CapBnd: 00000000a80425fb",
        "NoNewPrivs: 0",
        "Seccomp: 2",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
    let (_, log) = node
        .script(
            &pod,
            "unconfined",
            "grep -E 'Seccomp:' /proc/self/status | tr '\\t' ' '; unshare -m true && echo allowed",
            |config| {
                security(config).privileged = true;
            },
        )
        .await;
    assert_eq!(log, "Seccomp: 0\nallowed");
    let (_, log) = node
        .script(&pod, "nnp", "grep NoNewPrivs /proc/self/status | tr '\\t' ' '", |config| {
            security(config).no_new_privs = true;
        })
        .await;
    assert_eq!(log, "NoNewPrivs: 1");
    let (code, log) = node.script(&pod, "readonly", "touch /x 2>&1; echo y > /dev/shm/z && echo shm; (echo x > /proc/sys/kernel/domainname) 2>&1; head -c 1 /proc/keys | wc -c", |config| {
        security(config).readonly_rootfs = true;
    }).await;
    assert_eq!(code, 0);
    assert_eq!(
        log,
        "touch: /x: Read-only file system\nshm\nsh: can't create /proc/sys/kernel/domainname: Read-only file system\n0"
    );
    let (_, log) = node
        .script(&pod, "caps", "grep CapEff /proc/self/status | tr '\\t' ' '", |config| {
            security(config).capabilities = Some(Capability {
                add_capabilities: vec!["NET_ADMIN".into()],
                drop_capabilities: vec!["ALL".into()],
                ..Capability::default()
            });
        })
        .await;
    assert_eq!(log, "CapEff: 0000000000001000");
    let (_, log) = node
        .script(
            &pod,
            "device",
            "dd if=/dev/vda of=/dev/null count=1 2>&1 | head -1; ls /dev | tr '\\n' ' '",
            same,
        )
        .await;
    assert!(log.contains("No such file"), "{log}");
    for name in ["full", "null", "ptmx", "pts", "random", "shm", "stderr", "tty", "zero"] {
        assert!(log.contains(name), "{name} in {log}");
    }
    node.clear().await;
});

world_test!(user_namespaces_map_the_root_and_the_volumes, |world| async move {
    let volume = world.dir.join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    let node = Node::new(world).await;
    let map = |host| vec![IdMapping { host_id: host, container_id: 0, length: 65536 }];
    let pod = node
        .sandbox("userns", |config| {
            let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            let map = vec![IdMapping { host_id: 200_000, container_id: 0, length: 65536 }];
            context.namespace_options = Some(NamespaceOption {
                userns_options: Some(UserNamespace {
                    mode: NamespaceMode::Pod.into(),
                    uids: map.clone(),
                    gids: map,
                }),
                ..NamespaceOption::default()
            });
        })
        .await
        .unwrap();
    let mut config = node.container_config("a", &["sh", "-c", "id -u; cut -c1-40 /proc/self/uid_map | tr -s ' '; stat -c %u /etc/motd; touch /made /volume/made && stat -c %u /made; ls -ld /proc/self | cut -c1-10; echo x > /dev/shm/y && echo shm; echo z > /dev/null && echo null; exec sleep 1000"]);
    config.mounts = vec![Mount {
        container_path: "/volume".into(),
        host_path: volume.to_str().unwrap().to_owned(),
        uid_mappings: map(200_000),
        gid_mappings: map(200_000),
        ..Mount::default()
    }];
    let request =
        CreateContainerRequest { pod_sandbox_id: pod.clone(), config: Some(config), sandbox_config: None };
    let id = node.engine.create_container(request).await.unwrap().container_id;
    node.start(&id).await.unwrap();
    let (code, out, _) = node.exec(&id, &["sh", "-c", "id -u; id -g"], 0).await.unwrap();
    assert_eq!((code, &*out), (0, "0\n0\n"));
    let status = node.status(&id).await;
    let log =
        crate::world::eventually("the log", || Some(node.log(&status)).filter(|log| log.ends_with("null")))
            .await;
    assert_eq!(
        log.lines().map(str::trim).collect::<Vec<_>>(),
        ["0", "0 200000 65536", "0", "0", "lrwxrwxrwx", "shm", "null"]
    );
    // On the disk the volume's file belongs to the host's root, as the mapping says.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(volume.join("made")).unwrap().uid(), 0);
    node.clear().await;
});

world_test!(terminals_attach_and_exec, |world| async move {
    use tokio::io::AsyncWriteExt;
    let node = Node::new(world).await;
    let pod = node.sandbox("tty", same).await.unwrap();
    let id =
        node.run(&pod, "shell", &["sh"], |config| (config.tty, config.stdin) = (true, true)).await.unwrap();
    let attach =
        AttachRequest { container_id: id.clone(), stdin: true, tty: true, stdout: true, stderr: false };
    let mut session = node.engine.open_attach(attach).await.unwrap();
    session.resize.send(TerminalSize { width: 91, height: 17 }).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"stty size; tty; exit 5\n").await.unwrap();
    let output = read_all(session.stdout).await;
    assert_eq!(session.exit.await.unwrap(), Ok(5));
    assert!(output.contains("17 91"), "{output}");
    assert_eq!(node.ended(&id).await.exit_code, 5);

    let id = node
        .run(&pod, "plain", &["sh", "-c", "while read line; do echo got $line; done"], |config| {
            (config.stdin, config.stdin_once) = (true, true);
        })
        .await
        .unwrap();
    let exec = ExecRequest {
        container_id: id.clone(),
        cmd: vec!["sh".into(), "-c".into(), "test -t 0 && echo terminal; id -u".into()],
        tty: true,
        stdin: false,
        stdout: true,
        stderr: false,
    };
    let session = node.engine.open_exec(exec).await.unwrap();
    let output = read_all(session.stdout).await;
    assert!(output.contains("terminal\r\n0\r\n"), "{output:?}");
    assert_eq!(session.exit.await.unwrap(), Ok(0));
    let attach =
        AttachRequest { container_id: id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let mut session = node.engine.open_attach(attach).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read_all(session.stdout).await, "got one\ngot two\n");
    assert_eq!(session.exit.await.unwrap(), Ok(0));

    let id = node.run(&pod, "sleeper", &["sleep", "1000"], same).await.unwrap();
    let error = node.exec(&id, &["sleep", "1000"], 1).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    let error = node.exec(&id, &["nothing"], 0).await.unwrap_err();
    assert!(error.message.ends_with("exec: \"nothing\": executable file not found in $PATH"), "{error}");
    assert_eq!(
        node.exec(&id, &["sh", "-c", "echo a; echo b >&2; exit 9"], 10).await.unwrap(),
        (9, "a\n".into(), "b\n".into())
    );
    node.clear().await;
});

world_test!(an_external_runtime_is_used_when_named, |world| async move {
    use tokio::io::AsyncWriteExt;
    let node = Node::new(world).await;
    let config = node.sandbox_config("kata");
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: "runc".into() };
    let pod = node.engine.run_pod_sandbox(request).await.unwrap().pod_sandbox_id;
    let (code, log) = node.script(&pod, "a", "cat /etc/motd; hostname; exit 6", same).await;
    assert_eq!((code, &*log), (6, "welcome\nkata"));
    let id =
        node.run(&pod, "shell", &["sh"], |config| (config.tty, config.stdin) = (true, true)).await.unwrap();
    let (code, out, _) = node.exec(&id, &["sh", "-c", "echo in $HOSTNAME; exit 2"], 0).await.unwrap();
    assert_eq!((code, &*out), (2, "in kata\n"));
    let attach =
        AttachRequest { container_id: id.clone(), stdin: true, tty: true, stdout: true, stderr: false };
    let mut session = node.engine.open_attach(attach).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"exit 8\n").await.unwrap();
    assert_eq!(session.exit.await.unwrap(), Ok(8));
    let id = node.create(&pod, "lost", &["foo"], same).await.unwrap();
    let error = node.start(&id).await.unwrap_err();
    assert!(error.message.contains("exec: \"foo\": executable file not found in $PATH"), "{error}");
    assert_eq!(node.ended(&id).await.exit_code, 128);
    node.clear().await;
});

world_test!(pods_share_what_they_ask_to_share, |world| async move {
    let node = Node::new(world).await;
    let share = |config: &mut PodSandboxConfig| {
        let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        context.namespace_options = Some(NamespaceOption::default());
        config
            .linux
            .as_mut()
            .unwrap()
            .sysctls
            .insert("net.ipv4.ip_local_port_range".into(), "2000 3000".into());
    };
    let pod = node.sandbox("shared", share).await.unwrap();
    let in_pod: Change<ContainerConfig> = |config| {
        security(config).namespace_options.as_mut().unwrap().pid = NamespaceMode::Pod.into();
    };
    node.run(&pod, "first", &["sleep", "12345"], in_pod).await.unwrap();
    let script = "ps | grep -c 'sleep 1234[5]'; cat /proc/sys/net/ipv4/ip_local_port_range | tr '\\t' ' '; echo a > /dev/shm/f";
    let (_, log) = node.script(&pod, "second", script, in_pod).await;
    assert_eq!(log, "1\n2000 3000");
    let (_, log) = node.script(&pod, "third", "cat /dev/shm/f; ps | wc -l", same).await;
    assert!(log.starts_with("a\n"), "{log}");
    let pod = node
        .sandbox("host", |config| {
            let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            let node = NamespaceMode::Node.into();
            context.namespace_options =
                Some(NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() });
        })
        .await
        .unwrap();
    let on_host: Change<ContainerConfig> = |config| {
        let node = NamespaceMode::Node.into();
        security(config).namespace_options =
            Some(NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() });
    };
    let links =
        ["net", "ipc", "uts", "pid"].map(|kind| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap());
    let script = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done";
    let (_, log) = node.script(&pod, "a", script, on_host).await;
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        links.iter().map(|link| link.to_str().unwrap()).collect::<Vec<_>>()
    );
    node.clear().await;
});

world_test!(a_pids_limit_refuses_and_images_are_volumes, |world| async move {
    let node = Node::new(world).await;
    let pod = node.sandbox("misc", same).await.unwrap();
    // The kubelet limits the processes of the pod's own cgroup.
    let limit = format!("/sys/fs/cgroup/pids{}/pids.max", node.world.cgroup("pods"));
    let id = node.run(&pod, "sleeper", &["sleep", "1000"], same).await.unwrap();
    std::fs::write(&limit, "5").unwrap();
    let (_, log) =
        node.script(&pod, "forks", "for i in 1 2 3 4 5 6; do sleep 1000 & done 2>&1; echo end", same).await;
    assert!(log.contains("can't fork"), "{log}");
    std::fs::write(&limit, "max").unwrap();
    node.stop(&id, 0).await;
    let mut config = node
        .container_config("volume", &["sh", "-c", "cat /image/motd; touch /image/x 2>&1; cat /all/etc/motd"]);
    let image = |path: &str, part: &str| Mount {
        container_path: path.into(),
        image: config.image.clone(),
        image_sub_path: part.into(),
        readonly: true,
        ..Mount::default()
    };
    config.mounts = vec![image("/image", "etc"), image("/all", "")];
    let request =
        CreateContainerRequest { pod_sandbox_id: pod.clone(), config: Some(config), sandbox_config: None };
    let id = node.engine.create_container(request).await.unwrap().container_id;
    node.start(&id).await.unwrap();
    let status = node.ended(&id).await;
    assert_eq!(node.log(&status), "welcome\ntouch: /image/x: Read-only file system\nwelcome");
    node.clear().await;
});

world_test!(mounts_propagate_as_asked, |world| async move {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    let shared = world.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    mount("t", &shared, "tmpfs", MountFlags::empty(), c"").unwrap();
    mount_change(&shared, MountPropagationFlags::SHARED).unwrap();
    for name in ["later", "inner"] {
        std::fs::create_dir(shared.join(name)).unwrap();
    }
    let node = Node::new(world).await;
    let pod = node.sandbox("mounts", same).await.unwrap();
    let start = |name: &'static str, script: &'static str, propagation: MountPropagation| {
        let mut config = node.container_config(name, &["sh", "-c", script]);
        config.mounts = vec![Mount {
            container_path: "/m".into(),
            host_path: shared.to_str().unwrap().into(),
            propagation: propagation.into(),
            ..Mount::default()
        }];
        security(&mut config).privileged = true;
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(config),
            sandbox_config: None,
        };
        let engine = node.engine.clone();
        async move {
            let id = engine.create_container(request).await.unwrap().container_id;
            engine.start_container(StartContainerRequest { container_id: id.clone() }).await.unwrap();
            id
        }
    };
    let wait = "while ! test -e /m/stop; do test -e /m/later/seen && echo seen && exit; sleep 0.01; done; echo blind";
    let slave = start("slave", wait, MountPropagation::HostToContainer).await;
    let private = start("private", wait, MountPropagation::Private).await;
    mount("t", shared.join("later"), "tmpfs", MountFlags::empty(), c"").unwrap();
    std::fs::write(shared.join("later/seen"), "").unwrap();
    assert_eq!(node.log(&node.ended(&slave).await), "seen");
    std::fs::write(shared.join("stop"), "").unwrap();
    assert_eq!(node.log(&node.ended(&private).await), "blind");
    let id =
        start("both", "mount -t tmpfs t /m/inner && touch /m/inner/made", MountPropagation::Bidirectional)
            .await;
    assert_eq!(node.ended(&id).await.exit_code, 0);
    assert!(shared.join("inner/made").exists());
    let error = node.create(&pod, "bad", &["true"], |config| {
        config.mounts = vec![Mount {
            container_path: "/m".into(),
            host_path: "/proc".into(),
            propagation: MountPropagation::Bidirectional.into(),
            ..Mount::default()
        }];
    });
    assert!(error.await.unwrap_err().message.contains("does not lie on a shared mount"));
    node.clear().await;
});

world_test!(a_full_disk_loses_no_exit_code, |world| async move {
    use rustix::mount::{MountFlags, mount};
    let root = world.dir.join("runtime");
    std::fs::create_dir(&root).unwrap();
    mount("t", &root, "tmpfs", MountFlags::empty(), c"size=2m").unwrap();
    let gate = world.dir.join("gate");
    std::fs::create_dir(&gate).unwrap();
    let node = Node::new(world).await;
    let pod = node.sandbox("full", same).await.unwrap();
    let script = "while ! test -e /gate/open; do sleep 0.01; done; exit 23";
    let mut config = node.container_config("a", &["sh", "-c", script]);
    config.mounts = vec![Mount {
        container_path: "/gate".into(),
        host_path: gate.to_str().unwrap().into(),
        ..Mount::default()
    }];
    let request =
        CreateContainerRequest { pod_sandbox_id: pod.clone(), config: Some(config), sandbox_config: None };
    let id = node.engine.create_container(request).await.unwrap().container_id;
    node.start(&id).await.unwrap();

    let filler = root.join("filler");
    let full = std::fs::write(&filler, vec![0; 4 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    assert!(node.create(&pod, "b", &["true"], same).await.unwrap_err().message.contains("No space left"));
    assert!(node.sandbox("other", same).await.unwrap_err().message.contains("No space left"));
    std::fs::write(gate.join("open"), "").unwrap();
    assert_eq!(node.ended(&id).await.exit_code, 23);
    let bundle = root.join(format!("pods/{pod}/containers/{id}"));
    assert_eq!(runtime::shim::status::read(&bundle).unwrap().exit_code, 23);

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(node.script(&pod, "c", "exit 4", same).await.0, 4);
    node.clear().await;
});

world_test!(seccomp_profiles_of_the_node_are_used, |world| async move {
    let profiles = world.dir.join("seccomp");
    std::fs::create_dir(&profiles).unwrap();
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28},
        {"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":9,"op":"SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(profiles.join("p.json"), profile).unwrap();
    let node = Node::new(world).await;
    let pod = node.sandbox("seccomp", same).await.unwrap();
    let local: Change<ContainerConfig> = |config| {
        security(config).run_as_username = "web".into();
        let profile =
            SecurityProfile { profile_type: ProfileType::Localhost.into(), localhost_ref: "p.json".into() };
        security(config).seccomp = Some(profile);
    };
    let script = "mkdir /tmp/x 2>&1; sleep 1000 & kill -9 $! 2>&1 | cut -c1-15; kill -15 $! && echo ended";
    let (_, log) = node.script(&pod, "a", script, local).await;
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        ["mkdir: can't create directory '/tmp/x': No space left on device", "sh: can't kill ", "ended"]
    );
    let missing = node.create(&pod, "b", &["true"], |config| {
        let profile =
            SecurityProfile { profile_type: ProfileType::Localhost.into(), localhost_ref: "no.json".into() };
        security(config).seccomp = Some(profile);
    });
    assert!(missing.await.unwrap_err().message.contains("cannot load seccomp profile \"no.json\""));
    node.clear().await;
});
