//! The QEMU options for a port, ready to paste.

use model::{Attachment, PortStatus};

/// What to add to QEMU's command line; nothing where no VMM opens the port.
pub fn options(port: &PortStatus) -> Option<String> {
    let id = format!("net-{}", port.name);
    let (netdev, device) = match &port.config.attach {
        Attachment::Tap(ifname) => tap(&id, ifname.as_str(), port.config.queues),
        Attachment::UnixStream(path) => {
            let path = value(path);
            (format!("stream,id={id},server=off,addr.type=unix,addr.path={path}"), String::new())
        }
        Attachment::UnixDgram(path) => {
            let (far, own) = (value(path), value(&format!("{path}.qemu")));
            let places = format!("local.type=unix,local.path={own},remote.type=unix,remote.path={far}");
            (format!("dgram,id={id},{places}"), String::new())
        }
        _ => return None,
    };
    let mac = port.mac.map(|mac| format!(",mac={mac}")).unwrap_or_default();
    // The guest takes its MTU from the device; without the option it takes 1500.
    let mtu = if port.mtu == 1500 { String::new() } else { format!(",host_mtu={}", port.mtu) };
    Some(format!("-netdev {} \\\n-device virtio-net-pci,netdev={id}{mac}{mtu}{device}", quoted(&netdev)))
}

/// A device with several queues needs two vectors for each, one for its configuration and one for control.
fn tap(id: &str, ifname: &str, queues: u16) -> (String, String) {
    let netdev = format!("tap,id={id},ifname={},script=no,downscript=no", value(ifname));
    match queues {
        1 => (netdev, String::new()),
        n => (format!("{netdev},queues={n}"), format!(",mq=on,vectors={}", 2 * n + 2)),
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
        port.config.queues = queues;
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
    fn the_guest_is_told_of_another_mtu() {
        let jumbo = model::PortStatus { mtu: 9000, ..samples::vm1() };
        assert!(options(&jumbo).unwrap().ends_with(",mac=02:00:00:00:00:01,host_mtu=9000"));
    }

    #[test]
    fn what_no_vmm_opens_has_no_options() {
        assert_eq!(of(Attachment::Netdev("eth1".parse().unwrap()), 1), None);
    }
}
