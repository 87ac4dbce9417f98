//! Who gets copies, beside a model that asks for each port whether it should.

use engine::{Mirror, PortIndex, PortPolicy, Retag, Role, Snapshot, Vlan};
use proptest::{collection::vec, option, prelude::*};

const PORTS: u16 = 6;

fn mirror() -> impl Strategy<Value = Option<Mirror>> {
    let mirror = (0..PORTS, any::<bool>(), any::<bool>());
    let mirror = mirror.prop_map(|(to, inbound, outbound)| Mirror { to: PortIndex(to), inbound, outbound });
    option::of(mirror)
}

proptest! {
    #[test]
    fn a_copy_goes_to_whoever_mirrors_one_of_the_frames_ports_and_has_not_got_it_anyway(
        mirrors in vec((mirror(), any::<bool>()), usize::from(PORTS)), ingress in 0..PORTS, left_on in vec(0..PORTS, 0..5),
    ) {
        let policy = |(mirror, up): &(Option<Mirror>, bool)| PortPolicy { mirror: *mirror, up: *up, ..PortPolicy::new(Role::Vnic) };
        let snapshot = Snapshot::new((0..).map(PortIndex).zip(mirrors.iter().map(policy)).collect());
        let left: Vec<_> = left_on.iter().copied().map(PortIndex).collect();
        let mut copies = vec![PortIndex(99)];
        snapshot.copies(PortIndex(ingress), &left, &mut copies);
        let wants = |to: u16| {
            let has_in = mirrors[usize::from(ingress)].0.is_some_and(|mirror| mirror.inbound && mirror.to.0 == to);
            let has_out = left_on.iter().any(|at| mirrors[usize::from(*at)].0.is_some_and(|mirror| mirror.outbound && mirror.to.0 == to));
            !left_on.is_empty() && (has_in || has_out) && to != ingress && !left_on.contains(&to) && mirrors[usize::from(to)].1
        };
        let mut got: Vec<_> = copies.iter().map(|port| port.0).collect();
        got.sort_unstable();
        prop_assert_eq!(got, (0..PORTS).filter(|to| wants(*to)).collect::<Vec<_>>());
        prop_assert_eq!(snapshot.has_mirrors(), mirrors.iter().any(|(mirror, _)| mirror.is_some()));
    }
}

#[test]
fn a_copy_keeps_the_vlan_of_its_frame() {
    let bare = [&[2; 12][..], &[8, 0]].concat();
    let tagged = |tci: u16| [&[2; 12][..], &[0x81, 0], &tci.to_be_bytes(), &[8, 0]].concat();
    let snapshot = Snapshot::default();
    let retag = |id, header: &[u8]| snapshot.retag_copy(Vlan::new(id, false), header);
    assert_eq!(retag(0, &bare), Retag::Keep);
    assert_eq!(retag(7, &bare), Retag::Tagged(7));
    assert_eq!(retag(7, &tagged(0x2007)), Retag::Keep);
    // A tag that carried a priority only.
    assert_eq!(retag(7, &tagged(0x6000)), Retag::Tagged(0x6007));
}
