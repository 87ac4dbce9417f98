//! A real guest: QEMU without hardware virtualisation, Debian's cloud kernel, busybox, iperf3.
//!
//! Machine `q35`: from start to the first command it took 4.0 s on a 2-core EPYC under TCG, `pc` 5.0 s; `microvm`
//! came up no faster (3.9 s), and Debian's kernel finds no virtio device on it.

mod console;
mod huge;
mod image;
mod kernel;
mod migration;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::transfer::Passed;
use anyhow::{Context, Result, ensure};
use console::Console;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use console::Answer;
pub use image::prepare;
pub use kernel::Kernel;
pub use migration::{Migrated, Monitor};

/// Bytes that are repeated in what a guest sends.
const PIECE: u64 = 1_000_000;
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const TRANSFER_LIMIT: Duration = Duration::from_secs(180);

/// What a guest's NIC is connected to; QEMU's `-netdev`.
#[derive(Debug, Clone)]
pub enum Netdev {
    /// A TAP interface that exists in the guest's namespace.
    Tap(String),
    /// The same with several queues, for which the interface was made: its name, and how many.
    MultiQueueTap(String, u16),
    /// A unix stream socket, which QEMU connects to.
    StreamClient(PathBuf),
    /// A unix stream socket, which QEMU listens on.
    StreamServer(PathBuf),
    /// A pair of unix datagram sockets.
    Dgram {
        /// Where QEMU receives.
        local: PathBuf,
        /// Where QEMU sends.
        remote: PathBuf,
    },
    /// A vhost-user socket; the guest's memory is shared then.
    VhostUser(VhostUser),
}

/// A vhost-user socket, and the device that the guest sees.
#[derive(Debug, Clone)]
pub struct VhostUser {
    /// Path of the socket.
    pub socket: PathBuf,
    /// Whether QEMU listens on it, or connects to it, again each second while it is not connected.
    pub listens: bool,
    /// Queue pairs. The driver takes no more of them than the guest has processors.
    pub queues: u16,
    /// Whether packed rings are offered.
    pub packed: bool,
    /// Descriptors of each ring.
    pub ring: u16,
}

impl VhostUser {
    fn argument(&self, id: &str) -> String {
        format!("vhost-user,id={id},chardev=c{id},queues={}", self.queues)
    }

    fn chardev(&self, id: &str) -> String {
        let side = if self.listens { "server=on" } else { "reconnect=1" };
        format!("socket,id=c{id},path={},{side}", self.socket.display())
    }

    /// Properties of the device. Without MSI-X: QEMU 7.2 sets a vector of a vhost-user device up through KVM even where
    /// there is none (TCG), and crashes in `kvm_irqchip_add_irqfd_notifier_gsi` as soon as the driver starts.
    fn properties(&self) -> String {
        let packed = if self.packed { "on" } else { "off" };
        let ring = self.ring;
        format!(",packed={packed},rx_queue_size={ring},tx_queue_size={ring},mq=on,vectors=0")
    }
}

impl Netdev {
    fn as_vhost_user(&self) -> Option<&VhostUser> {
        if let Netdev::VhostUser(vhost) = self { Some(vhost) } else { None }
    }

    fn argument(&self, id: &str) -> String {
        match self {
            Netdev::Tap(name) => tap(id, name),
            Netdev::MultiQueueTap(name, queues) => format!("{},queues={queues}", tap(id, name)),
            Netdev::StreamClient(path) => stream(id, "off", path),
            Netdev::StreamServer(path) => stream(id, "on", path),
            Netdev::Dgram { local, remote } => {
                let (local, remote) = (local.display(), remote.display());
                format!(
                    "dgram,id={id},local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"
                )
            }
            Netdev::VhostUser(vhost) => vhost.argument(id),
        }
    }
}

fn tap(id: &str, name: &str) -> String {
    format!("tap,id={id},ifname={name},script=no,downscript=no,vhost=off")
}

fn stream(id: &str, server: &str, path: &Path) -> String {
    format!("stream,id={id},server={server},addr.type=unix,addr.path={}", path.display())
}

/// A NIC of the guest: `eth0` for the first one, and so on.
#[derive(Debug, Clone)]
pub struct Nic {
    /// What it is connected to.
    pub netdev: Netdev,
    /// Its MAC address.
    pub mac: String,
    /// Further properties of QEMU's `virtio-net-pci`, for example `host_mtu=9000` or `csum=off`.
    pub properties: Vec<String>,
}

