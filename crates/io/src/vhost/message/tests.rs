use super::*;

const NUMBERS: [(u32, usize, usize); 32] = [
    (1, 0, 0),
    (2, 8, 0),
    (3, 0, 0),
    (4, 0, 0),
    (5, 8 + 2 * 32, 2),
    (6, 16, 1),
    (7, 0, 1),
    (8, 8, 0),
    (9, 40, 0),
    (10, 8, 0),
    (11, 8, 0),
    (12, 8, 1),
    (13, 8, 1),
    (14, 8, 1),
    (15, 0, 0),
    (16, 8, 0),
    (17, 0, 0),
    (18, 8, 0),
    (19, 8, 0),
    (20, 8, 0),
    (22, 40, 0),
    (24, 12, 0),
    (28, 0, 0),
    (30, 0, 0),
    (31, 24, 0),
    (32, 24, 1),
    (34, 0, 0),
    (36, 0, 0),
    (37, 40, 1),
    (38, 40, 0),
    (39, 8, 0),
    (40, 0, 0),
];

fn header(request: u32, size: usize) -> Header {
    Header { request, need_reply: false, size }
}

fn parse(request: u32, payload: &[u8], fds: usize) -> Result<Request, MessageError> {
    Request::parse(&header(request, payload.len()), payload, fds)
}

/// A payload of the length that is right for `request`.
fn payload(request: u32, size: usize) -> Vec<u8> {
    let mut payload = vec![0; size];
    if request == 5 && size >= 4 {
        payload[..4].copy_from_slice(&2_u32.to_ne_bytes());
    }
    payload
}

fn numbers<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    numbers.map(u64::to_ne_bytes).concat()
}

#[test]
fn a_header_says_what_follows() {
    let bytes = |request: u32, flags: u32, size: u32| -> [u8; HEADER] {
        [request, flags, size].map(u32::to_ne_bytes).concat().try_into().unwrap()
    };
    assert_eq!(Header::parse(&bytes(2, 1, 8)), Ok(header(2, 8)));
    assert_eq!(Header::parse(&bytes(2, 9, 8)), Ok(Header { need_reply: true, ..header(2, 8) }));
    assert_eq!(Header::parse(&bytes(2, 0, 8)), Err(MessageError::Version(0)));
    assert_eq!(Header::parse(&bytes(2, 2, 8)), Err(MessageError::Version(2)));
    assert_eq!(Header::parse(&bytes(2, 5, 8)), Err(MessageError::Reply(2)));
    assert_eq!(Header::parse(&bytes(99, 1, 4096)), Ok(header(99, 4096)));
    assert_eq!(Header::parse(&bytes(99, 1, 4097)), Err(MessageError::TooLong(4097)));
    assert_eq!(Header::parse(&bytes(99, 1, u32::MAX)), Err(MessageError::TooLong(u32::MAX)));
}

#[test]
fn every_request_is_parsed_at_its_size_and_refused_at_any_other() {
    for (request, size, fds) in NUMBERS {
        assert!(parse(request, &payload(request, size), fds).is_ok(), "{request}");
        let declined = matches!(request, 22 | 24 | 28 | 30);
        for other in (0..128).filter(|other| *other != size && !declined) {
            let padded = matches!((request, other), (7, 0..=8) | (31 | 32, 20..=24));
            let parsed = parse(request, &payload(request, other), fds);
            assert_eq!(parsed.is_ok(), padded, "{request} with {other} bytes: {parsed:?}");
        }
    }
}

#[test]
fn every_request_is_refused_with_descriptors_that_it_does_not_take() {
    for (request, size, fds) in NUMBERS {
        let declined = matches!(request, 22 | 24 | 28 | 30);
        for other in (0..=MAX_FDS).filter(|other| *other != fds && !declined) {
            let parsed = parse(request, &payload(request, size), other);
            // REM_MEM_REG may come with one, as the specification has it.
            assert_eq!(parsed.is_ok(), request == 38 && other == 1, "{request} with {other}: {parsed:?}");
        }
    }
}

#[test]
fn requests_that_are_not_known_are_no_errors() {
    for request in [0, 21, 23, 25, 26, 27, 29, 33, 35, 41, 1000, u32::MAX] {
        assert_eq!(parse(request, &[7; 100], 3), Ok(Request::Unsupported(None)), "{request}");
    }
    assert_eq!(parse(24, &[0; 12], 0), Ok(Request::Unsupported(Some(Answer::Empty))));
    assert_eq!(parse(22, &[0; 40], 0), Ok(Request::Unsupported(Some(Answer::Number(1)))));
}

