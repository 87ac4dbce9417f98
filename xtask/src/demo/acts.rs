//! The demo, act by act.

use super::connection::Connection;
use super::frames::{from_mac, hexdump};
use super::narrator::Narrator;
use anyhow::{Context, Result};
use lab::{Capture, Daemon, FAR_IPV4, Guest, GuestOptions, World};

const VM_MAC: &str = "aa:aa:aa:aa:aa:aa";
const VM_MAC_BYTES: [u8; 6] = [0xaa; 6];
const SPOOFED_MAC: &str = "66:66:66:66:66:66";
const VM_IPV4: &str = "10.9.0.50";
/// What the host is like, to compare before and after.
const HOST: &str = "ip -br link; ip -br addr; ip route; ip -6 route";
const LEARNED: &str = "bridge fdb show br sw dynamic";

const PICTURE: &str = "      host                          physical switch            far host
   ┌──────────────────────┐         ┌────────────┐           ┌─────────┐
   │                      nic0 ═════╡ p1      p2 ╞═══════════╡ eth0    │
   └──────────────────────┘  cable  └────────────┘   cable   └─────────┘
                   10.9.0.1         a Linux bridge            10.9.0.3";

const PICTURE_WITH_SWITCH: &str = "      host                          physical switch            far host
   ┌──────────────────────┐         ┌────────────┐           ┌─────────┐
   │ lan ──── switch ──── nic0 ═════╡ p1      p2 ╞═══════════╡ eth0    │
   └──────────────────────┘         └────────────┘           └─────────┘
    10.9.0.1";

const PICTURE_WITH_VM: &str = "      host                          physical switch            far host
   ┌──────────────────────┐         ┌────────────┐           ┌─────────┐
   │ lan ──┬─ switch ──── nic0 ═════╡ p1      p2 ╞═══════════╡ eth0    │
   │ vm1 ──┘              │         └────────────┘           └─────────┘
   └──────────────────────┘";

/// The stage.
pub struct Demo {
    pub narrator: Narrator,
    pub world: World,
    pub daemon: Daemon,
}

impl Demo {
    /// All acts, then the summary.
    pub fn run(mut self) -> Result<()> {
        self.network()?;
        let host_before = self.narrator.quietly(&self.world.host, HOST)?;
        let mut connection = self.connection()?;
        self.external_switch(&mut connection)?;
        let (mut guest, sent) = self.machine()?;
        self.physical_switch()?;
        self.compare(sent)?;
        self.spoof(&mut guest)?;
        guest.kill()?;
        self.remove(&host_before, connection)?;
        self.narrator.summary()
    }

    fn network(&mut self) -> Result<()> {
        self.narrator.title("1. The network")?;
        self.narrator.say(&format!(
            "Three network namespaces with cables between them. Nothing on this machine's own network is touched.\n\n{PICTURE}\n\n\
             host# stands for what is typed on the host (ip netns exec {} …), phys# on the physical switch,\n\
             far# on the far host, vm1# in the VM.",
            self.world.host.name()
        ))?;
        self.narrator.run("host", &self.world.host, "ip -br addr show nic0")?;
        self.narrator.run("far", &self.world.far, "ip -br addr show eth0").map(drop)
    }

    fn connection(&mut self) -> Result<Connection> {
        self.narrator.title("2. Somebody is connected")?;
        self.narrator.say(
            "A TCP connection from the host to the far host carries a hundred numbers a second, and a ping runs beside it.\n\
             The far host checks that every number follows the one before.",
        )?;
        let mut connection = Connection::open(&self.world)?;
        let count = connection.go_on(30)?;
        self.narrator.say(&format!("  {count} numbers received so far, in order."))?;
        Ok(connection)
    }

    fn external_switch(&mut self, connection: &mut Connection) -> Result<()> {
        self.narrator.title("3. An external switch on nic0")?;
        self.daemon.launch()?;
        self.narrator.prompt("host", &format!("{} &", typed(self.daemon.id()?)?))?;
        self.narrator
            .prompt("host", &format!("export VMSWITCH_SOCKET={}", self.daemon.socket().display()))?;
        let host = &self.world.host;
        self.narrator.run("host", host, "vmswitch switch add lan --external nic0")?;
        self.narrator.say(PICTURE_WITH_SWITCH)?;
        let addresses = self.narrator.run("host", host, "ip -br addr show")?;
        self.narrator.run("host", host, "ip route")?;
        let on = |dev: &str| addresses.lines().any(|l| l.starts_with(dev) && l.contains("10.9.0.1/24"));
        self.narrator.check(
            "the host's addresses are on the host vNIC 'lan', and off nic0",
            on("lan") && !on("nic0"),
        )?;
        let before = connection.received()?;
        let count = connection.go_on(50)?;
        self.narrator
            .say(&format!("  {before} numbers were received when we looked, {count} now, in order."))?;
        self.narrator.check("the TCP connection from before goes on", count > before)?;
        let ping = self.narrator.run("host", host, &format!("ping -c 2 -i 0.2 {FAR_IPV4}"))?;
        self.narrator.check("the host keeps its connectivity", ping.contains(" 0% packet loss"))
    }

