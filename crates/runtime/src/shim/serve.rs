//! The shim's loop: one poll over everything it holds, and what to do when something happens.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::clock::{Clock, SystemClock, Wall};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;

use super::logs::Log;
use super::peer::{HIGH_WATER, MAX_BACKLOG, Peer, Role};
use super::pod;
use super::protocol::{
    Answer, Attach, CHUNK, Exec, Hello, Nothing, Operation, Request, RunPod, Start, State, Status, Stop,
    VERSION,
};
use super::status;
use super::task::{MAX_INPUT, Reading, Task, Waiter};
use crate::bundle::Process;
use crate::cgroup::Hierarchies;
use crate::launch::{self, Attempt, Failure, Held, Job, Report, Result, RootSource, Streams};

/// Connections at once; one more is closed at once.
const MAX_PEERS: usize = 512;

/// How soon an exit that could not be recorded is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a process that could not be started exits with, as in upstream's runtimes.
const START_FAILED: i32 = 128;

/// Serves until it is told to shut down.
pub fn run(directory: PathBuf, listener: UnixListener, hierarchies: Arc<Hierarchies>) -> Result<()> {
    let mut watched = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        watched.add(signal);
    }
    watched.thread_block().map_err(|errno| Failure(format!("block signals: {errno}")))?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| Failure(format!("signalfd: {errno}")))?;
    listener.set_nonblocking(true).attempt(|| "set the socket non-blocking")?;
    let mut shim = Shim {
        directory,
        clock: SystemClock::new(),
        hierarchies,
        listener,
        signals,
        peers: BTreeMap::new(),
        tasks: BTreeMap::new(),
        next: 1,
        held: None,
        early: BTreeMap::new(),
        timers: Vec::new(),
        shutdown: None,
        buffer: vec![0; CHUNK],
    };
    shim.serve()
}

struct Shim {
    directory: PathBuf,
    clock: SystemClock,
    hierarchies: Arc<Hierarchies>,
    listener: UnixListener,
    signals: SignalFd,
    peers: BTreeMap<u64, Peer>,
    tasks: BTreeMap<u64, Task>,
    /// The next key of a peer or a task.
    next: u64,
    held: Option<Held>,
    /// Exit codes of processes that were reaped before their launch told their pid.
    early: BTreeMap<i32, i32>,
    timers: Vec<(Duration, Timer)>,
    shutdown: Option<Option<Waiter>>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Timer {
    /// The grace of a container that was asked to stop is over.
    Kill(u64),
    /// An exit is still to be recorded.
    Record(u64),
}

#[derive(Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Peer(u64),
    Launch(u64),
    Output(u64, usize),
    Input(u64),
}