#[test]
fn a_memory_table_has_as_many_regions_as_it_says() {
    let mut table = numbers([2, 0x1000, 0x2000, 0x7000, 0x10, 0x8000, 0x3000, 0xa000, 0]);
    let regions = [
        RegionInfo { guest: 0x1000, size: 0x2000, user: 0x7000, offset: 0x10 },
        RegionInfo { guest: 0x8000, size: 0x3000, user: 0xa000, offset: 0 },
    ];
    assert_eq!(parse(5, &table, 2), Ok(Request::SetMemTable(regions.to_vec())));
    for count in [0, 1, 3, u32::MAX, 1 << 27] {
        table[..4].copy_from_slice(&count.to_ne_bytes());
        assert!(parse(5, &table, 2).is_err(), "{count}");
        assert!(parse(5, &table, count as usize).is_err(), "{count}");
    }
    assert_eq!(parse(5, &[0; 8], 0), Ok(Request::SetMemTable(Vec::new())));
}

#[test]
fn a_ring_event_says_whether_it_has_a_descriptor() {
    let event = |number: u64, fds| parse(12, &number.to_ne_bytes(), fds);
    assert_eq!(event(3, 1), Ok(Request::SetVringKick(VringEvent { index: 3, with_fd: true })));
    assert_eq!(event(0x103, 0), Ok(Request::SetVringKick(VringEvent { index: 3, with_fd: false })));
    assert!(event(3, 0).is_err() && event(0x103, 1).is_err());
}

#[test]
fn values_out_of_range_are_refused() {
    let enable = |num: u32| parse(18, [1, num].map(u32::to_ne_bytes).as_flattened(), 0);
    assert_eq!(enable(1), Ok(Request::SetVringEnable(Vring { index: 1, num: 1 })));
    assert_eq!(enable(2), Err(MessageError::Value { request: "SET_VRING_ENABLE", value: 2 }));
    assert_eq!(parse(39, &numbers([255]), 0), Ok(Request::SetStatus(255)));
    assert_eq!(parse(39, &numbers([256]), 0), Err(MessageError::Value { request: "SET_STATUS", value: 256 }));
}

#[test]
fn fields_are_where_the_protocol_puts_them() {
    let addresses = [&1_u32.to_ne_bytes()[..], &1_u32.to_ne_bytes(), &numbers([10, 20, 30, 40])].concat();
    let expected =
        VringAddresses { index: 1, logged: true, descriptor: 10, used: 20, available: 30, log: 40 };
    assert_eq!(parse(9, &addresses, 0), Ok(Request::SetVringAddr(expected)));
    assert_eq!(parse(6, &numbers([100, 200]), 1), Ok(Request::SetLogBase(Area { size: 100, offset: 200 })));
    let region = RegionInfo { guest: 1, size: 2, user: 3, offset: 4 };
    assert_eq!(parse(37, &numbers([9, 1, 2, 3, 4]), 1), Ok(Request::AddMemReg(region)));
    let rarp = parse(19, &[2, 3, 4, 5, 6, 7, 0, 0], 0);
    assert_eq!(rarp, Ok(Request::SendRarp(MacAddr([2, 3, 4, 5, 6, 7]))));
}

#[test]
fn replies_have_the_version_and_say_that_they_are_replies() {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    assert_eq!(Answer::Empty.to_bytes(24), words(&[24, 5, 0]));
    assert_eq!(Answer::done(true).to_bytes(2), [words(&[2, 5, 8]), numbers([0])].concat());
    assert_eq!(Answer::done(false).to_bytes(2), [words(&[2, 5, 8]), numbers([1])].concat());
    assert_eq!(Answer::Vring(Vring { index: 1, num: 7 }).to_bytes(11), words(&[11, 5, 8, 1, 7]));
    assert_eq!(
        Answer::Area(Area { size: 3, offset: 4 }).to_bytes(6),
        [words(&[6, 5, 16]), numbers([3, 4])].concat()
    );
}

#[test]
fn the_inflight_answer_is_as_long_as_the_question() {
    for size in [20, 24] {
        let mut asked = vec![0; size];
        asked[16..20].copy_from_slice([4_u16, 256].map(u16::to_ne_bytes).as_flattened());
        let Ok(Request::GetInflightFd(area)) = parse(31, &asked, 0) else { panic!("{size}") };
        let answer = Answer::Inflight(area.with_area(77)).to_bytes(31);
        asked[..8].copy_from_slice(&77_u64.to_ne_bytes());
        assert_eq!(answer[HEADER..], asked);
    }
}