    /// Boots the VM and lets it talk; what it sent, and what of it was on the wire.
    fn machine(&mut self) -> Result<(Guest, [Vec<Vec<u8>>; 2])> {
        self.narrator.title(&format!("4. A VM with MAC {VM_MAC}"))?;
        let host = &self.world.host;
        let learned = self.narrator.run("phys", &self.world.phys, LEARNED)?;
        self.narrator.check("the physical switch does not know the VM yet", !learned.contains(VM_MAC))?;
        let add = format!("vmswitch port add lan vm1 --tap tap1 --mac {VM_MAC}");
        let added = self.narrator.run("host", host, &add)?;
        let options = added.split_once("QEMU options:\n").context("vmswitch printed no QEMU options")?.1;
        let captures = [Capture::start(host, "tap1")?, Capture::start(&self.world.phys, "p1")?];
        self.narrator
            .say("A real guest boots: Debian's kernel under QEMU, connected by the options above.")?;
        let mut guest = Guest::boot(host, &GuestOptions::connected(options))?;
        self.narrator.prompt("host", &typed(guest.id())?)?;
        self.narrator.say(PICTURE_WITH_VM)?;
        self.type_in(&mut guest, "uname -sr")?;
        self.type_in(&mut guest, &format!("ip link set eth0 up; ip addr add {VM_IPV4}/24 dev eth0"))?;
        self.type_in(&mut guest, "ip link show eth0")?;
        let ping = self.type_in(&mut guest, &format!("ping -c 3 {FAR_IPV4}"))?;
        self.type_in(&mut guest, &format!("ping -c 2 -s 1472 {FAR_IPV4}"))?;
        self.narrator.check("the VM talks to the far host", ping.contains(" 0% packet loss"))?;
        let [at_vm, on_wire] = captures;
        let sent = from_mac(at_vm.stop()?, VM_MAC_BYTES);
        let wire = from_mac(on_wire.stop()?, VM_MAC_BYTES);
        Ok((guest, [sent, wire]))
    }

    fn type_in(&self, guest: &mut Guest, command: &str) -> Result<String> {
        self.narrator.prompt("vm1", command)?;
        let text = guest.try_run(command)?.output;
        self.narrator.printed(&text)?;
        Ok(text)
    }

    fn physical_switch(&mut self) -> Result<()> {
        self.narrator.title("5. What the physical switch has learned")?;
        let learned = self.narrator.run("phys", &self.world.phys, LEARNED)?;
        let here = learned.lines().any(|l| l.starts_with(&format!("{VM_MAC} dev p1 ")));
        self.narrator
            .check(&format!("the physical switch has learned {VM_MAC} on port p1, nic0's cable"), here)?;
        let host_mac = learned.lines().any(|l| l.starts_with(&format!("{} dev p1 ", lab::NIC_MAC)));
        self.narrator.check("beside it, on the same port, the host's own MAC", host_mac)?;
        let neighbours = self.narrator.run("far", &self.world.far, &format!("ip neigh show {VM_IPV4}"))?;
        self.narrator
            .check("to the far host the VM is a neighbour by its own MAC", neighbours.contains(VM_MAC))?;
        self.narrator.run("host", &self.world.host, "vmswitch mac list lan").map(drop)
    }

