//! The QEMU options for a port, ready to paste.

use model::{Attachment, PortStatus, VhostRole};

/// What to add to QEMU's command line; nothing where no VMM opens the port.
pub fn options(port: &PortStatus) -> Option<String> {
    let id = format!("net-{}", port.name);
    let (mut options, device) = match &port.config.attach {
        Attachment::Tap(ifname) => tap(&id, ifname.as_str(), port.config.queues()),
        Attachment::UnixStream(path) => (
            netdev(&format!("stream,id={id},server=off,addr.type=unix,addr.path={}", value(path))),
            String::new(),
        ),
        Attachment::UnixDgram(path) => {
            let (far, own) = (value(path), value(&format!("{path}.qemu")));
            let places = format!("local.type=unix,local.path={own},remote.type=unix,remote.path={far}");
            (netdev(&format!("dgram,id={id},{places}")), String::new())
        }
        Attachment::VhostUser(_) => vhost_user(&id, port)?,
        _ => return None,
    };
    let mac = port.mac.map(|mac| format!(",mac={mac}")).unwrap_or_default();
    // The guest takes its MTU from the device; without the option it takes 1500.
    let mtu = if port.mtu == 1500 { String::new() } else { format!(",host_mtu={}", port.mtu) };
    options.push(format!("-device virtio-net-pci,netdev={id}{mac}{mtu}{device}"));
    Some(options.join(" \\\n"))
}

fn netdev(text: &str) -> Vec<String> {
    vec![format!("-netdev {}", quoted(text))]
}

fn tap(id: &str, ifname: &str, queues: u16) -> (Vec<String>, String) {
    let (of_netdev, of_device) = several(queues);
    let text = format!("tap,id={id},ifname={},script=no,downscript=no{of_netdev}", value(ifname));
    (netdev(&text), of_device)
}

/// The guest's memory must be such that another process can map it. As client QEMU connects again when vmswitchd was
/// started anew; as server it would not start before vmswitchd has connected.
fn vhost_user(id: &str, port: &PortStatus) -> Option<(Vec<String>, String)> {
    let vhost = port.vhost.as_ref()?;
    let (of_netdev, of_device) = several(port.config.queues.unwrap_or(1));
    let (memory, chardev) = (format!("mem-{}", port.name), format!("chr-{}", port.name));
    let side = match vhost.role {
        VhostRole::Server => "reconnect=1",
        VhostRole::Client => "server=on",
    };
    let socket = quoted(&format!("socket,id={chardev},path={},{side}", value(&vhost.socket)));
    let options = vec![
        format!(
            "-m 1G -object memory-backend-memfd,id={memory},size=1G,share=on -machine memory-backend={memory}"
        ),
        format!("-chardev {socket}"),
        format!("-netdev vhost-user,id={id},chardev={chardev}{of_netdev}"),
    ];
    Some((options, of_device))
}

/// What of netdev and device says that there are several queues. A device with several needs two vectors for each, one for
/// its configuration and one for control.
fn several(queues: u16) -> (String, String) {
    match queues {
        1 => (String::new(), String::new()),
        n => (format!(",queues={n}"), format!(",mq=on,vectors={}", 2 * n + 2)),
    }
}

/// QEMU writes a comma within a value twice.
fn value(text: &str) -> String {
    text.replace(',', ",,")
}

/// Quoted for a shell where it has to be.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
    if text.chars().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::samples;

    fn of(attach: Attachment, queues: u16) -> Option<String> {
        let mut port = samples::vm1();
        port.config.attach = attach;
        port.config.queues = Some(queues);
        options(&port)
    }

    #[test]
    fn a_tap_is_opened_by_name() {
        let expected = "-netdev tap,id=net-vm1,ifname=tap1,script=no,downscript=no \\\n\
                        -device virtio-net-pci,netdev=net-vm1,mac=02:00:00:00:00:01";
        assert_eq!(of(Attachment::Tap("tap1".parse().unwrap()), 1).unwrap(), expected);
        let several = of(Attachment::Tap("tap1".parse().unwrap()), 4).unwrap();
        assert!(
            several.contains("downscript=no,queues=4 ") && several.ends_with(",mq=on,vectors=10"),
            "{several}"
        );
    }

    #[test]
    fn sockets_are_connected_to() {
        let stream = of(Attachment::UnixStream("/run/vm 1,a.sock".into()), 1).unwrap();
        let expected =
            "-netdev 'stream,id=net-vm1,server=off,addr.type=unix,addr.path=/run/vm 1,,a.sock' \\\n";
        assert!(stream.starts_with(expected), "{stream}");
        let dgram = of(Attachment::UnixDgram("/run/vm1.sock".into()), 1).unwrap();
        let expected = "-netdev dgram,id=net-vm1,local.type=unix,local.path=/run/vm1.sock.qemu,\
                        remote.type=unix,remote.path=/run/vm1.sock \\\n";
        assert!(dgram.starts_with(expected), "{dgram}");
    }

    #[test]
    fn a_vhost_user_guest_shares_its_memory() {
        let expected = "\
-m 1G -object memory-backend-memfd,id=mem-vm3,size=1G,share=on -machine memory-backend=mem-vm3 \\
-chardev socket,id=chr-vm3,path=/run/vmswitch/vhost/lan/vm3.sock,reconnect=1 \\
-netdev vhost-user,id=net-vm3,chardev=chr-vm3 \\
-device virtio-net-pci,netdev=net-vm3,mac=02:00:00:00:00:03";
        let mut port = samples::vm3();
        assert_eq!(options(&port).unwrap(), expected);
        port.config.queues = Some(4);
        port.vhost.as_mut().unwrap().role = VhostRole::Client;
        let text = options(&port).unwrap();
        assert!(text.contains("vm3.sock,server=on ") && text.contains("chardev=chr-vm3,queues=4 "), "{text}");
        assert!(text.ends_with(",mq=on,vectors=10"), "{text}");
    }

    #[test]
    fn the_guest_is_told_of_another_mtu() {
        let jumbo = model::PortStatus { mtu: 9000, ..samples::vm1() };
        assert!(options(&jumbo).unwrap().ends_with(",mac=02:00:00:00:00:01,host_mtu=9000"));
    }

    #[test]
    fn what_no_vmm_opens_has_no_options() {
        assert_eq!(of(Attachment::Netdev("eth1".parse().unwrap()), 1), None);
    }
}