impl Nic {
    /// A NIC with every offload that both sides know.
    pub fn new(netdev: Netdev, mac: &str) -> Nic {
        Nic { netdev, mac: mac.to_owned(), properties: Vec::new() }
    }

    fn arguments(&self, number: usize) -> Vec<String> {
        let id = format!("n{number}");
        let vhost = self.netdev.as_vhost_user();
        let of_netdev = vhost.map(VhostUser::properties).unwrap_or_default();
        let device = format!("virtio-net-pci,netdev={id},mac={}{of_netdev}", self.mac);
        let device = self.properties.iter().fold(device, |device, property| format!("{device},{property}"));
        let chardev = vhost.map(|vhost| ("-chardev", vhost.chardev(&id)));
        let others = [("-netdev", self.netdev.argument(&id)), ("-device", device)];
        chardev.into_iter().chain(others).flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }
}

/// What the guest is made of.
#[derive(Debug, Clone)]
pub struct GuestOptions {
    /// Its NICs.
    pub nics: Vec<Nic>,
    /// Its memory in MiB; a transfer keeps its bytes there.
    pub memory_mib: u32,
    /// Whether memory that it shares with a vhost-user switch is made of 2 MiB pages.
    pub huge_pages: bool,
    /// Further arguments of QEMU, for example those that `vmswitch port add` prints.
    pub arguments: Vec<String>,
    /// Which kernel it boots.
    pub kernel: Kernel,
    /// Further parameters of the kernel.
    pub parameters: &'static str,
    /// Whether its processors take turns on one thread. Otherwise one of them may run code that another one has just
    /// changed as it was in the midst of that (TCG), so a kernel panics that attaches XDP programs while frames come
    /// (`Oops: int3` in `bpf_dispatcher_xdp_func`, once in a hundred times).
    pub in_turns: bool,
    /// Programs of this machine that it has besides.
    pub programs: Vec<PathBuf>,
    /// Where its monitor listens, by which it can be moved: a [`Monitor`] connects there.
    pub monitor: Option<PathBuf>,
}

impl GuestOptions {
    /// A guest with these NICs.
    pub fn new(nics: Vec<Nic>) -> GuestOptions {
        GuestOptions {
            nics,
            memory_mib: 384,
            huge_pages: false,
            arguments: Vec::new(),
            kernel: Kernel::default(),
            parameters: "",
            in_turns: false,
            programs: Vec::new(),
            monitor: None,
        }
    }

    /// Arguments for memory that another process can map, where a NIC asks for it.
    fn shared_memory(&self) -> Vec<String> {
        if !self.nics.iter().any(|nic| nic.netdev.as_vhost_user().is_some()) {
            return Vec::new();
        }
        let huge = if self.huge_pages { ",hugetlb=on,hugetlbsize=2M" } else { "" };
        let object = format!("memory-backend-memfd,id=mem,size={}K,share=on{huge}", self.memory_kib());
        ["-object", &object, "-machine", "memory-backend=mem"].map(str::to_owned).to_vec()
    }

    /// A guest that is connected as QEMU options on several lines of a shell say.
    pub fn connected(options: &str) -> GuestOptions {
        let words = options.split_whitespace().filter(|word| *word != "\\");
        GuestOptions { arguments: words.map(str::to_owned).collect(), ..Self::new(Vec::new()) }
    }
}

/// A running guest; killed when dropped.
#[derive(Debug)]
pub struct Guest {
    console: Console,
    process: Process,
    _dir: tempfile::TempDir,
    /// After the process, whose memory they are.
    _huge_pages: Option<huge::HugePages>,
}

impl Guest {
    /// Boots a guest inside the namespace and waits until it takes commands. All its interfaces are down.
    pub fn boot(namespace: &Namespace, options: &GuestOptions) -> Result<Guest> {
        let dir = crate::temp_dir()?;
        let image = image::prepare(options.kernel)?.with_programs(&options.programs, dir.path())?;
        let huge_pages =
            options.huge_pages.then(|| huge::HugePages::allow(options.memory_mib)).transpose()?;
        let mut command = qemu(namespace, options, &image);
        let (process, stdin, stdout) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        let mut console = Console::new(stdin, stdout);
        console
            .wait_for_boot(BOOT_LIMIT)
            .with_context(|| format!("the guest did not boot; QEMU said: {}", process.log()))?;
        Ok(Guest { console, process, _dir: dir, _huge_pages: huge_pages })
    }

