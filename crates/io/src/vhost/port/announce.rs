//! The frame that tells physical switches where a guest is now: after a migration, for a guest that cannot tell it itself
//! (vhost-user, VHOST_USER_SEND_RARP). It is what QEMU sends in such a case: a reverse ARP request of the guest about
//! itself (RFC 903), which everybody ignores but switches.

use wire::{MacAddr, VNET_HDR_LEN};

const LEN: usize = 60;

/// Vnet header and frame.
pub(super) fn frame(mac: MacAddr) -> [u8; VNET_HDR_LEN + LEN] {
    let mac = mac.0;
    let mut out = [0; VNET_HDR_LEN + LEN];
    let parts: [&[u8]; 8] = [
        &[0; VNET_HDR_LEN],
        &[0xff; 6],
        &mac,
        // EtherType RARP; Ethernet, IPv4, 6 and 4 bytes of address; request reverse.
        &[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3],
        &mac,
        &[0; 4],
        &mac,
        &[0; 4],
    ];
    for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reverse_arp_request_of_the_guest_about_itself() {
        let frame = frame(MacAddr([2, 0, 0, 0, 0, 7]));
        assert_eq!(frame[VNET_HDR_LEN..][..6], [0xff; 6]);
        assert_eq!(frame[VNET_HDR_LEN..][6..14], [2, 0, 0, 0, 0, 7, 0x80, 0x35]);
        assert_eq!(frame[VNET_HDR_LEN..][22..28], [2, 0, 0, 0, 0, 7]);
        assert_eq!(frame[VNET_HDR_LEN..][32..38], [2, 0, 0, 0, 0, 7]);
    }
}