    fn compare(&mut self, [sent, wire]: [Vec<Vec<u8>>; 2]) -> Result<()> {
        self.narrator.title("6. Byte for byte")?;
        self.narrator
            .say("Two captures ran: at the VM's TAP, and at the physical switch's end of the cable.")?;
        let shown = sent.iter().position(|f| f.len() > 90).unwrap_or(0);
        for (place, frames) in [("left the VM", &sent), ("on the wire", &wire)] {
            let frame = frames.get(shown).with_context(|| format!("no frame {}: {place}", shown + 1))?;
            self.narrator.say(&format!(
                "\n  frame {} of {}, {place}, {} bytes",
                shown + 1,
                frames.len(),
                frame.len()
            ))?;
            self.narrator.printed(&hexdump(frame, 4))?;
        }
        let equal = sent.iter().zip(&wire).filter(|(a, b)| a == b).count();
        let lengths =
            |frames: &[Vec<u8>]| (frames.iter().map(Vec::len).min(), frames.iter().map(Vec::len).max());
        if let (Some(least), Some(most)) = lengths(&sent) {
            self.narrator.say(&format!(
                "\n  {} frames sent, of {least} to {most} bytes; {} on the wire; {equal} equal.",
                sent.len(),
                wire.len()
            ))?;
        }
        let all = !sent.is_empty() && sent == wire;
        self.narrator
            .check("every frame of the VM was on the wire byte for byte, in order, and no other", all)
    }

    fn spoof(&mut self, guest: &mut Guest) -> Result<()> {
        self.narrator.title("7. The VM pretends to be somebody else")?;
        self.type_in(
            guest,
            &format!("ip link set eth0 down; ip link set eth0 address {SPOOFED_MAC}; ip link set eth0 up"),
        )?;
        let ping = self.type_in(guest, &format!("ping -c 3 -W 1 {FAR_IPV4}"))?;
        self.narrator.check("no frame of it gets anywhere", ping.contains("100% packet loss"))?;
        let stats = self.narrator.run("host", &self.world.host, "vmswitch stats lan/vm1")?;
        let spoofed = stats.lines().find(|l| l.contains("spoofed_mac"));
        let counted =
            spoofed.is_some_and(|l| l.split_whitespace().any(|w| w.parse::<u64>().is_ok_and(|n| n > 0)));
        self.narrator.check("each is counted as dropped, with the reason", counted)?;
        let learned = self.narrator.quietly(&self.world.phys, LEARNED)?;
        self.narrator.check("the physical switch never saw that MAC", !learned.contains(SPOOFED_MAC))
    }

    fn remove(&mut self, before: &str, mut connection: Connection) -> Result<()> {
        self.narrator.title("8. Everything back")?;
        let host = &self.world.host;
        self.narrator.run("host", host, "vmswitch switch remove lan")?;
        self.narrator.run("host", host, "ip -br addr show")?;
        let after = self.narrator.quietly(host, HOST)?;
        self.narrator
            .check("interfaces, addresses and routes of the host are as they were", before == after)?;
        connection.go_on(30)?;
        let total = connection.close()?;
        let (sent, received) = (total.sent, total.received);
        self.narrator.say(&format!(
            "  The TCP connection of the beginning: {sent} numbers sent, {received} received, each in its place.\n  \
             ping: {}",
            total.ping
        ))?;
        self.narrator
            .check("the TCP connection lost no byte through all of this", sent == received && sent > 0)?;
        self.narrator.check("ping lost nothing either", total.answered)?;
        self.daemon.stop()
    }
}

/// How the process was started, as one would type it.
fn typed(process: u32) -> Result<String> {
    let words = std::fs::read(format!("/proc/{process}/cmdline"))?;
    let words = String::from_utf8_lossy(&words);
    let words: Vec<_> = words.trim_end_matches('\0').split('\0').map(quoted).collect();
    let (program, arguments) = words.split_first().context("a process has a command line")?;
    let program = program.rsplit('/').next().unwrap_or(program);
    Ok(wrapped(std::iter::once(program).chain(arguments.iter().map(String::as_str))))
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

/// On lines of at most about a hundred characters, broken before an option that does not fit with its value.
fn wrapped<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut options: Vec<String> = Vec::new();
    for word in words {
        match options.last_mut() {
            Some(option) if !word.starts_with('-') => option.extend([" ", word]),
            _ => options.push(word.to_owned()),
        }
    }
    let (mut text, mut column) = (String::new(), 0);
    for option in options {
        if column > 0 && column + option.len() > 90 {
            text.push_str(" \\\n       ");
            column = 0;
        }
        let space = if text.is_empty() { "" } else { " " };
        text.extend([space, &option]);
        column += option.len() + 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_broken_before_an_option() {
        let long = "x".repeat(80);
        let words = ["qemu", "-kernel", &long, "-append", "'a b'"];
        let expected = format!("qemu \\\n        -kernel {long} \\\n        -append 'a b'");
        assert_eq!(wrapped(words.into_iter()), expected);
        assert_eq!([quoted("a b"), quoted("a")], ["'a b'", "a"]);
    }
}