    /// Runs a shell command in the guest for at most a minute, whatever its exit status.
    pub fn try_run(&mut self, command: &str) -> Result<Answer> {
        self.run_for(command, Duration::from_secs(60))
    }

    /// Runs a shell command in the guest that has to succeed within a minute; what it printed.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let answer = self.try_run(command)?;
        ensure!(answer.status == 0, "guest: {command}: exit status {}: {}", answer.status, answer.output);
        Ok(answer.output)
    }

    /// Runs a shell command in the guest for at most `limit`, whatever its exit status.
    pub fn run_for(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        self.console
            .run(command, limit)
            .with_context(|| format!("guest: {command}; QEMU said: {}", self.process.log()))
    }

    /// Sends `bytes` bytes over TCP to a [`transfer::Endpoint::sink`](crate::transfer::Endpoint::sink).
    ///
    /// They are one random megabyte again and again with a number before each: random bytes throughout would take
    /// the guest 12 s for 100 MB, and repeated ones alone would not tell a part that came twice.
    pub fn send_stream(&mut self, address: &str, port: u16, bytes: u64) -> Result<Passed> {
        let pieces = bytes.div_ceil(PIECE);
        let made = format!(
            "head -c {PIECE} /dev/urandom >/tmp/piece; \
             for n in $(seq {pieces}); do echo $n; cat /tmp/piece; done >/tmp/stream; \
             rm /tmp/piece; truncate -s {bytes} /tmp/stream"
        );
        self.run_for(&made, TRANSFER_LIMIT)?;
        // Here and below: nc itself copies kilobyte by kilobyte, 17 times slower than what it hands the socket to.
        self.transfer(&format!("nc {address} {port} -e cat /tmp/stream"))
    }

    /// Receives what a [`transfer::Endpoint::source`](crate::transfer::Endpoint::source) sends.
    pub fn receive_stream(&mut self, address: &str, port: u16) -> Result<Passed> {
        self.transfer(&format!("nc {address} {port} -e sh -c 'cat >/tmp/stream'"))
    }

    fn transfer(&mut self, command: &str) -> Result<Passed> {
        let whole = format!(
            "{{ {command}; }} && stat -c %s /tmp/stream && sha256sum </tmp/stream; rm -f /tmp/stream"
        );
        let answer = self.run_for(&whole, TRANSFER_LIMIT)?;
        let mut words = answer.output.split_whitespace();
        let (bytes, sha256) = (words.next().and_then(|w| w.parse().ok()), words.next());
        let (bytes, sha256) =
            bytes.zip(sha256).with_context(|| format!("guest: {command}: {}", answer.output))?;
        Ok(Passed { bytes, sha256: sha256.to_owned() })
    }

    /// Has the guest reboot, and waits until it takes commands again. Its options need the arguments `-action reboot=reset`.
    pub fn reboot(&mut self) -> Result<()> {
        self.console.send("reboot -f")?;
        self.console.wait_for_boot(BOOT_LIMIT).with_context(|| format!("QEMU said: {}", self.process.log()))
    }

    /// QEMU's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends QEMU at once, as a crash of the VMM would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }
}

fn qemu(namespace: &Namespace, options: &GuestOptions, image: &image::Image) -> Command {
    let mut command = namespace.command("qemu-system-x86_64");
    command.args("-M q35 -cpu max -nodefaults -no-user-config -display none -no-reboot".split(' '));
    command.args(["-accel", if options.in_turns { "tcg,thread=single" } else { "tcg" }]);
    command.args(["-serial", "stdio", "-m", &format!("{}K", options.memory_kib())]);
    command.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initramfs);
    // panic=-1 with -no-reboot: a guest that panics ends QEMU, which the console notices. It says why unless the level is 0.
    let parameters =
        format!("console=ttyS0 quiet loglevel=1 panic=-1 tsc=unstable no_timer_check {}", options.parameters);
    command.args(["-append", &parameters]);
    // Without the option ROM the firmware does not look for something to boot from the network.
    command.args(["-global", "virtio-net-pci.romfile="]);
    command.args(options.nics.iter().enumerate().flat_map(|(number, nic)| nic.arguments(number)));
    command.args(options.shared_memory());
    command.args(options.monitor_arguments());
    command.args(&options.arguments);
    command
}
