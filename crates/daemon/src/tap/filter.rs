//! Filters in pcap-filter(7) syntax, by libpcap.

use dataplane::tap::Filter;
use model::MAX_FILTER_LEN;
use pcap::{Capture, Linktype};

/// Why a text is no filter.
#[derive(Debug, thiserror::Error)]
pub enum BadFilter {
    /// libpcap does not take it
    #[error(
        "'{filter}' is no filter: {why}; write it as for tcpdump, like 'arp or (udp port 67)': man 7 pcap-filter says how"
    )]
    Syntax {
        /// The text.
        filter: String,
        /// What libpcap says.
        why: String,
    },
    /// It is too long
    #[error("the filter is longer than {MAX_FILTER_LEN} bytes, the most that is taken")]
    TooLong,
}

/// Makes a filter of its text. One without words lets everything pass.
///
/// # Errors
/// [`BadFilter`].
pub fn compile(text: &str) -> Result<Filter, BadFilter> {
    if text.len() > MAX_FILTER_LEN {
        return Err(BadFilter::TooLong);
    }
    let refused = |error: pcap::Error| BadFilter::Syntax { filter: text.into(), why: reason(&error) };
    let program = Capture::dead(Linktype::ETHERNET).and_then(|capture| capture.compile(text, true));
    let program = program.map_err(refused)?;
    Ok(Box::new(move |frame| program.filter(frame)))
}

fn reason(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(why) => why.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_tells_frames_apart_by_all_of_their_bytes() {
        let arp = compile("arp").unwrap();
        let mut frame = vec![0; 1000];
        frame[12..14].copy_from_slice(&[8, 6]);
        assert!(arp(&frame));
        assert!(!arp(&[0; 60]));
        assert!(compile("ether[999] = 7 or greater 1001").unwrap()(&[vec![0; 999], vec![7]].concat()));
        assert!(!compile("ether[999] = 7 or greater 1001").unwrap()(&frame));
        assert!(compile("").unwrap()(&frame));
    }

    #[test]
    fn what_is_no_filter_is_told_with_what_is_wrong() {
        let message = |text: &str| compile(text).err().unwrap().to_string();
        let told = message("tcp prot 80");
        assert!(
            told.starts_with("'tcp prot 80' is no filter: can't parse filter expression: syntax error"),
            "{told}"
        );
        assert!(message("host no such").contains("pcap-filter"));
        assert!(message(&"a".repeat(5000)).contains("4096 bytes"));
    }
}
