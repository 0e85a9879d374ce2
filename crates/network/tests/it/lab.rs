//! Namespaces to test in, and traffic between them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use network::links::pods::{PodLink, attach_pod, host_device};
use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// How long anything may take that should take microseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for what should never come. A refusal over IPv6 that arrives while the kernel is
/// still inside connect() counts only with the second SYN, a second later.
const SILENCE: Duration = Duration::from_millis(1500);

/// A network namespace: a thread that has one of its own and works off jobs.
pub struct Host {
    jobs: mpsc::Sender<Job>,
    pub netns: PathBuf,
}

impl Host {
    pub fn new() -> Host {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (told, path) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("tests of the network run as root");
            let thread = nix::unistd::gettid();
            told.send(PathBuf::from(format!("/proc/{}/task/{thread}/ns/net", std::process::id()))).unwrap();
            queue.iter().for_each(|job| job());
        });
        let host = Host { jobs, netns: path.recv().unwrap() };
        host.ip("link set lo up");
        host
    }

    /// Runs work in the namespace and waits for it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (told, result) = mpsc::channel();
        self.jobs.send(Box::new(move || drop(told.send(work())))).unwrap();
        result.recv().expect("the job did not panic")
    }

    /// Debian's tools set up what is not under test, and look at what is.
    pub fn command(&self, program: &'static str, arguments: &str) -> String {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        self.run(move || {
            let output = std::process::Command::new(program).args(&arguments).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program} {arguments:?}: {errors}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    pub fn ip(&self, arguments: &str) -> String {
        self.command("ip", arguments)
    }

    /// Hangs a pod on this node.
    pub fn pod(&self, addresses: &[&str]) -> Host {
        let pod = Host::new();
        let link = pod_link(&pod, addresses);
        self.run(move || attach_pod(&link)).unwrap();
        pod
    }

    /// Answers every connection and datagram on the port with `name`, and with who asked.
    pub fn serve(&self, address: &str, port: u16, name: &'static str) {
        let at = SocketAddr::new(address.parse().unwrap(), port);
        self.run(move || {
            let (tcp, udp) = (TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
            std::thread::spawn(move || {
                for stream in tcp.incoming() {
                    let Ok(mut stream) = stream else { return };
                    let Ok(from) = stream.peer_addr() else { continue };
                    let _ = write!(stream, "{name} {}", from.ip());
                }
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
                }
            });
        });
    }

    /// What a TCP connection says: the answer, "refused", or "silence".
    pub fn tcp(&self, address: &str, port: u16) -> String {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        self.run(move || {
            let mut stream = match TcpStream::connect_timeout(&to, SILENCE) {
                Ok(stream) => stream,
                Err(error) => return describe(&error),
            };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = String::new();
            match stream.read_to_string(&mut answer) {
                Ok(_) => answer,
                Err(error) => describe(&error),
            }
        })
    }

    pub fn udp(&self, address: &str, port: u16) -> String {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        self.run(move || ask(&UdpSocket::bind((unspecified(to.ip()), 0)).unwrap(), to))
    }
}

pub fn pod_link(pod: &Host, addresses: &[&str]) -> PodLink {
    PodLink {
        netns: pod.netns.clone(),
        host_device: host_device(addresses[0]),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        mtu: 1450,
        alias: format!("test/{}", addresses[0]),
    }
}

/// Sends one datagram and waits for the answer.
pub fn ask(socket: &UdpSocket, to: SocketAddr) -> String {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.connect(to).unwrap();
    let mut buffer = [0; 64];
    let answer = socket.send(b"?").and_then(|_| socket.recv(&mut buffer));
    answer.map_or_else(|error| describe(&error), |len| String::from_utf8_lossy(&buffer[..len]).into_owned())
}

fn unspecified(ip: IpAddr) -> IpAddr {
    netplan::addr::Family::of(ip).unspecified()
}

fn describe(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    match error.kind() {
        ConnectionRefused => "refused".into(),
        TimedOut | WouldBlock => "silence".into(),
        _ => error.to_string(),
    }
}

/// Joins two hosts by a cable: `eth-NAME` with the address on each side.
pub fn cable(a: (&Host, &str, &str), b: (&Host, &str, &str)) {
    let ends = format!("{}-{}", a.1, b.1);
    assert!(ends.len() <= 15);
    let namespace = b.0.netns.clone();
    let (left, right) = (a.1.to_owned(), b.1.to_owned());
    a.0.run(move || {
        // The other end moves by the id of a thread that is in that namespace.
        let thread = namespace.components().nth(4).unwrap().as_os_str().to_owned();
        let status = std::process::Command::new("ip")
            .args(["link", "add", &left, "type", "veth", "peer", "name", &right, "netns"])
            .arg(thread)
            .status();
        assert!(status.unwrap().success());
    });
    for (host, device, address) in [a, b] {
        host.ip(&format!("addr add {address} dev {device}"));
        host.ip(&format!("link set {device} up"));
    }
    // The kernel notices carriers at its leisure, when both ends have the same index.
    for (host, device, _) in [a, b] {
        while !host.ip(&format!("link show {device}")).contains("state UP") {
            std::thread::yield_now();
        }
    }
}
