//! Which of several queues a frame goes to: the same for all frames between the same two ends, so that none overtakes
//! another.

use wire::MacAddr;

const ETHERTYPE_AT: usize = 12;
const IP_AT: usize = 14;

/// A number that all frames of a flow share: of the MAC addresses, and of the IP addresses where there are any.
///
/// Ports are left out: fragments have none and would overtake the frames that do.
pub(crate) fn hash(frame: &[u8]) -> u32 {
    let macs = [&frame[..6.min(frame.len())], frame.get(6..12).unwrap_or_default()]
        .map(|mac| MacAddr::from_prefix(mac).unwrap_or_default().to_u64());
    let addresses = match frame.get(ETHERTYPE_AT..IP_AT) {
        Some([0x08, 0x00]) => frame.get(IP_AT + 12..IP_AT + 20),
        Some([0x86, 0xdd]) => frame.get(IP_AT + 8..IP_AT + 40),
        _ => None,
    };
    let words = addresses.unwrap_or_default().chunks_exact(4);
    let sum = words.fold(macs[0].rotate_left(16) ^ macs[1], |sum, word| {
        mix(sum ^ word.iter().fold(0, |w, byte| w << 8 | u64::from(*byte)))
    });
    (mix(sum) >> 32) as u32
}

/// Multiplication by 2^64 divided by the golden ratio spreads each input bit over the high bits of the product.
const fn mix(value: u64) -> u64 {
    value.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(last: u8, port: u8) -> Vec<u8> {
        let mut frame = [&[2; 12][..], &[0x08, 0x00], &[0; 60]].concat();
        (frame[IP_AT + 19], frame[IP_AT + 21]) = (last, port);
        frame
    }

    #[test]
    fn flows_spread_over_the_queues_and_each_keeps_to_one() {
        for queues in [2, 3, 4, 8] {
            let mut hits = vec![0; queues];
            (0..=255).for_each(|host| hits[hash(&ipv4(host, 0)) as usize % queues] += 1);
            assert!(hits.iter().all(|&n| n > 128 / queues), "{hits:?}");
        }
        assert_eq!(hash(&ipv4(7, 1)), hash(&ipv4(7, 2)));
    }

    #[test]
    fn short_frames_have_a_hash_too() {
        let frame = ipv4(1, 1);
        for len in 0..frame.len() {
            hash(&frame[..len]);
        }
        assert_ne!(hash(&[1; 12]), hash(&[2; 12]));
    }
}
