//! Segmentation and checksum completion of whatever a guest hands over.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{
    Segments, VNET_HDR_LEN, VnetHdr, checksum,
    segment::{MAX_HEADER_LEN, MAX_SEGMENTS, largest_segment_len},
    transport,
};

fuzz_target!(|input: &[u8]| {
    if let Some((hdr, frame)) = input.split_first_chunk::<VNET_HDR_LEN>() {
        let hdr = VnetHdr::from_bytes(hdr);
        segmentation(frame, &hdr);
        completion(frame, &hdr);
    }
});

fn segmentation(frame: &[u8], hdr: &VnetHdr) {
    let largest = largest_segment_len(frame, frame.len(), hdr);
    let Ok(mut segments) = Segments::new(frame, hdr) else { return };
    assert!(segments.segment_count() <= MAX_SEGMENTS);
    let layers = transport::locate(frame).expect("what was segmented has headers");
    let mut buffer = [0; MAX_HEADER_LEN];
    let mut next = segments.header_len();
    while let Some(segment) = segments.next_into(&mut buffer) {
        let len = segment.header_len + segment.payload.len();
        let cut = transport::locate(&buffer[..segment.header_len]).expect("a segment has the same headers");
        assert_eq!(cut, transport::Layers { end: len, ..layers });
        assert!(len <= largest);
        assert_eq!(segment.payload.start, next);
        next = segment.payload.end;
    }
    assert_eq!(next, frame.len());
}

fn completion(frame: &[u8], hdr: &VnetHdr) {
    let mut completed = frame.to_vec();
    let result = checksum::complete(&mut completed, hdr.csum_start, hdr.csum_offset);
    let changed = frame.iter().zip(&completed).filter(|(before, after)| before != after).count();
    assert!(changed <= if result.is_ok() { 2 } else { 0 });
    assert_eq!(frame.get(..14), completed.get(..14));
    assert_eq!(transport::locate(frame), transport::locate(&completed));
}