impl Shim {
    fn serve(&mut self) -> Result<()> {
        loop {
            for (source, ready) in self.wait()? {
                self.handle(source, ready);
            }
            self.expire();
            let gone: Vec<u64> =
                self.peers.iter_mut().filter_map(|(key, peer)| (!peer.flush()).then_some(*key)).collect();
            for key in gone {
                self.leave(key);
            }
            if self.shutdown.is_some() && self.tasks.values().all(|task| task.finished()) {
                break;
            }
        }
        let _ = std::fs::remove_file(self.directory.join(super::SOCKET));
        if let Some(Some(waiter)) = self.shutdown
            && let Some(peer) = self.peers.get_mut(&waiter.peer)
        {
            peer.reply(waiter.request, Answer::Done(Nothing {}));
            let _ = peer.socket().set_nonblocking(false);
            peer.flush();
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Listener, Source::Signals];
        let mut polled = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        let mut add = |source, fd, flags| {
            sources.push(source);
            polled.push(PollFd::from_borrowed_fd(fd, flags));
        };
        for (&key, peer) in &self.peers {
            let mut flags = PollFlags::empty();
            let full = peer.role.is_some_and(|role| {
                role.stdin && self.tasks.get(&role.task).is_some_and(|task| task.input.len() >= MAX_INPUT)
            });
            if !full && !peer.closing {
                flags |= PollFlags::IN;
            }
            if peer.backlog() > 0 {
                flags |= PollFlags::OUT;
            }
            add(Source::Peer(key), peer.socket().as_fd(), flags);
        }
        for (&key, task) in &self.tasks {
            if let Some(launch) = &task.launch {
                add(Source::Launch(key), launch.as_fd(), PollFlags::IN);
            }
            let clogged = self.peers.values().any(|peer| {
                peer.role.is_some_and(|role| role.task == key && role.owns) && peer.backlog() > HIGH_WATER
            });
            for (index, (fd, _)) in task.outputs.iter().enumerate() {
                // Until a start is told, nothing that the process says is passed on.
                if !clogged && task.launch.is_none() {
                    add(Source::Output(key, index), fd.as_fd(), PollFlags::IN);
                }
            }
            if !task.input.is_empty()
                && let Some(fd) = task.input_end()
            {
                add(Source::Input(key), fd.as_fd(), PollFlags::OUT);
            }
        }
        let now = self.clock.monotonic();
        let timeout = self.timers.iter().map(|(deadline, _)| deadline.saturating_sub(now)).min();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Failure(format!("poll: {errno}"))),
        }
        let ready: Vec<PollFlags> = polled.iter().map(|fd| fd.revents()).collect();
        // Outputs go first within a round, so that what a process wrote before it ended is not overtaken by
        // the news of its end; indices fall, so that removing one moves none that is still to be handled.
        let mut found: Vec<(Source, PollFlags)> =
            sources.into_iter().zip(ready).filter(|(_, ready)| !ready.is_empty()).collect();
        found.sort_by_key(|(source, _)| match source {
            Source::Output(task, index) => (0, *task, usize::MAX - index),
            _ => (1, 0, 0),
        });
        Ok(found)
    }

    fn handle(&mut self, source: Source, ready: PollFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.signalled(),
            Source::Peer(key) => {
                if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.receive(key);
                }
            }
            Source::Launch(key) => self.launched(key),
            Source::Output(key, index) => self.output(key, index),
            Source::Input(key) => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    task.write_input();
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if self.peers.len() >= MAX_PEERS {
                continue;
            }
            if let Ok(peer) = Peer::new(socket) {
                let key = self.key();
                self.peers.insert(key, peer);
            }
        }
    }

    fn key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn now(&self) -> Wall {
        self.clock.wall()
    }

    /// Reads and carries out a connection's requests.
    fn receive(&mut self, key: u64) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let alive = peer.fill(&mut self.buffer);
        loop {
            let Some(peer) = self.peers.get_mut(&key) else { return };
            match peer.next() {
                Ok(Some(request)) => self.perform(key, request),
                Ok(None) => break,
                Err(error) => {
                    eprintln!("shim: a connection is closed: {error}");
                    return self.leave(key);
                }
            }
        }
        if !alive {
            self.leave(key);
        }
    }

    fn reply(&mut self, waiter: Waiter, answer: Answer) {
        if let Some(peer) = self.peers.get_mut(&waiter.peer) {
            peer.reply(waiter.request, answer);
        }
    }

    fn perform(&mut self, key: u64, request: Request) {
        let waiter = Waiter { peer: key, request: request.id };
        let done = |result: Result<()>| match result {
            Ok(()) => Some(Answer::Done(Nothing {})),
            Err(failure) => Some(Answer::Error(failure.0)),
        };
        let refuse = |result: Result<()>| result.err().map(|failure| Answer::Error(failure.0));
        let answer = match request.operation {
            Some(Operation::Hello(_)) => {
                Some(Answer::Hello(Hello { version: VERSION, pid: std::process::id() as i32 }))
            }
            Some(Operation::RunPod(wanted)) => Some(match self.run_pod(wanted) {
                Ok(pod) => Answer::Pod(pod),
                Err(failure) => Answer::Error(failure.0),
            }),
            Some(Operation::Start(start)) => refuse(self.start(waiter, start)),
            Some(Operation::Exec(exec)) => refuse(self.exec(waiter, exec)),
            Some(Operation::Attach(attach)) => refuse(self.attach(waiter, attach)),
            Some(Operation::Input(input)) => {
                if let Some(task) = self.stream_of(key, |role| role.stdin) {
                    task.add_input(&input.data, input.end);
                }
                None
            }
            Some(Operation::Resize(size)) => {
                if let Some(task) = self.stream_of(key, |_| true) {
                    task.resize(size);
                }
                None
            }
            Some(Operation::Stop(stop)) => refuse(self.stop(waiter, stop)),
            Some(Operation::ReopenLog(named)) => done(self.reopen_log(&named.container)),
            Some(Operation::Subscribe(_)) => {
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.subscribed = true;
                }
                let containers =
                    self.tasks.values().filter(|task| !task.exec).map(|task| task.status.clone()).collect();
                Some(Answer::State(State { containers }))
            }
            Some(Operation::Forget(named)) => done(self.forget(&named.container)),
            Some(Operation::Shutdown(_)) => {
                self.begin_shutdown(Some(waiter));
                None
            }
            None => Some(Answer::Error(format!("unknown operation; this shim speaks version {VERSION}"))),
        };
        if let Some(answer) = answer {
            self.reply(waiter, answer);
        }
    }

    fn run_pod(&mut self, wanted: RunPod) -> Result<super::protocol::Pod> {
        // A daemon that died before it read the answer asks again.
        if let Some(held) = &self.held {
            return Ok(pod::describe(held));
        }
        let (held, pod) = pod::create(wanted)?;
        self.held = Some(held);
        Ok(pod)
    }

    fn container(&self, name: &str) -> Result<u64> {
        self.tasks
            .iter()
            .find_map(|(&key, task)| (!task.exec && task.container == name).then_some(key))
            .ok_or_else(|| Failure(format!("no container {name:?} was started here")))
    }

    fn start(&mut self, starter: Waiter, start: Start) -> Result<()> {
        if self.shutdown.is_some() {
            return Err(Failure::new("the sandbox is shutting down"));
        }
        if self.container(&start.container).is_ok() {
            return Err(Failure(format!("container {:?} was started already", start.container)));
        }
        let root = start.root.unwrap_or_default();
        let root = if root.lower.is_empty() {
            RootSource::Directory(root.directory.into())
        } else {
            RootSource::Overlay {
                lower: root.lower.into_iter().map(PathBuf::from).collect(),
                upper: root.upper.into(),
                work: root.work.into(),
            }
        };
        let bundle = PathBuf::from(start.bundle);
        status::reserve(&bundle).attempt(|| format!("reserve the status of {}", bundle.display()))?;
        let log = match &*start.log {
            "" => None,
            path => Some(Log::open(Path::new(path)).attempt(|| format!("open the log {path}"))?),
        };
        let runtime = (!start.runtime.is_empty()).then(|| PathBuf::from(start.runtime));
        let job = match runtime.clone() {
            None => Job::Container { bundle: bundle.clone(), root },
            Some(runtime) => {
                Job::External { runtime, id: start.container.clone(), bundle: bundle.clone(), root }
            }
        };
        let mut task = self.launch(job, start.tty, start.stdin, true, true)?;
        task.container = start.container.clone();
        task.status.container = start.container;
        task.bundle = bundle;
        task.cgroup = start.cgroup;
        task.runtime = runtime;
        task.stdin_once = start.stdin_once;
        task.starter = Some(starter);
        task.log = log;
        let key = self.key();
        self.tasks.insert(key, task);
        Ok(())
    }

    fn exec(&mut self, starter: Waiter, exec: Exec) -> Result<()> {
        let owner = &self.tasks[&self.container(&exec.container)?];
        let init = owner
            .pid
            .filter(|_| owner.running())
            .ok_or_else(|| Failure(format!("container {:?} is not running", exec.container)))?;
        let process: Process =
            serde_json::from_slice(&exec.process).map_err(|e| Failure(format!("exec: {e}")))?;
        let (bundle, cgroup, tty) = (owner.bundle.clone(), owner.cgroup.clone(), process.terminal);
        let job = match owner.runtime.clone() {
            None => Job::Exec { bundle: bundle.clone(), init, process },
            Some(runtime) => {
                Job::ExternalExec { runtime, id: exec.container.clone(), bundle: bundle.clone(), process }
            }
        };
        let mut task = self.launch(job, tty, exec.stdin, exec.stdout, exec.stderr)?;
        task.container = exec.container;
        task.bundle = bundle;
        task.cgroup = cgroup;
        task.exec = true;
        task.starter = Some(starter);
        let key = self.key();
        self.tasks.insert(key, task);
        if let Some(peer) = self.peers.get_mut(&starter.peer) {
            peer.role = Some(Role {
                task: key,
                request: starter.request,
                stdout: exec.stdout,
                stderr: exec.stderr,
                stdin: exec.stdin,
                owns: true,
            });
        }
        Ok(())
    }

    /// Makes the streams of a process and forks its launcher.
    fn launch(&self, job: Job, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Result<Task> {
        let (mut input, mut outputs, mut streams) = (None, Vec::new(), None);
        if !tty {
            let null = || -> Result<OwnedFd> {
                let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
                Ok(null.attempt(|| "open /dev/null")?.into())
            };
            let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).attempt(|| "pipe");
            let mut output = |wanted: bool, stderr: bool| -> Result<OwnedFd> {
                if !wanted {
                    return null();
                }
                let (read, write) = pipe()?;
                nonblocking(&read)?;
                outputs.push((read, stderr));
                Ok(write)
            };
            let (stdout, stderr) = (output(stdout, false)?, output(stderr, true)?);
            let stdin = if stdin {
                let (read, write) = pipe()?;
                nonblocking(&write)?;
                input = Some(write);
                read
            } else {
                null()?
            };
            streams = Some(Streams { stdin, stdout, stderr });
        }
        let (channel, report) = launch::channel()?;
        launch::spawn(&job, &self.hierarchies, streams, report)?;
        Ok(Task {
            container: String::new(),
            bundle: PathBuf::new(),
            cgroup: String::new(),
            runtime: None,
            exec: false,
            launch: Some(channel),
            pid: None,
            failure: None,
            status: Status::default(),
            code: None,
            starter: None,
            stoppers: Vec::new(),
            stdin: input,
            stdin_once: false,
            input: Default::default(),
            input_ended: false,
            outputs,
            tty,
            size: None,
            log: None,
        })
    }

    fn attach(&mut self, waiter: Waiter, attach: Attach) -> Result<()> {
        let key = self.container(&attach.container)?;
        let task = &self.tasks[&key];
        if !task.running() {
            return Err(Failure(format!("container {:?} is not running", attach.container)));
        }
        let status = task.status.clone();
        if let Some(peer) = self.peers.get_mut(&waiter.peer) {
            peer.role = Some(Role {
                task: key,
                request: waiter.request,
                stdout: attach.stdout,
                stderr: attach.stderr,
                stdin: attach.stdin,
                owns: false,
            });
        }
        self.reply(waiter, Answer::Status(status));
        Ok(())
    }

    fn stream_of(&mut self, peer: u64, allowed: impl Fn(&Role) -> bool) -> Option<&mut Task> {
        let role = self.peers.get(&peer)?.role.filter(|role| allowed(role))?;
        self.tasks.get_mut(&role.task)
    }

    fn stop(&mut self, waiter: Waiter, stop: Stop) -> Result<()> {
        let key = self.container(&stop.container)?;
        let deadline = self.clock.monotonic() + Duration::from_millis(stop.grace_milliseconds);
        let Some(task) = self.tasks.get_mut(&key) else { return Ok(()) };
        if task.finished() {
            let status = task.status.clone();
            self.reply(waiter, Answer::Status(status));
            return Ok(());
        }
        task.stoppers.push(waiter);
        if stop.grace_milliseconds == 0 {
            self.kill(key);
        } else {
            task.signal(stop.signal);
            self.timers.push((deadline, Timer::Kill(key)));
        }
        Ok(())
    }

    fn reopen_log(&mut self, name: &str) -> Result<()> {
        let key = self.container(name)?;
        match self.tasks.get_mut(&key).and_then(|task| task.log.as_mut()) {
            Some(log) => log.reopen().attempt(|| "reopen the log"),
            None => Ok(()),
        }
    }

    fn forget(&mut self, name: &str) -> Result<()> {
        let Ok(key) = self.container(name) else { return Ok(()) };
        if !self.tasks[&key].finished() {
            return Err(Failure(format!("container {name:?} is running")));
        }
        self.tasks.remove(&key);
        Ok(())
    }

    fn begin_shutdown(&mut self, waiter: Option<Waiter>) {
        self.shutdown = Some(waiter);
        let keys: Vec<u64> = self.tasks.keys().copied().collect();
        for key in keys {
            self.kill(key);
        }
        if let Some(held) = self.held.take()
            && let Some(init) = held.init.and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(init, rustix::process::Signal::KILL);
        }
    }

    /// Kills a process; if it is a container's own, with everything in the container.
    fn kill(&self, key: u64) {
        let Some(task) = self.tasks.get(&key) else { return };
        task.kill();
        if !task.exec
            && !task.finished()
            && let Ok(group) = self.hierarchies.group(&task.cgroup)
        {
            group.kill();
        }
    }

    fn expire(&mut self) {
        let now = self.clock.monotonic();
        let (due, later) =
            std::mem::take(&mut self.timers).into_iter().partition(|(deadline, _)| *deadline <= now);
        self.timers = later;
        let due: Vec<(Duration, Timer)> = due;
        for (_, timer) in due {
            match timer {
                Timer::Kill(key) => self.kill(key),
                Timer::Record(key) => self.finish(key),
            }
        }
    }

    fn signalled(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGTERM as u32 && self.shutdown.is_none() {
                self.begin_shutdown(None);
            }
        }
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => break,
                Ok(_) => continue,
                Err(nix::errno::Errno::EINTR) => continue,
                // A signal that nix cannot name: the status is lost, the process is gone all the same.
                Err(_) => continue,
            };
            let task = self.tasks.iter().find_map(|(&key, task)| (task.pid == Some(pid)).then_some(key));
            match task {
                Some(key) => self.reaped(key, code),
                None if self.tasks.values().any(|task| task.launch.is_some()) => {
                    self.early.insert(pid, code);
                }
                None => {}
            }
        }
    }

    fn reaped(&mut self, key: u64, code: i32) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        task.code = Some(code);
        if task.launch.is_none() {
            self.finish(key);
        }
    }

    /// Hears what a launch reports.
    fn launched(&mut self, key: u64) {
        loop {
            let Some(task) = self.tasks.get_mut(&key) else { return };
            let Some(channel) = &task.launch else { return };
            match launch::receive(channel) {
                Ok(Some(Report::Pid(pid))) => {
                    task.pid = Some(pid);
                    task.status.pid = pid;
                    task.code = self.early.remove(&pid);
                }
                Ok(Some(Report::Terminal(terminal))) => {
                    if nonblocking(&terminal).is_ok() {
                        task.outputs = vec![(terminal, false)];
                        task.apply_size();
                    }
                }
                Ok(Some(Report::Failed(failure))) => drop(task.failure.get_or_insert(failure)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Ok(None) | Err(_) => break,
            }
        }
        let now = self.now();
        let Some(task) = self.tasks.get_mut(&key) else { return };
        task.launch = None;
        if task.pid.is_none() {
            task.failure.get_or_insert_with(|| "the process that starts containers died".to_owned());
        }
        if self.tasks.values().all(|task| task.launch.is_none()) {
            self.early.clear();
        }
        let Some(task) = self.tasks.get_mut(&key) else { return };
        if let Some(failure) = task.failure.clone() {
            task.status.failure = failure.clone();
            task.code = Some(START_FAILED);
            let starter = task.starter.take();
            self.finish(key);
            if let Some(starter) = starter {
                self.reply(starter, Answer::Error(failure));
            }
            return;
        }
        task.status.started_at = now.0;
        if !task.exec {
            // Only the exit has to be durable; this one is for a daemon that finds the shim dead.
            let _ = status::write(&task.bundle, &task.status);
        }
        let (status, starter, exec, ended) =
            (task.status.clone(), task.starter.take(), task.exec, task.code.is_some());
        if let Some(starter) = starter {
            self.reply(starter, Answer::Status(status.clone()));
        }
        if !exec {
            self.tell(&status);
        }
        if ended {
            self.finish(key);
        }
    }

    fn output(&mut self, key: u64, index: usize) {
        let now = self.now();
        let Some(task) = self.tasks.get_mut(&key) else { return };
        if index >= task.outputs.len() {
            return;
        }
        let stderr = task.outputs[index].1;
        let mut buffer = std::mem::take(&mut self.buffer);
        match task.read(index, &mut buffer) {
            Reading::Data(data) => {
                task.log(data, stderr, now);
                pass_on(&mut self.peers, key, data, stderr);
            }
            Reading::Nothing => {}
            Reading::End => drop(task.outputs.remove(index)),
        }
        self.buffer = buffer;
    }

    /// A process has ended: everything it wrote is passed on, its end is recorded, and then told.
    fn finish(&mut self, key: u64) {
        let now = self.now();
        let mut buffer = std::mem::take(&mut self.buffer);
        let Some(task) = self.tasks.get_mut(&key) else { return };
        for (data, stderr) in task.drain(&mut buffer) {
            task.log(&data, stderr, now);
            pass_on(&mut self.peers, key, &data, stderr);
        }
        self.buffer = buffer;
        task.stdin = None;
        task.input.clear();
        if let Some(log) = &mut task.log {
            log.finish(now);
        }
        let mut status = task.status.clone();
        status.exit_code = task.code.unwrap_or(START_FAILED);
        if status.finished_at == 0 {
            status.finished_at = now.0;
        }
        if task.exec {
            self.tasks.remove(&key);
        } else {
            // Without a pid namespace of its own, a container's other processes survive its first one.
            if let Ok(group) = self.hierarchies.group(&task.cgroup) {
                status.oom_killed = group.oom_kills() > 0;
                group.kill();
            }
            if let Err(error) = status::write(&task.bundle, &status) {
                // An exit that is not on the disk must not be told: the daemon could die knowing it alone.
                eprintln!("shim: cannot record the exit of {}: {error}", task.container);
                if task.bundle.exists() {
                    self.timers.push((self.clock.monotonic() + RETRY, Timer::Record(key)));
                    return;
                }
            }
            task.status = status.clone();
            task.log = None;
            if let Some(runtime) = task.runtime.clone()
                && let Ok((_, report)) = launch::channel()
            {
                let job =
                    Job::ExternalDelete { runtime, id: task.container.clone(), bundle: task.bundle.clone() };
                let _ = launch::spawn(&job, &self.hierarchies, None, report);
            }
            for waiter in std::mem::take(&mut task.stoppers) {
                self.reply(waiter, Answer::Status(status.clone()));
            }
            self.tell(&status);
        }
        for peer in self.peers.values_mut() {
            if let Some(role) = peer.role.filter(|role| role.task == key) {
                peer.role = None;
                if status.failure.is_empty() {
                    peer.reply(role.request, Answer::Status(status.clone()));
                }
            }
        }
    }

    fn tell(&mut self, status: &Status) {
        for peer in self.peers.values_mut().filter(|peer| peer.subscribed) {
            peer.event(status);
        }
    }

    /// A connection is over.
    fn leave(&mut self, key: u64) {
        let Some(peer) = self.peers.remove(&key) else { return };
        let Some(role) = peer.role else { return };
        let Some(task) = self.tasks.get_mut(&role.task) else { return };
        if role.owns {
            task.kill();
        } else if role.stdin && task.stdin_once {
            task.add_input(&[], true);
        }
    }
}

/// Gives output to the connections that want it.
fn pass_on(peers: &mut BTreeMap<u64, Peer>, task: u64, data: &[u8], stderr: bool) {
    for peer in peers.values_mut() {
        let Some(role) = peer.role.filter(|role| role.task == task && !peer.closing) else { continue };
        if stderr && role.stderr || !stderr && role.stdout {
            peer.output(data, stderr);
            peer.closing |= !role.owns && peer.backlog() > MAX_BACKLOG;
        }
    }
}

fn nonblocking(fd: &OwnedFd) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd).attempt(|| "fcntl")?;
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK).attempt(|| "fcntl")
}
